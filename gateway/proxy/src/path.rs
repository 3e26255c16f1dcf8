// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! One canonical path: what routes are chosen by, what filters see, what is logged and what goes upstream (RFC 3986, section 6.2.2).

use gateway_config::{EscapedSlashes, PathOptions};
use http::uri::PathAndQuery;

/// What a path turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Canonical {
    /// It was canonical already.
    Same,
    /// This is the canonical one.
    Changed(PathAndQuery),
    /// The client should ask for this one instead.
    Redirect(PathAndQuery),
    /// The request is to be answered 400.
    Refused,
}

/// Brings the path of a target into its canonical form; the query is not touched.
pub(crate) fn canonical(target: &PathAndQuery, options: PathOptions) -> Canonical {
    let path = target.path();
    if !path.starts_with('/') {
        return Canonical::Refused;
    }
    // A target of a query alone has an empty path, which reads as `/` (RFC 9112, section 3.2.1).
    if target.as_str().starts_with('?') {
        let target = bytes::Bytes::from(format!("/{}", target.as_str()));
        return PathAndQuery::from_maybe_shared(target).map_or(Canonical::Refused, Canonical::Changed);
    }
    if is_canonical(path.as_bytes(), options) {
        return Canonical::Same;
    }
    let mut escapes = Escapes::default();
    let Some(mut bytes) = decode(path.as_bytes(), options, &mut escapes) else {
        return Canonical::Refused;
    };
    // In Envoy's order: `/a//../b` is `/a/b`.
    if options.normalize {
        bytes = without_dots(&bytes);
    }
    if options.merge_slashes {
        bytes.dedup_by(|next, previous| *next == b'/' && *previous == b'/');
    }
    if bytes == path.as_bytes() {
        return Canonical::Same;
    }
    if let Some(query) = target.query() {
        bytes.push(b'?');
        bytes.extend_from_slice(query.as_bytes());
    }
    match PathAndQuery::from_maybe_shared(bytes::Bytes::from(bytes)) {
        Ok(changed) if escapes.slash && options.escaped_slashes == EscapedSlashes::UnescapeAndRedirect => {
            Canonical::Redirect(changed)
        }
        Ok(changed) => Canonical::Changed(changed),
        Err(_) => Canonical::Refused,
    }
}

#[derive(Default)]
struct Escapes {
    /// `%2F` or `%5C` was there.
    slash: bool,
}

/// The quick look that most paths pass: nothing in it that could have to change.
fn is_canonical(path: &[u8], options: PathOptions) -> bool {
    let mut previous = b'a';
    for &byte in path {
        let suspicious = match byte {
            b'%' => true,
            b'\\' => options.normalize,
            b'.' => previous == b'/' && options.normalize,
            b'/' => previous == b'/' && options.merge_slashes,
            _ => false,
        };
        if suspicious {
            return false;
        }
        previous = byte;
    }
    true
}

/// Decodes escapes of unreserved characters, and of slashes where asked for; none for a path to refuse.
fn decode(path: &[u8], options: PathOptions, escapes: &mut Escapes) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(path.len());
    let mut at = 0;
    while let Some(&byte) = path.get(at) {
        at += 1;
        if byte == b'\\' && options.normalize {
            out.push(b'/');
            continue;
        }
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let Some(decoded) = path.get(at..at + 2).and_then(hex_pair) else {
            // A broken escape means different things to different servers.
            return None;
        };
        match decoded {
            0 => return None,
            b'/' | b'\\' if options.escaped_slashes == EscapedSlashes::Reject => return None,
            b'/' | b'\\' if options.escaped_slashes != EscapedSlashes::Keep => {
                escapes.slash = true;
                out.push(if options.normalize { b'/' } else { decoded });
            }
            unreserved if options.normalize && is_unreserved(unreserved) => out.push(unreserved),
            _ => out.extend_from_slice(&path[at - 1..at + 2]),
        }
        at += 2;
    }
    Some(out)
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn hex_pair(pair: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let value = digit(*pair.first()?)? * 16 + digit(*pair.get(1)?)?;
    u8::try_from(value).ok()
}

