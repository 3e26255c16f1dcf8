// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Connections that wait for their next request hold no parser; nothing of that shows to the client.

use crate::config::{Certificate, cluster, host, route, to};
use crate::gateway::Gateway;
use crate::origin::Origin;
use crate::tls::{connect, serving, trusting};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

const RESTING: &str = "gatefleet_http_downstream_cx_resting";

async fn exchange(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), pieces: &[&str], wanted: &str) {
    for piece in pieces {
        stream.write_all(piece.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut answer = String::new();
    let mut buffer = [0; 4096];
    while !answer.contains(wanted) {
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut buffer));
        let count = read.await.expect("an answer in time").unwrap();
        assert!(count > 0, "ended after {answer:?}");
        answer.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
    }
}

async fn rests(gateway: &Gateway, count: u64) {
    gateway.until("connections rest", |gateway| gateway.metric(RESTING, "") == count).await;
}

#[tokio::test]
async fn a_connection_at_rest_takes_its_next_request() {
    let origin = Origin::echo().await;
    let gateway =
        Gateway::plain(vec![host(vec![route("/", to("one"))])], vec![cluster("one", &[origin.address])])
            .await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    exchange(&mut stream, &["POST /1 HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc"], "body: abc")
        .await;
    rests(&gateway, 1).await;
    // A head in pieces, behind an empty line; the first byte is what wakes the connection.
    exchange(&mut stream, &["\r", "\nG", "ET /2 HTTP/1.1\r\nho", "st: a\r\n\r\n"], "GET /2").await;
    rests(&gateway, 1).await;
    // Two at once.
    let two = "GET /3 HTTP/1.1\r\nhost: a\r\n\r\nGET /4 HTTP/1.1\r\nhost: a\r\n\r\n";
    exchange(&mut stream, &[two], "GET /4").await;
    rests(&gateway, 1).await;
    // The guard is still there.
    exchange(&mut stream, &["GET /5 HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"], "400 Bad Request").await;
    gateway.until("it is closed", |gateway| gateway.proxy.connections() == 0).await;
    assert_eq!(gateway.metric(RESTING, ""), 0);
}

#[tokio::test]
async fn a_connection_at_rest_over_tls_takes_its_next_request() {
    let origin = Origin::echo().await;
    let certificate = Certificate::new(&["a.example"]);
    let gateway = serving(&[("a.example", &certificate)], &origin).await;
    let mut stream = connect(&gateway, "a.example", &trusting(&[&certificate], &["http/1.1"])).await.unwrap();
    for target in ["/1", "/2"] {
        let request = format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n");
        exchange(&mut stream, &[&request], &format!("GET {target}")).await;
        rests(&gateway, 1).await;
    }
    drop(stream);
    gateway.until("it is gone", |gateway| gateway.proxy.connections() == 0).await;
}

#[tokio::test]
async fn a_body_that_is_awaited_keeps_its_parser() {
    let origin = Origin::echo().await;
    let gateway =
        Gateway::plain(vec![host(vec![route("/", to("one"))])], vec![cluster("one", &[origin.address])])
            .await;
    let mut resting = TcpStream::connect(gateway.address).await.unwrap();
    exchange(&mut resting, &["GET /1 HTTP/1.1\r\nhost: a\r\n\r\n"], "GET /1").await;
    let mut busy = TcpStream::connect(gateway.address).await.unwrap();
    busy.write_all(b"POST /2 HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nabc").await.unwrap();
    rests(&gateway, 1).await;
    exchange(&mut busy, &["def"], "body: abcdef").await;
    rests(&gateway, 2).await;
    // A drain ends what rests without a wait for its next byte.
    let report = gateway.proxy.drain(Duration::from_secs(5)).await;
    assert_eq!(report.forced, 0, "{report:?}");
    assert_eq!(resting.read(&mut [0; 16]).await.unwrap(), 0);
    assert_eq!(busy.read(&mut [0; 16]).await.unwrap(), 0);
}
