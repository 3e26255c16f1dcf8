// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Heads as clients send them, and what is left of them.

use super::authority::take;
use super::headers::strip;
use gateway_config::{Forwarding, StripPort, Underscores};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

const EDGE: Forwarding = Forwarding {
    use_remote_address: true,
    trusted_hops: 0,
    skip_append: false,
    generate_request_id: true,
    preserve_request_id: false,
};

fn map(headers: &[(&'static str, &'static str)]) -> HeaderMap {
    headers
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect()
}

#[test]
fn one_host_is_taken_or_the_request_refused() {
    for (target, headers, strip, expected) in [
        ("/a", &[("host", "a.example")][..], StripPort::Keep, Some("a.example")),
        ("/a", &[("host", "a.example:80")], StripPort::Keep, Some("a.example:80")),
        ("/a", &[("host", "a.example:80")], StripPort::Any, Some("a.example")),
        ("/a", &[("host", "a.example:80")], StripPort::Matching, Some("a.example:80")),
        ("/a", &[("host", "a.example:8080")], StripPort::Matching, Some("a.example")),
        ("/a", &[("host", "[::1]")], StripPort::Any, Some("[::1]")),
        ("/a", &[("host", "[::1]:1")], StripPort::Any, Some("[::1]")),
        ("http://a.example/a", &[], StripPort::Keep, Some("a.example")),
        ("http://a.example/a", &[("host", "A.EXAMPLE")], StripPort::Keep, Some("A.EXAMPLE")),
        ("http://a.example/a", &[("host", "b.example")], StripPort::Keep, None),
        ("http://u@a.example/a", &[], StripPort::Keep, None),
        ("/a", &[("host", "a"), ("host", "a")], StripPort::Keep, None),
        ("/a", &[("host", "a/b")], StripPort::Keep, None),
        ("/a", &[], StripPort::Keep, None),
    ] {
        let mut headers = map(headers);
        let taken = take(&target.parse::<Uri>().unwrap(), &mut headers, strip, 8080);
        assert_eq!(
            taken.as_ref().ok().map(|value| value.to_str().unwrap()),
            expected,
            "{target} {headers:?}"
        );
        assert!(taken.is_err() || headers.is_empty());
    }
}

#[test]
fn what_concerned_the_clients_connection_goes() {
    for (before, after, upgrade) in [
        (&[("connection", "close"), ("x-a", "1")][..], &[("x-a", "1")][..], None),
        (&[("connection", "x-a"), ("x-a", "1"), ("x-b", "2")], &[("x-b", "2")], None),
        (&[("connection", "keep-alive, X-A ,"), ("x-a", "1")], &[], None),
        (&[("connection", "upgrade"), ("upgrade", "websocket")], &[], Some("websocket")),
        (&[("upgrade", "websocket")], &[], None),
        (
            &[("connection", "upgrade, http2-settings"), ("upgrade", "h2c"), ("http2-settings", "AAM")],
            &[],
            None,
        ),
        (&[("te", "trailers"), ("connection", "te")], &[("te", "trailers")], None),
        (&[("te", "gzip;q=1, trailers")], &[("te", "trailers")], None),
        (&[("te", "gzip")], &[], None),
        (
            &[
                ("transfer-encoding", "chunked"),
                ("expect", "100-continue"),
                ("keep-alive", "x"),
                ("proxy-connection", "x"),
            ],
            &[],
            None,
        ),
        (&[("x-envoy-max-retries", "9"), ("x-env", "1")], &[("x-env", "1")], None),
        (&[("x_a", "1"), ("x-b", "2")], &[("x-b", "2")], None),
    ] {
        let mut headers = map(before);
        let found = strip(&mut headers, Underscores::Drop, EDGE).unwrap();
        assert_eq!(found.as_ref().map(|value| value.to_str().unwrap()), upgrade, "{before:?}");
        assert_eq!(headers, map(after), "{before:?}");
    }
    assert!(strip(&mut map(&[("x_a", "1")]), Underscores::Reject, EDGE).is_err());
    let inside = Forwarding { use_remote_address: false, ..EDGE };
    let mut kept = map(&[("x-envoy-max-retries", "9"), ("x_a", "1")]);
    strip(&mut kept, Underscores::Allow, inside).unwrap();
    assert_eq!(kept.len(), 2);
}
