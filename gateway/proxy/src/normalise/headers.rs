// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Which of the client's headers go on, and what the gateway says about the client.

use super::Refused;
use crate::connection::Connection;
use gateway_config::{Forwarding, Underscores};
use http::header::{CONNECTION, EXPECT, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue};
use rand::RngExt;

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
static HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
static HTTP: HeaderValue = HeaderValue::from_static("http");
static HTTPS: HeaderValue = HeaderValue::from_static("https");
static TRAILERS: HeaderValue = HeaderValue::from_static("trailers");

/// What one look at all names found.
#[derive(Default)]
struct Seen {
    connection: bool,
    te: bool,
    underscore: bool,
    internal: bool,
    other_hop: bool,
}

/// Removes the headers of the client's own connection (RFC 9110, 7.6.1), those that only a proxy may set, and underscores where not
/// wanted. Gives back the protocol of an upgrade.
pub(super) fn strip(
    headers: &mut HeaderMap,
    underscores: Underscores,
    forwarding: Forwarding,
) -> Result<Option<HeaderValue>, Refused> {
    let seen = look(headers);
    if seen.underscore && underscores == Underscores::Reject {
        return Err(Refused::BadRequest("header_name_with_underscore"));
    }
    let mut upgrade = None;
    if seen.connection {
        upgrade = strip_connection(headers);
    }
    if seen.te {
        let trailers = headers.get_all(TE).iter().any(|value| has_token(value, "trailers"));
        headers.remove(TE);
        if trailers {
            headers.insert(TE, TRAILERS.clone());
        }
    }
    if seen.other_hop {
        for name in [&TRANSFER_ENCODING, &UPGRADE, &EXPECT, &KEEP_ALIVE, &PROXY_CONNECTION, &HTTP2_SETTINGS] {
            headers.remove(name);
        }
    }
    if seen.underscore && underscores == Underscores::Drop {
        remove_where(headers, |name| name.contains('_'));
    }
    if seen.internal && forwarding.use_remote_address {
        remove_where(headers, |name| name.starts_with("x-envoy-"));
    }
    Ok(upgrade)
}

fn look(headers: &HeaderMap) -> Seen {
    let mut seen = Seen::default();
    for name in headers.keys() {
        let name = name.as_str();
        match name {
            "connection" => seen.connection = true,
            "te" => seen.te = true,
            "transfer-encoding" | "upgrade" | "expect" | "keep-alive" | "proxy-connection"
            | "http2-settings" => seen.other_hop = true,
            _ => {
                seen.internal |= name.starts_with("x-envoy-");
                seen.underscore |= name.contains('_');
            }
        }
    }
    seen
}

/// Removes `Connection` and what it names.
fn strip_connection(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let mut upgrade = None;
    let values: Vec<HeaderValue> = headers.get_all(CONNECTION).iter().cloned().collect();
    for token in values.iter().flat_map(tokens) {
        match token {
            token if token.eq_ignore_ascii_case(b"upgrade") => upgrade = headers.remove(UPGRADE),
            token if token.eq_ignore_ascii_case(b"close") || token.eq_ignore_ascii_case(b"keep-alive") => {}
            // `te` has its own rule.
            token if token.eq_ignore_ascii_case(b"te") => {}
            token => {
                if let Ok(name) = HeaderName::from_bytes(token) {
                    headers.remove(name);
                }
            }
        }
    }
    headers.remove(CONNECTION);
    upgrade.filter(|protocol| !protocol.as_bytes().eq_ignore_ascii_case(b"h2c"))
}

/// Adds what the gateway says about the client; gives back whether the client came by https.
pub(super) fn trust(headers: &mut HeaderMap, forwarding: Forwarding, connection: &Connection) -> bool {
    let edge = forwarding.use_remote_address && forwarding.trusted_hops == 0;
    if forwarding.use_remote_address && !forwarding.skip_append {
        append_forwarded_for(headers, connection.remote_ip());
    }
    let said = if edge { None } else { headers.get(&X_FORWARDED_PROTO) };
    let https = match said.map(HeaderValue::as_bytes) {
        Some(b"https") => true,
        Some(b"http") => false,
        _ => {
            let https = connection.info().tls.is_some();
            headers.insert(X_FORWARDED_PROTO.clone(), if https { HTTPS.clone() } else { HTTP.clone() });
            https
        }
    };
    let keep_id = !forwarding.use_remote_address || forwarding.preserve_request_id;
    if forwarding.generate_request_id && !(keep_id && headers.contains_key(&X_REQUEST_ID)) {
        headers.insert(X_REQUEST_ID.clone(), request_id());
    }
    https
}

fn append_forwarded_for(headers: &mut HeaderMap, remote: &HeaderValue) {
    let mut joined = Vec::new();
    for value in headers.get_all(&X_FORWARDED_FOR) {
        joined.extend_from_slice(value.as_bytes());
        joined.extend_from_slice(b",");
    }
    let value = if joined.is_empty() {
        remote.clone()
    } else {
        joined.extend_from_slice(remote.as_bytes());
        HeaderValue::from_bytes(&joined).unwrap_or_else(|_| remote.clone())
    };
    headers.insert(X_FORWARDED_FOR.clone(), value);
}

/// A random UUID (RFC 9562, version 4).
fn request_id() -> HeaderValue {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let random = (rand::rng().random::<u128>() & !(0xf << 76 | 0x3 << 62)) | 0x4 << 76 | 0x2 << 62;
    let mut text = [b'-'; 36];
    let mut shift = 128;
    for (at, byte) in text.iter_mut().enumerate() {
        if !matches!(at, 8 | 13 | 18 | 23) {
            shift -= 4;
            *byte = DIGITS[(random >> shift & 0xf) as usize];
        }
    }
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("-"))
}

fn remove_where(headers: &mut HeaderMap, unwanted: impl Fn(&str) -> bool) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| unwanted(name.as_str())).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

fn tokens(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

fn has_token(value: &HeaderValue, wanted: &str) -> bool {
    tokens(value).any(|token| token.eq_ignore_ascii_case(wanted.as_bytes()))
}
