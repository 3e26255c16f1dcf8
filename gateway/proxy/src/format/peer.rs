// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What a client's certificate says, for formats that ask for it.

use gateway_config::PeerField;
use gateway_filter_api::{PeerNames, TlsInfo};
use sha2::{Digest, Sha256};
use std::io::Write;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Appends a field of the peer's certificate; false where there is none.
pub(super) fn write_peer(out: &mut Vec<u8>, field: PeerField, tls: Option<&TlsInfo>) -> bool {
    let Some(tls) = tls else { return false };
    let names = tls.peer.as_deref();
    let start = out.len();
    match field {
        PeerField::Subject => out.extend_from_slice(names.map_or("", |names| &names.subject).as_bytes()),
        PeerField::UriSan => join(out, names.map_or(&[], |names: &PeerNames| &names.uris)),
        PeerField::DnsSan => join(out, names.map_or(&[], |names: &PeerNames| &names.dns)),
        PeerField::Sha256 => {
            let Some(der) = &tls.peer_certificate else { return false };
            hex(out, &Sha256::digest(der));
        }
        PeerField::Pem => {
            let Some(der) = &tls.peer_certificate else { return false };
            pem(out, der);
        }
        PeerField::Issuer | PeerField::Serial | PeerField::NotBefore | PeerField::NotAfter => {
            let Some(der) = &tls.peer_certificate else { return false };
            let Ok((_, certificate)) = X509Certificate::from_der(der) else { return false };
            parsed(out, field, &certificate);
        }
    }
    out.len() > start
}

fn parsed(out: &mut Vec<u8>, field: PeerField, certificate: &X509Certificate<'_>) {
    match field {
        PeerField::Issuer => {
            let registry = x509_parser::objects::oid_registry();
            let issuer = certificate.issuer().to_string_with_registry(registry).unwrap_or_default();
            out.extend_from_slice(issuer.as_bytes());
        }
        PeerField::Serial => hex(out, certificate.raw_serial()),
        PeerField::NotBefore => date(out, certificate.validity().not_before.timestamp()),
        _ => date(out, certificate.validity().not_after.timestamp()),
    }
}

fn date(out: &mut Vec<u8>, seconds: i64) {
    if let Ok(time) = jiff::Timestamp::from_second(seconds) {
        // Writing to a Vec does not fail.
        let _ = write!(out, "{time:.3}");
    }
}

fn join(out: &mut Vec<u8>, names: &[Box<str>]) {
    for (at, name) in names.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(name.as_bytes());
    }
}

fn hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

/// PEM, URL-encoded as Envoy writes it.
fn pem(out: &mut Vec<u8>, der: &[u8]) {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    out.extend_from_slice(b"-----BEGIN%20CERTIFICATE-----%0A");
    let mut column = 0;
    let mut put = |out: &mut Vec<u8>, letter: u8| {
        match letter {
            b'+' => out.extend_from_slice(b"%2B"),
            b'/' => out.extend_from_slice(b"%2F"),
            b'=' => out.extend_from_slice(b"%3D"),
            letter => out.push(letter),
        }
        column += 1;
        if column % 64 == 0 {
            out.extend_from_slice(b"%0A");
        }
        column
    };
    let mut letters = 0;
    for chunk in der.chunks(3) {
        let mut bits = 0_usize;
        for at in 0..3 {
            bits = bits << 8 | usize::from(chunk.get(at).copied().unwrap_or_default());
        }
        for at in 0..4 {
            let letter = if at > chunk.len() { b'=' } else { LETTERS[bits >> (18 - 6 * at) & 63] };
            letters = put(out, letter);
        }
    }
    if letters % 64 != 0 {
        out.extend_from_slice(b"%0A");
    }
    out.extend_from_slice(b"-----END%20CERTIFICATE-----%0A");
}
