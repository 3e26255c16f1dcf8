// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The readers of bytes that strangers send, for fuzz targets (`tests/fuzz`); nothing else uses them from outside.

use crate::filters::decode_grpc_web;
use crate::frame_guard::FrameGuard;
use crate::head_guard::{HeadGuard, Verdict};
use crate::jwt::Token;
use crate::path::{Canonical, canonical};
use crate::preface;
use crate::proxy_protocol::{self, Parsed};
use crate::tls_hello;
use bytes::Bytes;
use gateway_config::{Jwks, PathOptions};
use http::uri::PathAndQuery;
use std::time::Duration;

/// Reads the requests of an HTTP/1.1 connection; why they are refused, and whether a head is incomplete at the end.
pub fn requests<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    limit: usize,
) -> (Option<&'static str>, bool) {
    let mut guard = HeadGuard::new(limit);
    for piece in pieces {
        match guard.inspect(piece) {
            Verdict::Pass => {}
            Verdict::RefuseHead { keep, reason } => {
                assert!(keep <= piece.len(), "more is kept than there is");
                return (Some(reason.as_str()), false);
            }
            Verdict::RefuseBody(reason) => return (Some(reason.as_str()), false),
        }
    }
    (None, guard.inside_head())
}

/// What the first bytes of a connection are to the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// More bytes are needed.
    More,
    /// No header.
    None,
    /// A broken one.
    Invalid,
    /// One of that length.
    Length(usize),
}

/// Reads a PROXY protocol header.
#[must_use]
pub fn proxy_header(bytes: &[u8]) -> ProxyHeader {
    match proxy_protocol::parse(bytes) {
        Parsed::More => ProxyHeader::More,
        Parsed::Other => ProxyHeader::None,
        Parsed::Invalid => ProxyHeader::Invalid,
        Parsed::Header(header) => ProxyHeader::Length(header.length),
    }
}

/// The canonical form of a target; none where it has none, or is no target.
#[must_use]
pub fn canonical_path(target: &str, options: PathOptions) -> Option<String> {
    let target = PathAndQuery::from_maybe_shared(Bytes::copy_from_slice(target.as_bytes())).ok()?;
    match canonical(&target, options) {
        Canonical::Same => Some(target.as_str().to_owned()),
        Canonical::Changed(to) | Canonical::Redirect(to) => Some(to.as_str().to_owned()),
        Canonical::Refused => None,
    }
}

/// Follows the frames of an HTTP/2 connection; after how many bytes one is refused, and whether a head is incomplete at the end.
pub fn frames<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Option<usize>, bool) {
    let (mut guard, mut before) = (FrameGuard::new(), 0);
    for piece in pieces {
        if let Err(keep) = guard.inspect(piece) {
            return (Some(before + keep), false);
        }
        before += piece.len();
    }
    (None, guard.inside_head())
}

/// Reads a TLS hello that comes in pieces; its server name.
pub fn server_name<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Option<String> {
    tls_hello::in_pieces(pieces)?.server_name.map(|name| name.to_string())
}

/// Whether the first bytes of a connection are HTTP/2.
pub async fn is_http2(mut bytes: &[u8]) -> Option<bool> {
    preface::detect(&mut bytes).await.ok().map(|(http2, _)| http2)
}

/// Reads a token and, with a set of keys, checks it.
pub fn token(text: &str, keys: &str) {
    let keys = Jwks::parse(keys.as_bytes()).unwrap_or(Jwks { keys: Box::default() });
    if let Ok(token) = Token::parse(text) {
        let now = Duration::from_secs(1_700_000_000);
        // Any outcome is right that is no panic, but for one.
        let _ = (token.subject(), token.audiences(), token.issuer());
        let _ = token.check_time(now, Duration::from_secs(60), (true, Some(Duration::from_secs(60))));
        let verified = token.verify(&keys).is_ok();
        assert!(!verified || !keys.keys.is_empty(), "a signature that no key made");
    }
}

/// Decodes the text body of a gRPC-Web request that comes in pieces; none where it is none.
pub fn grpc_web<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
    let (mut rest, mut all) = (Vec::new(), Vec::new());
    for piece in pieces {
        all.extend_from_slice(&decode_grpc_web(&mut rest, piece, false)?);
    }
    all.extend_from_slice(&decode_grpc_web(&mut rest, b"", true)?);
    Some(all)
}
