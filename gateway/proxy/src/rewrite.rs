// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! New paths and locations: rewrites for upstreams, redirects for clients.

use gateway_config::{PathMatcher, PathRewrite, Redirect, RedirectPath, Route};
use gateway_filter_api::RequestHead;
use http::HeaderValue;
use http::uri::PathAndQuery;
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

/// The `Location` of a redirect.
pub(crate) fn location(redirect: &Redirect, route: &Route, head: &RequestHead) -> Option<HeaderValue> {
    let scheme = redirect.scheme.as_deref().unwrap_or(head.scheme());
    let (host, port) = split_port(head.authority());
    let host = redirect.host.as_deref().unwrap_or(host);
    let port = match (redirect.port, port) {
        (Some(port), _) => Some(Cow::Owned(port.to_string())),
        // Envoy: a new host drops the port; a new scheme drops the default port of the old one.
        (None, _) if redirect.host.is_some() => None,
        (None, Some(port)) if redirect.scheme.is_some() && port == default_port(head.scheme()) => None,
        (None, port) => port.map(Cow::Borrowed),
    };
    let path = match &redirect.path {
        None => Cow::Borrowed(head.path.path()),
        Some(RedirectPath::Full(path)) => Cow::Borrowed(&**path),
        Some(RedirectPath::Rewrite(rewrite)) => rewritten(rewrite, route, head.path.path()),
    };
    let mut text = format!("{scheme}://{host}");
    if let Some(port) = port {
        text.push(':');
        text.push_str(&port);
    }
    text.push_str(&path);
    if let Some(query) = head.path.query()
        && !redirect.strip_query
        && !path.contains('?')
    {
        text.push('?');
        text.push_str(query);
    }
    HeaderValue::try_from(text).ok()
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
                PathMatcher::Regex(_) => path.len(),
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

fn default_port(scheme: &str) -> &'static str {
    if scheme == "https" { "443" } else { "80" }
}
