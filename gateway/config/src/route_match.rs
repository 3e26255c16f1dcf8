// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Which requests a route takes (`envoy.config.route.v3.RouteMatch`).

use crate::{Fraction, FullRegex, StringMatcher};
use http::{HeaderMap, HeaderName, Method};
use std::borrow::Cow;

/// What matching reads of a request; the proxy fills it once per request.
#[derive(Clone, Copy, Debug)]
pub struct RequestView<'a> {
    /// The canonical path, without query.
    pub path: &'a str,
    /// The query, without its question mark.
    pub query: Option<&'a str>,
    /// The method.
    pub method: &'a Method,
    /// The authority, as the client sent it.
    pub authority: &'a str,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// All headers.
    pub headers: &'a HeaderMap,
    /// A random number that stays the same for the life of the request; decides fractions.
    pub random: u64,
}

/// The path condition of a route.
#[derive(Clone, Debug, PartialEq)]
pub enum PathMatcher {
    /// The whole path.
    Exact(Box<str>),
    /// The path starts with this text (`prefix`).
    Prefix(Box<str>),
    /// The path is this, or goes on with a slash (`path_separated_prefix`; never ends with a slash).
    SeparatedPrefix(Box<str>),
    /// The whole path matches.
    Regex(FullRegex),
    /// The request is CONNECT, which has no path (`connect_matcher`).
    Connect,
}

/// The condition on a header, or on one of `:method`, `:path`, `:authority`, `:scheme`.
#[derive(Clone, Debug, PartialEq)]
pub struct HeaderMatcher {
    /// What is read.
    pub name: HeaderSource,
    /// What it must be.
    pub value: ValueMatcher,
    /// Holds where the condition does not.
    pub invert: bool,
    /// An absent header counts as an empty one.
    pub missing_as_empty: bool,
}

/// What a header condition reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderSource {
    /// A header; several values are joined by commas.
    Header(HeaderName),
    /// The method.
    Method,
    /// The path with its query.
    Path,
    /// The authority.
    Authority,
    /// The scheme.
    Scheme,
}

/// What a header or a query parameter must be.
#[derive(Clone, Debug, PartialEq)]
pub enum ValueMatcher {
    /// It is there (true) or it is not.
    Present(bool),
    /// Its text.
    Text(StringMatcher),
    /// A decimal number from `start` to below `end`.
    Range {
        /// First number that matches.
        start: i64,
        /// First number that no longer matches.
        end: i64,
    },
}

/// The condition on a query parameter; the first one of that name counts.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryMatcher {
    /// The parameter's name.
    pub name: Box<str>,
    /// What it must be.
    pub value: ValueMatcher,
}

/// The condition on a cookie; the first one of that name counts.
#[derive(Clone, Debug, PartialEq)]
pub struct CookieMatcher {
    /// The cookie's name.
    pub name: Box<str>,
    /// What it must be.
    pub value: StringMatcher,
    /// Holds where the condition does not, also where the cookie is absent.
    pub invert: bool,
}

/// All conditions of a route; all must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteMatcher {
    /// The path.
    pub path: PathMatcher,
    /// Letters of the path compare with case.
    pub case_sensitive: bool,
    /// Headers.
    pub headers: Box<[HeaderMatcher]>,
    /// Query parameters.
    pub query: Box<[QueryMatcher]>,
    /// Cookies.
    pub cookies: Box<[CookieMatcher]>,
    /// Share of requests that match.
    pub fraction: Option<Fraction>,
}

impl RouteMatcher {
    /// Whether all conditions hold.
    #[must_use]
    pub fn is_match(&self, request: &RequestView<'_>) -> bool {
        // A path's condition says nothing of a request that has none.
        matches!(self.path, PathMatcher::Connect) == (*request.method == Method::CONNECT)
            && self.path.is_match(request.path, self.case_sensitive)
            && self.headers.iter().all(|header| header.is_match(request))
            && self.query.iter().all(|query| query.is_match(request.query.unwrap_or_default()))
            && self.cookies.iter().all(|cookie| cookie.is_match(request.headers))
            && self.fraction.is_none_or(|fraction| fraction.accepts(request.random))
    }
}

impl PathMatcher {
    /// Whether a path (without query) matches.
    #[must_use]
    pub fn is_match(&self, path: &str, case_sensitive: bool) -> bool {
        let same = |a: &str, b: &str| if case_sensitive { a == b } else { a.eq_ignore_ascii_case(b) };
        match self {
            Self::Exact(exact) => same(path, exact),
            Self::Prefix(prefix) => path.get(..prefix.len()).is_some_and(|start| same(start, prefix)),
            Self::SeparatedPrefix(prefix) => {
                path.get(..prefix.len()).is_some_and(|start| same(start, prefix))
                    && matches!(path.as_bytes().get(prefix.len()), None | Some(b'/'))
            }
            Self::Regex(regex) => regex.is_match(path.as_bytes()),
            Self::Connect => true,
        }
    }
}

