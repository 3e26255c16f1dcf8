// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Bytes of clients. The first byte of an input says into which pieces the rest is cut: what is read must not depend on it.

use futures::executor::block_on;
use gateway_config::{EscapedSlashes, PathOptions};
use gateway_proxy::fuzzing::{
    ProxyHeader, canonical_path, frames as follow, grpc_web as decode, is_http2, proxy_header, requests,
    server_name, token,
};

/// The limit of a head, bytes.
const LIMIT: usize = 8 * 1024;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The bytes behind the first one, whole and cut.
fn cut(input: &[u8]) -> (&[u8], impl Iterator<Item = &[u8]> + Clone) {
    let (first, rest) = input.split_first().map_or((1, input), |(first, rest)| (*first, rest));
    (rest, rest.chunks(usize::from(first % 64).max(1)))
}

/// Heads of HTTP/1.1: refused or not, whatever the pieces; what passes has one framing.
pub(crate) fn request_head(input: &[u8]) {
    let (whole, pieces) = cut(input);
    let (refused, open) = requests([whole], LIMIT);
    let (refused_cut, open_cut) = requests(pieces, LIMIT);
    // A head above the limit may be refused before its end has come.
    if refused != Some("too_large") && refused_cut != Some("too_large") {
        assert_eq!(refused.is_some(), refused_cut.is_some(), "{refused:?}, in pieces {refused_cut:?}");
        assert!(refused.is_some() || open == open_cut, "complete or not depends on the pieces");
    }
    let mut headers = [httparse::EMPTY_HEADER; 128];
    let mut request = httparse::Request::new(&mut headers);
    if refused.is_some() || !matches!(request.parse(whole), Ok(httparse::Status::Complete(_))) {
        return;
    }
    let named =
        |name: &str| request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name)).count();
    let (length, encoding, host) = (named("content-length"), named("transfer-encoding"), named("host"));
    assert!(length + encoding <= 1, "{length} lengths and {encoding} encodings passed");
    assert!(host <= 1, "{host} hosts passed");
}

/// Chunked bodies: the same.
pub(crate) fn chunked_body(input: &[u8]) {
    let (body, _) = cut(input);
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let all = [&head[..], body].concat();
    let size = usize::from(input.first().copied().unwrap_or(1) % 64).max(1);
    let (refused, open) = requests([&all[..]], LIMIT);
    let (refused_cut, open_cut) = requests(all.chunks(size), LIMIT);
    if refused != Some("too_large") && refused_cut != Some("too_large") {
        assert_eq!(refused.is_some(), refused_cut.is_some(), "{refused:?}, in pieces {refused_cut:?}");
        assert!(refused.is_some() || open == open_cut, "complete or not depends on the pieces");
    }
}

/// PROXY protocol headers: what is decided stays decided, whatever follows.
pub(crate) fn proxy_protocol(input: &[u8]) {
    let mut decided = None;
    for end in 0..=input.len().min(300) {
        let now = proxy_header(&input[..end]);
        if let ProxyHeader::Length(length) = now {
            assert!(length <= end, "a header of {length} bytes in {end}");
        }
        match decided {
            Some(before) => assert_eq!(now, before, "after {end} bytes"),
            None if now != ProxyHeader::More => decided = Some(now),
            None => {}
        }
    }
}

/// Paths: the canonical form is canonical, and has one reading.
pub(crate) fn path(input: &[u8]) {
    let (options, text) = input.split_first().map_or((0, input), |(first, rest)| (*first, rest));
    let Ok(text) = std::str::from_utf8(text) else { return };
    let options = PathOptions {
        normalize: options & 1 == 0,
        merge_slashes: options & 2 != 0,
        escaped_slashes: match options >> 2 & 3 {
            0 => EscapedSlashes::Keep,
            1 => EscapedSlashes::Reject,
            2 => EscapedSlashes::UnescapeAndRedirect,
            _ => EscapedSlashes::UnescapeAndForward,
        },
    };
    let Some(first) = canonical_path(text, options) else { return };
    let second = canonical_path(&first, options);
    assert_eq!(second.as_ref(), Some(&first), "the canonical form is not");
    let path = first.split('?').next().unwrap_or_default().to_ascii_lowercase();
    assert!(path.starts_with('/'), "{path}");
    if options.normalize {
        let dots = |part: &str| matches!(part.replace("%2e", ".").as_str(), "." | "..");
        assert!(!path.split('/').any(dots), "dot segments are left: {path}");
    }
    if options.escaped_slashes != EscapedSlashes::Keep {
        assert!(!path.contains("%2f") && !path.contains("%5c"), "escaped slashes are left: {path}");
    }
}

/// TLS hellos: the name does not depend on the pieces.
pub(crate) fn tls_hello(input: &[u8]) {
    let (whole, pieces) = cut(input);
    assert_eq!(server_name([whole]), server_name(pieces));
}

/// The first bytes of a connection.
pub(crate) fn preface(input: &[u8]) {
    let http2 = block_on(is_http2(input));
    assert_eq!(http2 == Some(true), input.starts_with(PREFACE));
    assert_eq!(http2.is_none(), input.is_empty());
}

/// Frames of HTTP/2: refused at the same byte, whatever the pieces.
pub(crate) fn frames(input: &[u8]) {
    let (rest, _) = cut(input);
    let all = [PREFACE, rest].concat();
    let size = usize::from(input.first().copied().unwrap_or(1) % 64).max(1);
    let (refused, open) = follow([&all[..]]);
    let (refused_cut, open_cut) = follow(all.chunks(size));
    assert_eq!(open, open_cut, "complete or not depends on the pieces");
    assert_eq!(refused.is_some(), refused_cut.is_some());
}

/// Tokens, and sets of keys behind a line's end.
pub(crate) fn jwt(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (text, keys) = text.split_once('\n').unwrap_or((text, ""));
    token(text, keys);
}

/// Bodies of gRPC-Web: decoded or refused, whatever the pieces.
pub(crate) fn grpc_web(input: &[u8]) {
    let (whole, pieces) = cut(input);
    assert_eq!(decode([whole]), decode(pieces));
}
