// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The raw-head guard in front of a real server: what it refuses never reaches it, and the connection closes.

use crate::client::raw;
use crate::config::{cluster, host, route, to};
use crate::gateway::Gateway;
use crate::origin::Origin;

#[tokio::test]
async fn refused_heads_are_answered_400_closed_and_never_passed_on() {
    let origin = Origin::echo().await;
    let gateway =
        Gateway::plain(vec![host(vec![route("/", to("one"))])], vec![cluster("one", &[origin.address])])
            .await;
    let heads: [(&str, &str); 12] = [
        (
            "length_and_encoding",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "duplicate_length",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        ),
        ("bad_length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na"),
        ("bad_encoding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n"),
        ("folded", "GET / HTTP/1.1\r\nHost: a\r\nx: 1\r\n y\r\n\r\n"),
        ("bare_line_feed", "GET / HTTP/1.1\nHost: a\n\n"),
        ("bare_carriage_return", "GET / HTTP/1.1\r\nHost: a\r\nx: 1\ry\r\n\r\n"),
        ("space_before_colon", "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n"),
        ("duplicate_host", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        ("missing_host", "GET / HTTP/1.1\r\n\r\n"),
        ("nul", "GET / HTTP/1.1\r\nHost: a\r\nx: \0\r\n\r\n"),
        ("syntax", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ];
    for (reason, head) in heads {
        let (answer, closed) = raw(gateway.address, head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{reason}: {answer:?}");
        assert!(closed, "{reason} leaves the connection open");
        gateway
            .until(reason, |gateway| {
                gateway.metric("gatefleet_http_requests_refused_total", &format!("\"{reason}\"")) == 1
            })
            .await;
    }
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn a_good_request_before_a_bad_one_is_served() {
    let origin = Origin::echo().await;
    let gateway =
        Gateway::plain(vec![host(vec![route("/", to("one"))])], vec![cluster("one", &[origin.address])])
            .await;
    let both = b"GET /good HTTP/1.1\r\nHost: a\r\n\r\nGET /bad HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (answer, closed) = raw(gateway.address, both).await;
    assert!(answer.contains("GET /good") && answer.contains("HTTP/1.1 400 ") && closed, "{answer}");
    assert!(!answer.contains("/bad"));
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn a_broken_chunk_ends_the_request_and_the_connection() {
    let origin = Origin::echo().await;
    let gateway =
        Gateway::plain(vec![host(vec![route("/", to("one"))])], vec![cluster("one", &[origin.address])])
            .await;
    let request = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let (answer, closed) = raw(gateway.address, request).await;
    assert!(closed && !answer.contains("200 OK") && !answer.contains("smuggled"), "{answer}");
}

#[tokio::test]
async fn heads_above_the_limits_are_refused() {
    let gateway = Gateway::plain(vec![], vec![]).await;
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nx: {}\r\n\r\n", "a".repeat(61 * 1024));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "x: 1\r\n".repeat(101));
    for head in [long, many] {
        let (answer, closed) = raw(gateway.address, head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 4") && closed, "{answer}");
    }
}
