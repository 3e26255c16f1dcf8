// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Headers of which Envoy keeps one line: further values are joined to it by a comma.

use http::header::Entry;
use http::{HeaderMap, HeaderName, HeaderValue};

/// Those of requests.
pub(crate) const OF_REQUESTS: [&str; 36] = [
    "accept",
    "accept-encoding",
    "access-control-request-headers",
    "access-control-request-method",
    "authorization",
    "cache-control",
    "cdn-loop",
    "content-encoding",
    "content-type",
    "expect",
    "grpc-accept-encoding",
    "grpc-timeout",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "origin",
    "pragma",
    "proxy-status",
    "referer",
    "te",
    "user-agent",
    "via",
    "x-client-trace-id",
    "x-envoy-attempt-count",
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-external-address",
    "x-envoy-original-host",
    "x-envoy-original-path",
    "x-forwarded-client-cert",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-request-id",
];

/// Those of answers.
pub(crate) const OF_ANSWERS: [&str; 31] = [
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-allow-private-network",
    "access-control-expose-headers",
    "access-control-max-age",
    "age",
    "cache-control",
    "content-encoding",
    "content-type",
    "date",
    "etag",
    "expires",
    "grpc-message",
    "grpc-status",
    "last-modified",
    "location",
    "proxy-status",
    "server",
    "vary",
    "via",
    "x-envoy-attempt-count",
    "x-envoy-decorator-operation",
    "x-envoy-degraded",
    "x-envoy-immediate-health-check-fail",
    "x-envoy-ratelimited",
    "x-envoy-upstream-canary",
    "x-envoy-upstream-healthchecked-cluster",
    "x-envoy-upstream-service-time",
    "x-request-id",
];

/// Joins lines of a request that came apart.
pub(crate) fn join(headers: &mut HeaderMap) {
    if headers.keys_len() == headers.len() {
        return;
    }
    for name in OF_REQUESTS {
        let values: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
        if values.len() > 1
            && let Ok(joined) = HeaderValue::from_bytes(&values.join(&b','))
        {
            headers.insert(HeaderName::from_static(name), joined);
        }
    }
}

/// Adds a value, to the line that is there for one of `names`.
pub(crate) fn append(headers: &mut HeaderMap, name: &HeaderName, value: HeaderValue, names: &[&str]) {
    if !names.contains(&name.as_str()) {
        headers.append(name, value);
        return;
    }
    match headers.entry(name) {
        Entry::Vacant(vacant) => {
            vacant.insert(value);
        }
        // Nothing is joined to nothing, and nothing to it.
        Entry::Occupied(_) if value.is_empty() => {}
        Entry::Occupied(mut occupied) if occupied.get().is_empty() => {
            occupied.insert(value);
        }
        Entry::Occupied(mut occupied) => {
            let joined = [occupied.get().as_bytes(), b",", value.as_bytes()].concat();
            if let Ok(joined) = HeaderValue::from_bytes(&joined) {
                occupied.insert(joined);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{OF_REQUESTS, append, join};
    use http::{HeaderMap, HeaderName, HeaderValue};

    #[test]
    fn lines_are_joined_where_envoy_joins_them() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("origin", "a"), ("x-own", "1"), ("origin", "b"), ("x-own", "2"), ("via", "c")]
        {
            headers.append(name, HeaderValue::from_static(value));
        }
        join(&mut headers);
        let all = |headers: &HeaderMap, name: &str| {
            headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(all(&headers, "origin"), ["a,b"]);
        assert_eq!(all(&headers, "x-own"), ["1", "2"]);
        for (name, value, expected) in [
            ("via", "d", &["c,d"][..]),
            ("via", "", &["c,d"]),
            ("x-own", "3", &["1", "2", "3"]),
            ("accept", "", &[""]),
            ("accept", "e", &["e"]),
        ] {
            let added = HeaderValue::from_static(value);
            append(&mut headers, &HeaderName::from_static(name), added, &OF_REQUESTS);
            assert_eq!(all(&headers, name), expected, "{name}: {value}");
        }
    }
}