/// RFC 3986, 5.2.4: `..` takes the segment before it away and never climbs above the root.
fn without_dots(path: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(path.len());
    let mut segments = path.split(|&byte| byte == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            b"." | b".." => {
                if segment == b".." {
                    let parent = out.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
                    out.truncate(parent);
                }
                if last {
                    out.push(b'/');
                }
            }
            _ => {
                out.push(b'/');
                out.extend_from_slice(segment);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Canonical, canonical};
    use gateway_config::{EscapedSlashes, PathOptions};
    use http::uri::PathAndQuery;

    fn options(escaped_slashes: EscapedSlashes) -> PathOptions {
        PathOptions { normalize: true, merge_slashes: true, escaped_slashes }
    }

    fn text(path: &str, options: PathOptions) -> String {
        match canonical(&PathAndQuery::try_from(path).unwrap(), options) {
            Canonical::Same => path.to_owned(),
            Canonical::Changed(changed) => changed.to_string(),
            Canonical::Redirect(to) => format!("redirect {to}"),
            Canonical::Refused => "refused".to_owned(),
        }
    }

    #[test]
    fn spellings_of_one_path_become_one() {
        for (path, expected) in [
            ("/", "/"),
            ("?a=/../b", "/?a=/../b"),
            ("/a/b", "/a/b"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a/b/.", "/a/b/"),
            ("/..", "/"),
            ("/../../a", "/a"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e/b", "/b"),
            ("/%61%2D%7e", "/a-~"),
            ("//a///b", "/a/b"),
            ("/a//../b", "/a/b"),
            ("/a/.../b", "/a/.../b"),
            ("/a/.b/..c", "/a/.b/..c"),
            ("/a\\..\\b", "/b"),
            ("/a%2fb", "/a%2fb"),
            ("/a%2f..%2Fb", "/a%2f..%2Fb"),
            ("/a%5cb", "/a%5cb"),
            ("/a%00b", "refused"),
            ("/a%", "refused"),
            ("/a%2", "refused"),
            ("/a%zz", "refused"),
            ("/%c0%ae%c0%ae/", "/%c0%ae%c0%ae/"),
            ("/a;b/../c", "/c"),
            ("/a/..;/c", "/a/..;/c"),
            ("/a/../b?x=/../y%", "/b?x=/../y%"),
            ("*", "refused"),
        ] {
            assert_eq!(text(path, options(EscapedSlashes::Keep)), expected, "{path}");
        }
    }

    #[test]
    fn escaped_slashes_follow_the_option() {
        for (option, expected) in [
            (EscapedSlashes::Keep, "/a/%2Fb%5c..?q=%2f"),
            (EscapedSlashes::Reject, "refused"),
            (EscapedSlashes::UnescapeAndForward, "/a/?q=%2f"),
            (EscapedSlashes::UnescapeAndRedirect, "redirect /a/?q=%2f"),
        ] {
            assert_eq!(text("/a/%2Fb%5c..?q=%2f", options(option)), expected, "{option:?}");
        }
    }

    #[test]
    fn nothing_changes_where_nothing_is_asked_for() {
        let none = PathOptions::default();
        for path in ["/a/../b", "//a", "/%61", "/a%2fb", "/a\\b"] {
            assert_eq!(text(path, none), path);
        }
        assert_eq!(text("/%00", none), "refused");
    }

    proptest::proptest! {
        #[test]
        fn the_canonical_form_is_stable(path in "/([a/.;]|%2[eEfF]|%5[cC]|%61|\\\\){0,16}") {
            let options = options(EscapedSlashes::UnescapeAndForward);
            let once = text(&path, options);
            if once != "refused" {
                proptest::prop_assert_eq!(text(&once, options), once.clone());
                proptest::prop_assert!(!once.split('/').any(|segment| segment == ".." || segment == "."));
                proptest::prop_assert!(!once.contains("//"));
            }
        }
    }
}
