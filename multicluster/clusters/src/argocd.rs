// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! An Argo CD cluster Secret as credentials, sanitised.

use crate::access::{certificates, client_certificate, server_url};
use crate::{ApiAccess, Credential, Refusal};
use serde::Deserialize;
use serde_json::Value;

/// Longest `config` that we parse, bytes.
const MAX_LENGTH: usize = 256 * 1024;

/// The part of Argo CD's `config` that we know.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    username: Option<String>,
    password: Option<String>,
    bearer_token: Option<String>,
    #[serde(default)]
    tls_client_config: TlsClientConfig,
    exec_provider_config: Option<Value>,
    aws_auth_config: Option<Value>,
    proxy_url: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TlsClientConfig {
    #[serde(default)]
    insecure: bool,
    server_name: Option<String>,
    ca_data: Option<String>,
    cert_data: Option<String>,
    key_data: Option<String>,
}

/// Credentials from the fields `server` and `config` of an Argo CD cluster Secret.
///
/// # Errors
/// When a field is missing or not well formed, or asks for a program or a proxy.
pub fn argocd_access(
    object: &str,
    server: &str,
    config: &str,
    allow_insecure: bool,
) -> Result<ApiAccess, Refusal> {
    const REMEDY: &str = "write it as Argo CD's cluster Secrets do";
    if config.len() > MAX_LENGTH {
        return Err(Refusal::new(object, "config", "is longer than 256 KiB", REMEDY));
    }
    let config: Config = serde_json::from_str(config)
        .map_err(|_| Refusal::new(object, "config", "is not Argo CD's JSON", REMEDY))?;
    refuse_programs(object, &config)?;
    let tls = &config.tls_client_config;
    if tls.insecure && !allow_insecure {
        return Err(Refusal::new(
            object,
            "config: tlsClientConfig.insecure",
            "turns off the check of the server's certificate",
            "give tlsClientConfig.caData, or set allowInsecure: true on the FleetCluster",
        ));
    }
    let roots = match filled(tls.ca_data.as_deref()) {
        Some(data) => Some(certificates(object, "config: tlsClientConfig.caData", data)?),
        None => None,
    };
    Ok(ApiAccess {
        server: server_url(object, "server", server, allow_insecure)?,
        server_name: filled(tls.server_name.as_deref()).map(str::to_owned),
        roots,
        insecure: tls.insecure,
        credential: credential(object, &config)?,
        impersonate: None,
        impersonate_groups: Vec::new(),
    })
}

fn refuse_programs(object: &str, config: &Config) -> Result<(), Refusal> {
    const REMEDY: &str = "use bearerToken, or tlsClientConfig.certData with keyData";
    if config.exec_provider_config.as_ref().is_some_and(|v| !v.is_null()) {
        return Err(Refusal::new(object, "config: execProviderConfig", "runs a program in the hub", REMEDY));
    }
    if config.aws_auth_config.as_ref().is_some_and(|v| !v.is_null()) {
        return Err(Refusal::new(object, "config: awsAuthConfig", "needs a login plugin", REMEDY));
    }
    if filled(config.proxy_url.as_deref()).is_some() {
        return Err(Refusal::new(
            object,
            "config: proxyUrl",
            "sends every request through a proxy",
            "make the API server reachable from the hub, or use mode Agent",
        ));
    }
    Ok(())
}

fn credential(object: &str, config: &Config) -> Result<Credential, Refusal> {
    if let Some(token) = filled(config.bearer_token.as_deref()) {
        return Ok(Credential::Token(token.trim().to_owned().into()));
    }
    let tls = &config.tls_client_config;
    if let Some(chain) = filled(tls.cert_data.as_deref()) {
        let fields = ["config: tlsClientConfig.certData", "config: tlsClientConfig.keyData"];
        let key = filled(tls.key_data.as_deref()).ok_or_else(|| {
            Refusal::new(object, fields[1], "is missing", "give base64 of the certificate's PEM private key")
        })?;
        return client_certificate(object, fields, chain, key);
    }
    if let (Some(username), Some(password)) =
        (filled(config.username.as_deref()), filled(config.password.as_deref()))
    {
        return Ok(Credential::Basic { username: username.to_owned(), password: password.to_owned().into() });
    }
    Err(Refusal::new(
        object,
        "config",
        "has no credential",
        "give bearerToken, or tlsClientConfig.certData with keyData",
    ))
}

fn filled(text: Option<&str>) -> Option<&str> {
    text.filter(|t| !t.is_empty())
}

#[cfg(test)]
#[path = "argocd_tests.rs"]
mod tests;
