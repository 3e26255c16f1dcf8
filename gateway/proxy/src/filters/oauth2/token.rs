// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What the token endpoint is asked and what it answers (RFC 6749, 4.1.3 and 6).

use super::escaped;
use crate::callout::{CallError, Callout};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use gateway_config::{ClientAuth, OAuth2};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, StatusCode};
use serde_json::Value;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What tokens are asked for.
pub(super) enum Grant<'a> {
    /// A code from the authorization endpoint, as it stands in the query.
    Code { code: &'a str, redirect_uri: &'a str, verifier: &'a str },
    /// A refresh token.
    Refresh(&'a str),
}

/// Tokens; empty where there is none.
#[derive(Clone, Default)]
pub(super) struct Tokens {
    pub(super) access: String,
    pub(super) id: String,
    pub(super) refresh: String,
    /// Of the access token.
    pub(super) lifetime: Duration,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}

/// Why there are no tokens. Nothing of what the server says is in it: it may hold what nobody should read.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("{0}")]
    Call(#[from] CallError),
    #[error("the token endpoint answered {0}")]
    Status(StatusCode),
    #[error("the token endpoint's answer is not that of RFC 6749")]
    Malformed,
    #[error("neither the token endpoint nor default_expires_in says how long the token is good")]
    Endless,
}

/// The question.
pub(super) fn request(config: &OAuth2, client_secret: &[u8], grant: &Grant<'_>) -> Option<Request<Bytes>> {
    let mut body = match grant {
        Grant::Code { code, .. } => format!("grant_type=authorization_code&code={code}"),
        Grant::Refresh(token) => format!("grant_type=refresh_token&refresh_token={}", escaped(token)),
    };
    let mut basic = None;
    match &config.client_auth {
        ClientAuth::Body(_) => {
            let secret = std::str::from_utf8(client_secret).ok()?;
            body += &format!("&client_id={}&client_secret={}", escaped(&config.client_id), escaped(secret));
        }
        ClientAuth::Basic(_) => {
            let pair = [config.client_id.as_bytes(), b":", client_secret].concat();
            basic = Some(format!("Basic {}", STANDARD.encode(pair)));
        }
        ClientAuth::Tls => body += &format!("&client_id={}", escaped(&config.client_id)),
    }
    if let Grant::Code { redirect_uri, verifier, .. } = grant {
        body += &format!("&redirect_uri={}&code_verifier={verifier}", escaped(redirect_uri));
    }
    let endpoint = &config.token_endpoint;
    let mut request = Request::new(Bytes::from(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = endpoint.path.clone().into();
    let headers = request.headers_mut();
    headers.insert(HOST, endpoint.authority.clone());
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    if let Some(basic) = basic {
        let mut value = HeaderValue::try_from(basic).ok()?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Some(request)
}

/// Asks.
pub(super) async fn ask(
    callout: Callout,
    config: Arc<OAuth2>,
    request: Request<Bytes>,
) -> Result<Tokens, Refused> {
    let endpoint = &config.token_endpoint;
    let answer = callout.http_retried(&endpoint.cluster, request, endpoint.timeout, config.retries).await?;
    if answer.status() != StatusCode::OK {
        return Err(Refused::Status(answer.status()));
    }
    read(answer.body(), config.lifetimes.access_token)
}

fn read(body: &[u8], default: Duration) -> Result<Tokens, Refused> {
    let mut answer: Value = serde_json::from_slice(body).map_err(|_| Refused::Malformed)?;
    let mut text = |name: &str| match answer.get_mut(name).map(Value::take) {
        Some(Value::String(text)) => text,
        _ => String::new(),
    };
    let (access, id, refresh) = (text("access_token"), text("id_token"), text("refresh_token"));
    // Some servers write the number as a text.
    let seconds = match answer.get("expires_in") {
        Some(Value::Number(number)) => Some(number.as_u64().ok_or(Refused::Malformed)?),
        Some(Value::String(text)) => Some(text.parse().map_err(|_| Refused::Malformed)?),
        _ => None,
    };
    if access.is_empty() {
        return Err(Refused::Malformed);
    }
    let lifetime = seconds.map_or(default, Duration::from_secs);
    if lifetime.as_secs() == 0 {
        return Err(Refused::Endless);
    }
    Ok(Tokens { access, id, refresh, lifetime })
}

/// When a token ends that says so itself, in seconds since 1970.
pub(super) fn end(token: &str) -> Option<u64> {
    let mut parts = token.split('.');
    let (payload, None) = (parts.nth(1)?, parts.nth(1)) else { return None };
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    claims.get("exp")?.as_u64().filter(|end| *end > 0)
}

#[cfg(test)]
mod tests {
    use super::{end, read};
    use std::time::Duration;

    #[test]
    fn answers_are_read_strictly() {
        let none = Duration::ZERO;
        let tokens =
            read(br#"{"access_token":"a","expires_in":"60","refresh_token":"r","x":1}"#, none).unwrap();
        assert_eq!((&*tokens.access, &*tokens.refresh, &*tokens.id), ("a", "r", ""));
        assert_eq!(tokens.lifetime, Duration::from_secs(60));
        assert!(read(br#"{"access_token":"a"}"#, none).is_err());
        assert!(read(br#"{"access_token":"a"}"#, Duration::from_secs(5)).is_ok());
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"access_token":1,"expires_in":1}"#,
            r#"{"access_token":"a","expires_in":-1}"#,
        ] {
            assert!(read(bad.as_bytes(), Duration::from_secs(5)).is_err(), "{bad}");
        }
        assert_eq!(format!("{tokens:?}"), "Tokens { lifetime: 60s, .. }");
    }

    #[test]
    fn tokens_may_say_when_they_end() {
        // {"exp":77}
        assert_eq!(end("e30.eyJleHAiOjc3fQ.c2ln"), Some(77));
        for not in ["", "opaque", "a.b.c", "e30.e30.c2ln", "e30.eyJleHAiOjc3fQ.c2ln.more"] {
            assert_eq!(end(not), None, "{not}");
        }
    }
}