impl HeaderMatcher {
    /// Whether the condition holds for a request.
    #[must_use]
    pub fn is_match(&self, request: &RequestView<'_>) -> bool {
        match &self.name {
            HeaderSource::Header(name) => self.test_header(request.headers, name),
            HeaderSource::Method => self.test(Some(request.method.as_str().as_bytes())),
            HeaderSource::Authority => self.test(Some(request.authority.as_bytes())),
            HeaderSource::Scheme => self.test(Some(request.scheme.as_bytes())),
            HeaderSource::Path => match request.query {
                None => self.test(Some(request.path.as_bytes())),
                Some(query) => self.test(Some(format!("{}?{query}", request.path).as_bytes())),
            },
        }
    }

    /// Whether the condition holds for a request where any value of a repeated header counts as well as all of them together, so that
    /// nobody hides a value behind another. An inverted condition holds where it holds for each of them.
    #[must_use]
    pub fn is_match_of_any(&self, request: &RequestView<'_>) -> bool {
        let HeaderSource::Header(name) = &self.name else { return self.is_match(request) };
        let all = request.headers.get_all(name);
        if all.iter().nth(1).is_none() {
            return self.is_match(request);
        }
        let mut values = all.iter();
        let together = self.is_match(request);
        if self.invert {
            together && values.all(|value| self.test(Some(value.as_bytes())))
        } else {
            together || values.any(|value| self.test(Some(value.as_bytes())))
        }
    }

    /// Whether the condition holds for the headers of an answer; it has nothing else.
    #[must_use]
    pub fn holds_in(&self, headers: &HeaderMap) -> bool {
        match &self.name {
            HeaderSource::Header(name) => self.test_header(headers, name),
            _ => self.test(None),
        }
    }

    fn test_header(&self, headers: &HeaderMap, name: &HeaderName) -> bool {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => self.test(None),
            (Some(only), None) => self.test(Some(only.as_bytes())),
            (Some(first), Some(second)) => {
                let mut joined = [first.as_bytes(), b",", second.as_bytes()].concat();
                for value in values {
                    joined.push(b',');
                    joined.extend_from_slice(value.as_bytes());
                }
                self.test(Some(&joined))
            }
        }
    }

    /// Whether the condition holds for a value. An absent header fails every condition but presence, inverted or not (Envoy, `HeaderMatcher.invert_match`).
    #[must_use]
    pub fn test(&self, value: Option<&[u8]>) -> bool {
        let value = if self.missing_as_empty { value.or(Some(b"")) } else { value };
        match (&self.value, value) {
            (ValueMatcher::Present(present), value) => (value.is_some() == *present) != self.invert,
            (_, None) => false,
            (matcher, Some(text)) => matcher.is_match(text) != self.invert,
        }
    }
}

impl QueryMatcher {
    /// Whether the condition holds for a query string; an escape such as `%20` in it is decoded.
    #[must_use]
    pub fn is_match(&self, query: &str) -> bool {
        let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let found = pairs.find(|(name, _)| *decoded(name) == *self.name.as_bytes());
        match (&self.value, found) {
            (ValueMatcher::Present(present), found) => found.is_some() == *present,
            (_, None) => false,
            (matcher, Some((_, value))) => matcher.is_match(&decoded(value)),
        }
    }
}

impl CookieMatcher {
    /// Whether the condition holds for the cookies in a request's headers.
    #[must_use]
    pub fn is_match(&self, headers: &HeaderMap) -> bool {
        let lines = headers.get_all(http::header::COOKIE).iter().filter_map(|line| line.to_str().ok());
        let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let found = pairs.find(|(name, _)| **name == *self.name).map(|(_, value)| {
            value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
        });
        found.is_some_and(|value| self.value.is_match(value.as_bytes())) != self.invert
    }
}

impl ValueMatcher {
    fn is_match(&self, text: &[u8]) -> bool {
        match self {
            Self::Present(present) => *present,
            Self::Text(matcher) => matcher.is_match(text),
            Self::Range { start, end } => {
                let number = std::str::from_utf8(text).ok().and_then(|text| text.parse::<i64>().ok());
                number.is_some_and(|number| (*start..*end).contains(&number))
            }
        }
    }
}

/// Percent-decoding; a broken escape stays as it is.
fn decoded(text: &str) -> Cow<'_, [u8]> {
    if !text.contains('%') {
        return Cow::Borrowed(text.as_bytes());
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escaped = (byte == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok().filter(|_| !hex.starts_with("+")));
        out.push(escaped.unwrap_or(byte));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    Cow::Owned(out)
}
