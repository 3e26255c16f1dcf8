// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What a login carries through the authorization server and back, bound to the browser that began it.

use super::cookies::Jar;
use super::crypt::{is_same, is_signed, sign};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_config::OAuth2;
use http::Uri;
use serde::{Deserialize, Serialize};

/// The `state` parameter (RFC 6749, 10.12).
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct State {
    /// Where the user wanted to go.
    pub(super) url: String,
    csrf_token: String,
    /// Tells logins of one browser apart.
    #[serde(default)]
    pub(super) flow_id: String,
}

impl State {
    /// A new login.
    pub(super) fn new(url: String, secret: &[u8]) -> Self {
        let flow_id = format!("{:016x}", rand::random::<u64>());
        let csrf_token = format!("{flow_id}.{}", sign(secret, &flow_id));
        Self { url, csrf_token, flow_id }
    }

    pub(super) fn csrf_token(&self) -> &str {
        &self.csrf_token
    }

    /// As it stands in the query.
    pub(super) fn encode(&self) -> Option<String> {
        serde_json::to_vec(self).ok().map(|json| URL_SAFE_NO_PAD.encode(json))
    }

    /// Reads what came back; none where it is not of this browser. Only then is anything in it worth a look.
    pub(super) fn read(text: &str, jar: &Jar, config: &OAuth2, secret: &[u8]) -> Option<Self> {
        let json = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()?;
        let state: Self = serde_json::from_slice(&json).ok()?;
        let cookie = jar.of_flow(&config.cookies.nonce.name, &state.flow_id)?;
        let (nonce, signature) = state.csrf_token.split_once('.')?;
        (is_same(cookie, &state.csrf_token) && is_signed(secret, nonce, signature)).then_some(state)
    }
}

/// Whether users may be sent to an address: an absolute one, of a host that is allowed.
pub(super) fn is_allowed(config: &OAuth2, url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let Some(host) = uri.host().filter(|_| matches!(uri.scheme_str(), Some("http" | "https"))) else {
        return false;
    };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    config.allowed_domains.is_empty()
        || config.allowed_domains.iter().any(|domain| match domain.strip_prefix('*') {
            Some(suffix) if suffix.starts_with('.') => host.len() > suffix.len() && host.ends_with(suffix),
            _ => host == **domain,
        })
}
