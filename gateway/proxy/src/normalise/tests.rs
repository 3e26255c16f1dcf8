// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Heads as clients send them, and what is left of them.

use super::authority::{HostForm, take};
use super::headers::{Stripped, strip, take_out};
use gateway_config::{StripPort, Underscores};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

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
        let taken = take(
            &target.parse::<Uri>().unwrap(),
            &mut headers,
            HostForm { strip_port: strip, local_port: 8080, ..HostForm::default() },
        );
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
        (&[("x_a", "1"), ("x-b", "2")], &[("x-b", "2")], None),
    ] {
        let mut headers = map(before);
        let Stripped { upgrade: found, .. } = strip(&mut headers, Underscores::Drop).unwrap();
        assert_eq!(found.as_ref().map(|value| value.to_str().unwrap()), upgrade, "{before:?}");
        assert_eq!(headers, map(after), "{before:?}");
    }
    assert!(strip(&mut map(&[("x_a", "1")]), Underscores::Reject).is_err());
    let mut kept = map(&[("x-envoy-max-retries", "9"), ("x_a", "1")]);
    assert!(strip(&mut kept, Underscores::Allow).unwrap().envoy);
    assert_eq!(kept.len(), 2);
}

#[test]
fn only_the_house_steers() {
    let sent = [
        ("x-envoy-internal", "true"),
        ("x-envoy-retry-on", "5xx"),
        ("x-envoy-original-path", "/fake"),
        ("x-envoy-other", "1"),
        ("x-env", "1"),
    ];
    for (internal, edge, left) in [
        (true, false, &["x-envoy-retry-on", "x-envoy-original-path", "x-envoy-other", "x-env"][..]),
        (false, false, &["x-envoy-original-path", "x-envoy-other", "x-env"]),
        (false, true, &["x-envoy-other", "x-env"]),
    ] {
        let mut headers = map(&sent);
        take_out(&mut headers, internal, edge);
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        let mut left = left.to_vec();
        names.sort_unstable();
        left.sort_unstable();
        assert_eq!(names, left, "{internal} {edge}");
    }
}

#[test]
fn a_dot_at_the_end_of_a_host_goes() {
    for (host, expected) in [
        ("a.test.", "a.test"),
        ("a.test.:80", "a.test:80"),
        ("a.test", "a.test"),
        ("a.test:80", "a.test:80"),
        ("local", "local"),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static(host));
        let form = HostForm { strip_dot: true, ..HostForm::default() };
        assert_eq!(take(&Uri::from_static("/"), &mut headers, form).unwrap(), expected);
    }
}
