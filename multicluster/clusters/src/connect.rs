// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Sanitised credentials to a client.

use crate::{Access, ApiAccess, Credential};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::config::AuthInfo;
use std::time::Duration;

/// Limit for TCP and TLS set-up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// No client could be made.
#[derive(Debug, thiserror::Error)]
#[error("the credentials make no client")]
pub struct ConnectError(#[source] Box<kube::Error>);

/// A client for these credentials. Connects to nothing yet.
///
/// # Errors
/// When the certificates or the key cannot be used.
pub fn connect(access: &Access) -> Result<kube::Client, ConnectError> {
    match access {
        Access::Existing(client) => Ok(client.clone()),
        Access::Api(api) => kube::Client::try_from(config(api)).map_err(|e| ConnectError(Box::new(e))),
    }
}

/// Built field by field: the environment's proxy settings and debug overrides do not reach it.
fn config(api: &ApiAccess) -> kube::Config {
    let mut config = kube::Config::new(api.server.clone());
    config.root_cert = api.roots.clone();
    config.accept_invalid_certs = api.insecure;
    config.tls_server_name = api.server_name.clone();
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    // The per-call limit counts; the client's own retries would only hide a failing server from the breaker.
    config.default_retry = false;
    config.auth_info = auth_info(api);
    config
}

fn auth_info(api: &ApiAccess) -> AuthInfo {
    let mut info = AuthInfo { impersonate: api.impersonate.clone(), ..AuthInfo::default() };
    if !api.impersonate_groups.is_empty() {
        info.impersonate_groups = Some(api.impersonate_groups.clone());
    }
    match &api.credential {
        Credential::Token(token) => info.token = Some(token.clone()),
        Credential::Certificate { chain, key } => {
            info.client_certificate_data = Some(STANDARD.encode(chain));
            info.client_key_data = Some(key.clone());
        }
        Credential::Basic { username, password } => {
            info.username = Some(username.clone());
            info.password = Some(password.clone());
        }
    }
    info
}
