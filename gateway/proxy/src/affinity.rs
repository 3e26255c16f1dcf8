// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What keeps a client at its endpoint: the hash of a request, and the cookies that make it the same next time.

use gateway_config::{GeneratedCookie, HashPolicy, HashSource, HeaderSource};
use gateway_filter_api::{ConnectionInfo, RequestHead};
use gateway_upstream::{combine_hashes, hash_all, hash_key};
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use std::borrow::Cow;

/// What a route's hash policies make of a request.
#[derive(Debug, Default)]
pub(crate) struct Affinity {
    /// None where no policy gave one.
    pub(crate) hash: Option<u64>,
    /// `Set-Cookie` values for the answer.
    pub(crate) cookies: Vec<HeaderValue>,
}

impl Affinity {
    /// Applies the policies to the client's request.
    pub(crate) fn of(policies: &[HashPolicy], head: &RequestHead, connection: &ConnectionInfo) -> Self {
        let mut found = Self::default();
        for policy in policies {
            let part = found.part(&policy.source, head, connection);
            if let Some(part) = part {
                found.hash = Some(combine_hashes(found.hash, part));
            }
            if policy.terminal && found.hash.is_some() {
                break;
            }
        }
        found
    }

    fn part(&mut self, source: &HashSource, head: &RequestHead, connection: &ConnectionInfo) -> Option<u64> {
        match source {
            HashSource::Header { name, rewrite } => header(name, head, rewrite.as_ref()),
            HashSource::Cookie { name, generated } => match (cookie(&head.headers, name), generated) {
                (Some(value), _) => Some(hash_key(value)),
                (None, Some(template)) => self.generate(name, template, connection),
                (None, None) => None,
            },
            HashSource::SourceIp => {
                Some(hash_key(connection.remote.ip().to_canonical().to_string().as_bytes()))
            }
            HashSource::QueryParameter(name) => {
                let value = query_value(head.path.query()?, name)?;
                Some(hash_key(value.as_bytes()))
            }
        }
    }

    /// All requests of a connection that come before its first answer get the same cookie.
    fn generate(
        &mut self,
        name: &str,
        template: &GeneratedCookie,
        connection: &ConnectionInfo,
    ) -> Option<u64> {
        let peers = format!("{}{}", connection.remote, connection.local);
        let value = format!("{:016x}", hash_key(peers.as_bytes()));
        let header = HeaderValue::try_from(format!("{name}=\"{value}\"{}", template.attributes)).ok()?;
        self.cookies.push(header);
        Some(hash_key(value.as_bytes()))
    }
}

fn header(
    name: &HeaderSource,
    head: &RequestHead,
    rewrite: Option<&(regex::Regex, Box<str>)>,
) -> Option<u64> {
    let single = |text: &[u8]| Some(hash_key(&rewritten(text, rewrite)));
    match name {
        HeaderSource::Method => single(head.method.as_str().as_bytes()),
        HeaderSource::Path => single(head.path.as_str().as_bytes()),
        HeaderSource::Authority => single(head.authority().as_bytes()),
        HeaderSource::Scheme => single(head.scheme().as_bytes()),
        HeaderSource::Header(name) => {
            let mut values = head.headers.get_all(name).iter();
            let first = values.next()?;
            let Some(second) = values.next() else { return single(first.as_bytes()) };
            let mut all: Vec<Cow<'_, [u8]>> = [first, second]
                .into_iter()
                .chain(values)
                .map(|value| rewritten(value.as_bytes(), rewrite))
                .collect();
            all.sort();
            Some(hash_all(all.iter().map(|value| &**value)))
        }
    }
}

fn rewritten<'a>(text: &'a [u8], rewrite: Option<&(regex::Regex, Box<str>)>) -> Cow<'a, [u8]> {
    let (Some((pattern, substitution)), Ok(text)) = (rewrite, std::str::from_utf8(text)) else {
        return Cow::Borrowed(text);
    };
    match pattern.replace_all(text, &**substitution) {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

/// The value of a cookie, without quotes; none where it is empty.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let pairs = headers.get_all(COOKIE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    let value = pairs.map(<[u8]>::trim_ascii).find_map(|pair| {
        let (key, rest) = pair.split_at_checked(name.len())?;
        (key == name.as_bytes()).then(|| rest.strip_prefix(b"="))?
    })?;
    let bare = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    Some(bare.unwrap_or(value)).filter(|value| !value.is_empty())
}

fn query_value<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find_map(|(key, value)| (key == name).then_some(value))
}

#[cfg(test)]
mod tests {
    use super::{cookie, query_value};
    use http::HeaderMap;

    #[test]
    fn cookies_are_found() {
        let mut headers = HeaderMap::new();
        headers.append("cookie", "a=1; session=\"x=y\";empty=".parse().unwrap());
        headers.append("cookie", "late=2".parse().unwrap());
        for (name, expected) in
            [("a", Some("1")), ("session", Some("x=y")), ("empty", None), ("late", Some("2")), ("sess", None)]
        {
            assert_eq!(cookie(&headers, name), expected.map(str::as_bytes), "{name}");
        }
    }

    #[test]
    fn the_first_parameter_counts() {
        let query = "a=1&b&a=2&c=x=y";
        for (name, expected) in [("a", Some("1")), ("b", Some("")), ("c", Some("x=y")), ("d", None)] {
            assert_eq!(query_value(query, name), expected, "{name}");
        }
    }
}
