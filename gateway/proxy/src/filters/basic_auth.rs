// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Clients that show a name and a password (RFC 7617), as Envoy's filter takes them.

use super::Counter;
use super::joined::joined;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use gateway_config::{BasicAuth, Users};
use gateway_filter_api::{FilterContext, HttpFilter, LocalResponse, Outcome, RequestHead};
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::Value;
use sha1::{Digest, Sha1};
use std::sync::Arc;

/// The namespace of what the filter leaves in the metadata.
const NAMESPACE: &str = "envoy.filters.http.basic_auth";
/// As much of the address as the challenge repeats.
const LONGEST_REALM: usize = 256;

/// The filter's numbers on one worker.
#[derive(Clone, Debug)]
pub(crate) struct Counters {
    pub(crate) allowed: Counter,
    pub(crate) denied: Counter,
}

/// Looks at one request; the route's users stand in for the listener's.
#[derive(Debug)]
pub(crate) struct CheckUser {
    pub(crate) config: Arc<BasicAuth>,
    pub(crate) route: Option<Arc<Users>>,
    pub(crate) counters: Counters,
}

impl CheckUser {
    fn refuse(&self, head: &RequestHead, body: &'static str, details: &'static str) -> Outcome {
        self.counters.denied.increment();
        let mut address = format!("{}://{}{}", head.scheme(), head.authority(), head.path);
        address.truncate(address.floor_char_boundary(LONGEST_REALM));
        let mut headers = HeaderMap::new();
        // A quote inside would end the realm early.
        let challenge = HeaderValue::from_str(&format!("Basic realm=\"{}\"", address.replace('"', "%22")));
        headers.insert(
            WWW_AUTHENTICATE,
            challenge.unwrap_or_else(|_| HeaderValue::from_static("Basic realm=\"gateway\"")),
        );
        Outcome::Respond(Box::new(LocalResponse {
            headers,
            body: Bytes::from_static(body.as_bytes()),
            ..LocalResponse::new(StatusCode::UNAUTHORIZED, details)
        }))
    }

    fn knows(&self, name: &str, password: &[u8]) -> bool {
        let Users(users) = self.route.as_deref().unwrap_or(&self.config.users);
        let shown: [u8; 20] = Sha1::digest(password).into();
        // Compared without a way out in between; an unknown user costs the same.
        let wanted = users.get(name);
        let different = wanted.unwrap_or(&[0; 20]).iter().zip(&shown).fold(0, |all, (a, b)| all | (a ^ b));
        wanted.is_some() && different == 0
    }
}

impl HttpFilter for CheckUser {
    fn on_request_headers(&mut self, context: &mut FilterContext<'_>, _end_of_stream: bool) -> Outcome {
        let name = self.config.header.as_ref().unwrap_or(&AUTHORIZATION);
        let head = &*context.request;
        let Some(value) = joined(&head.headers, name).filter(|value| !value.is_empty()) else {
            if self.config.allow_missing {
                self.counters.allowed.increment();
                return Outcome::Continue;
            }
            let body = "User authentication failed. Missing username and password.";
            return self.refuse(head, body, "no_credential_for_basic_auth");
        };
        let basic = value.get(..6).filter(|scheme| scheme.eq_ignore_ascii_case(b"basic "));
        let Some(encoded) = basic.and(value.get(6..)) else {
            let body = "User authentication failed. Expected 'Basic' authentication scheme.";
            return self.refuse(head, body, "invalid_scheme_for_basic_auth");
        };
        let decoded = STANDARD.decode(encoded.trim_ascii()).unwrap_or_default();
        let colon = decoded.iter().position(|byte| *byte == b':');
        let parts = colon.and_then(|colon| {
            Some((std::str::from_utf8(decoded.get(..colon)?).ok()?, decoded.get(colon + 1..)?))
        });
        let Some((user, password)) = parts else {
            let body = "User authentication failed. Invalid basic credential format.";
            return self.refuse(head, body, "invalid_format_for_basic_auth");
        };
        if !self.knows(user, password) {
            let body = "User authentication failed. Invalid username/password combination.";
            return self.refuse(head, body, "invalid_credential_for_basic_auth");
        }
        if let Some((name, value)) =
            self.config.forward_username.clone().zip(HeaderValue::from_str(user).ok())
        {
            context.request.headers.insert(name, value);
        }
        if self.config.emit_metadata {
            context.metadata.set(NAMESPACE, "username", Value::from(user));
        }
        self.counters.allowed.increment();
        Outcome::Continue
    }

    fn is_finished(&self) -> bool {
        true
    }
}
