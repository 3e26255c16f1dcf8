// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! New paths and locations: rewrites for upstreams, redirects for clients.

use gateway_config::{PathMatcher, PathRewrite, Redirect, RedirectPath, Route};
use gateway_filter_api::RequestHead;
use http::HeaderValue;
use http::uri::PathAndQuery;
use regex::Regex;
use std::borrow::Cow;

/// The path for the upstream; none where the result would be no path.
pub(crate) fn path(rewrite: &PathRewrite, route: &Route, target: &PathAndQuery) -> Option<PathAndQuery> {
    let mut text = rewritten(rewrite, route, target.path()).into_owned();
    if let Some(query) = target.query() {
        text.push('?');
        text.push_str(query);
    }
    PathAndQuery::try_from(text).ok()
}

/// The authority for the upstream that a path becomes.
pub(crate) fn host_of_path(pattern: &Regex, substitution: &str, path: &str) -> Option<HeaderValue> {
    HeaderValue::try_from(&*pattern.replace_all(path, substitution)).ok()
}

/// The `Location` of a redirect.
pub(crate) fn location(redirect: &Redirect, route: &Route, head: &RequestHead) -> Option<HeaderValue> {
    let scheme = redirect.scheme.as_deref().unwrap_or(head.scheme());
    let host = match &redirect.host {
        Some(host) => host,
        None => own_host(head, scheme, redirect.port.is_some()),
    };
    let port = redirect.port.map(|port| format!(":{port}")).unwrap_or_default();
    let path = match &redirect.path {
        None => Cow::Borrowed(head.path.path()),
        Some(RedirectPath::Full(path)) => Cow::Borrowed(&**path),
        Some(RedirectPath::Rewrite(rewrite)) => rewritten(rewrite, route, head.path.path()),
    };
    let mut text = format!("{scheme}://{host}{port}{path}");
    // A query in path_redirect is the new one.
    let has_query = matches!(&redirect.path, Some(RedirectPath::Full(path)) if path.contains('?'));
    if let Some(query) = head.path.query().filter(|_| !redirect.strip_query && !has_query) {
        text.push('?');
        text.push_str(query);
    }
    HeaderValue::try_from(text).ok()
}

/// The host that was asked for. Its port goes where there is a new one, and where it was the usual one of another scheme.
fn own_host<'a>(head: &'a RequestHead, scheme: &str, new_port: bool) -> &'a str {
    let (host, port) = split_port(head.authority());
    let said = head.headers.get("x-forwarded-proto").map(HeaderValue::as_bytes).unwrap_or_default();
    let usual = scheme.as_bytes() != said
        && match said {
            b"https" => port == Some("443"),
            b"http" => port == Some("80"),
            _ => false,
        };
    if new_port || usual { host } else { head.authority() }
}

/// The same request over https.
pub(crate) fn https(head: &RequestHead) -> Option<HeaderValue> {
    let (host, port) = split_port(head.authority());
    let port = port.filter(|port| *port != "80").map(|port| format!(":{port}")).unwrap_or_default();
    HeaderValue::try_from(format!("https://{host}{port}{}", head.path)).ok()
}

fn rewritten<'a>(rewrite: &'a PathRewrite, route: &Route, path: &'a str) -> Cow<'a, str> {
    match rewrite {
        PathRewrite::Regex { pattern, substitution } => pattern.replace_all(path, &**substitution),
        PathRewrite::Prefix(replacement) => {
            let matched = match &route.matcher.path {
                PathMatcher::Exact(text) | PathMatcher::Prefix(text) | PathMatcher::SeparatedPrefix(text) => {
                    text.len()
                }
                PathMatcher::Regex(_) | PathMatcher::Connect => path.len(),
            };
            let mut rest = path.get(matched..).unwrap_or_default();
            // `/foo` replaced by `/` makes `/bar` of `/foo/bar`, not `//bar`.
            if replacement.ends_with('/') && rest.starts_with('/') {
                rest = &rest[1..];
            }
            let slash = if replacement.starts_with('/') || rest.starts_with('/') && replacement.is_empty() {
                ""
            } else {
                "/"
            };
            Cow::Owned([slash, replacement, rest].concat())
        }
    }
}

fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}
