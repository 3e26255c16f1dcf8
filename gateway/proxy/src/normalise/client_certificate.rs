// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What the upstream is told about the client's certificate (Envoy, "x-forwarded-client-cert").

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gateway_config::{ClientCertificateHeader, ClientCertificateMode as Mode};
use gateway_filter_api::TlsInfo;
use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};
use std::fmt::Write;

static NAME: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

/// Changes the header of a request by the settings; without a client certificate nobody but an explicitly trusted peer may send it.
pub(super) fn apply(headers: &mut HeaderMap, settings: ClientCertificateHeader, tls: Option<&TlsInfo>) {
    if settings.mode == Mode::AlwaysForwardOnly {
        return;
    }
    let certificate = tls.and_then(|tls| Some((tls, tls.peer_certificate.as_deref()?)));
    let Some((tls, der)) = certificate else {
        headers.remove(&NAME);
        return;
    };
    match settings.mode {
        Mode::AlwaysForwardOnly | Mode::ForwardOnly => {}
        Mode::Sanitize => {
            headers.remove(&NAME);
        }
        Mode::SanitizeSet => {
            headers.remove(&NAME);
            if let Ok(value) = HeaderValue::from_str(&element(settings, tls, der)) {
                headers.insert(NAME.clone(), value);
            }
        }
        Mode::AppendForward => {
            let mut joined = Vec::new();
            for value in headers.get_all(&NAME) {
                joined.extend_from_slice(value.as_bytes());
                joined.push(b',');
            }
            joined.extend_from_slice(element(settings, tls, der).as_bytes());
            match HeaderValue::from_bytes(&joined) {
                Ok(value) => headers.insert(NAME.clone(), value),
                Err(_) => headers.remove(&NAME),
            };
        }
    }
}

/// One element of the header: key=value pairs in Envoy's order.
fn element(settings: ClientCertificateHeader, tls: &TlsInfo, der: &[u8]) -> String {
    let mut text = String::from("Hash=");
    for byte in Sha256::digest(der) {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    if settings.certificate {
        text.push_str(";Cert=\"");
        text.push_str(&encoded(&pem(der)));
        text.push('"');
    }
    let Some(peer) = tls.peer.as_deref() else { return text };
    if settings.subject {
        let _ = write!(text, ";Subject=\"{}\"", peer.subject.replace('\\', "\\\\").replace('"', "\\\""));
    }
    let names = |wanted: bool, key: &'static str, names: &[Box<str>]| {
        let told: Vec<String> = names.iter().map(|name| format!(";{key}={}", quoted(name))).collect();
        if wanted { told.concat() } else { String::new() }
    };
    text.push_str(&names(settings.uri, "URI", &peer.uris));
    text.push_str(&names(settings.dns, "DNS", &peer.dns));
    text
}

/// A value that could be taken for more than one stands in quotes.
fn quoted(value: &str) -> String {
    match value.contains([',', ';', '=', '"']) {
        false => value.to_owned(),
        true => format!("\"{}\"", value.replace('"', "\\\"")),
    }
}

fn pem(der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines: Vec<&str> =
        body.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

/// URL encoding of everything that is not unreserved (RFC 3986, 2.3).
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
