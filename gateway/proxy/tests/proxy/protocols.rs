// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! HTTP/1.1 and HTTP/2 on either side, on one port.

use crate::client::{Client, raw};
use crate::config::{cluster, host, http2_cluster, route, to};
use crate::gateway::{Gateway, options};
use crate::origin::{Body, Origin, full};
use bytes::Bytes;
use gateway_proxy::{ConnectionLimits, Limits, ProxyOptions};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn with_trailers(data: &'static str) -> Body {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = [
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Frame::data(Bytes::from(data))),
        Ok(Frame::trailers(trailers)),
    ];
    StreamBody::new(futures::stream::iter(frames)).boxed()
}

#[tokio::test]
async fn both_protocols_meet_both() {
    let origin = Origin::echo().await;
    let hosts = vec![host(vec![route("/h1", to("h1")), route("/h2", to("h2"))])];
    let gateway =
        Gateway::plain(hosts, vec![cluster("h1", &[origin.address]), http2_cluster("h2", &[origin.address])])
            .await;
    for (mut client, shown) in
        [(Client::http1(gateway.address).await, "1"), (Client::http2(gateway.address).await, "2")]
    {
        for (target, version) in [("/h1", "HTTP/1.1"), ("/h2", "HTTP/2.0")] {
            let request = match client {
                Client::Http1(_) => Request::post(target).header("host", "a.example"),
                Client::Http2(_) => Request::post(format!("http://a.example{target}")),
            };
            let answer = client.send(request.body(full("hello")).unwrap()).await;
            assert_eq!(
                answer.body.lines().next(),
                Some(&*format!("POST {target} {version}")),
                "from {shown}"
            );
            assert_eq!(answer.lines("host"), ["host: a.example"], "from {shown} to {target}");
            assert_eq!(answer.lines("body"), ["body: hello"]);
        }
    }
    assert_eq!(gateway.metric("envoy_http_downstream_cx_http1_total", ""), 1);
    assert_eq!(gateway.metric("envoy_http_downstream_cx_http2_total", ""), 1);
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let origin = Origin::start(|request| async move {
        let collected = request.into_body().collect().await.unwrap();
        let status = collected.trailers().and_then(|trailers| trailers.get("grpc-status")).cloned();
        let mut response = Response::new(with_trailers("answer"));
        response
            .headers_mut()
            .insert("x-request-trailer", status.unwrap_or(HeaderValue::from_static("none")));
        response
    })
    .await;
    let gateway =
        Gateway::plain(vec![host(vec![route("/", to("h2"))])], vec![http2_cluster("h2", &[origin.address])])
            .await;
    let mut client = Client::http2(gateway.address).await;
    let request =
        Request::post("http://a/").header("content-type", "application/grpc").header("te", "trailers");
    let answer = client.send(request.body(with_trailers("question")).unwrap()).await;
    assert_eq!((answer.body.as_str(), answer.header("x-request-trailer")), ("answer", Some("0")));
    assert_eq!(answer.trailers.unwrap().get("grpc-status").unwrap(), "0");
}

#[tokio::test]
async fn many_streams_share_a_connection() {
    let origin = Origin::echo().await;
    let gateway =
        Gateway::plain(vec![host(vec![route("/", to("h2"))])], vec![http2_cluster("h2", &[origin.address])])
            .await;
    let Client::Http2(sender) = Client::http2(gateway.address).await else { unreachable!() };
    let streams = (0..300).map(|index| {
        let mut client = Client::Http2(sender.clone());
        tokio::spawn(async move { client.get(&format!("/{index}")).await })
    });
    for (index, stream) in streams.collect::<Vec<_>>().into_iter().enumerate() {
        assert_eq!(stream.await.unwrap().lines("GET"), [format!("GET /{index} HTTP/2.0")]);
    }
    assert_eq!(gateway.metric("envoy_http_downstream_rq_http2_total", ""), 300);
}

#[tokio::test]
async fn head_requests_have_no_body() {
    let origin = Origin::named("12345").await;
    let gateway =
        Gateway::plain(vec![host(vec![route("/x", to("one"))])], vec![cluster("one", &[origin.address])])
            .await;
    let mut client = Client::http1(gateway.address).await;
    for (target, status, length) in [("/x", 200, Some("5")), ("/none", 404, None)] {
        let request =
            Request::builder().method(Method::HEAD).uri(target).header("host", "a").body(full("")).unwrap();
        let answer = client.send(request).await;
        assert_eq!((answer.status.as_u16(), answer.body.as_str()), (status, ""));
        assert!(length.is_none() || answer.header("content-length") == length, "{answer:?}");
    }
    gateway
        .until("both complete", |gateway| gateway.metric("envoy_http_downstream_rq_completed", "") == 2)
        .await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::echo().await;
    let gateway =
        Gateway::plain(vec![host(vec![route("/", to("one"))])], vec![cluster("one", &[origin.address])])
            .await;
    let requests = "GET /1 HTTP/1.1\r\nhost: a\r\n\r\nPOST /2 HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
                    GET /3 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let (answer, closed) = raw(gateway.address, requests.as_bytes()).await;
    let at = ["GET /1", "POST /2", "body: abc", "GET /3"]
        .map(|part| answer.find(part).unwrap_or_else(|| panic!("{part} in {answer}")));
    assert!(at.is_sorted() && closed, "{answer}");
}

#[tokio::test]
async fn slow_heads_and_idle_connections_are_closed() {
    let limits = Limits { request_headers: Duration::from_millis(300), ..Limits::default() };
    let mut resources = crate::config::Resources::default();
    let listener = crate::config::listener(vec![crate::config::chain(&crate::config::http(vec![]))]);
    let gateway =
        Gateway::start(ProxyOptions { limits, ..options() }, std::mem::take(&mut resources), &listener).await;
    for start in [&b""[..], b"G", b"GET / HTTP/1.1\r\nhost: a\r\nx: ", b"PRI * HTTP/2.0\r\n"] {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.write_all(start).await.unwrap();
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(3), stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "{start:?} stays open");
    }
    gateway.until("no connection left", |gateway| gateway.proxy.connections() == 0).await;
}

#[tokio::test]
async fn connections_above_the_limit_are_closed_at_once() {
    let options = ProxyOptions {
        connections: ConnectionLimits { listener: 3, ..ConnectionLimits::default() },
        ..options()
    };
    let listener = crate::config::listener(vec![crate::config::chain(&crate::config::http(vec![]))]);
    let gateway = Gateway::start(options, crate::config::Resources::default(), &listener).await;
    let mut kept = Vec::new();
    for _ in 0..3 {
        let mut client = Client::http1(gateway.address).await;
        assert_eq!(client.get("/").await.status.as_u16(), 404);
        kept.push(client);
    }
    let (answer, closed) = raw(gateway.address, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(answer.is_empty() && closed, "{answer}");
    assert_eq!(gateway.metric("envoy_listener_downstream_cx_overflow", ""), 1);
    kept.pop();
    gateway.until("room again", |gateway| gateway.proxy.connections() < 3).await;
    assert_eq!(Client::http1(gateway.address).await.get("/").await.status.as_u16(), 404);
}

#[tokio::test]
async fn the_gateways_own_answer_to_head_has_no_body() {
    let gateway = Gateway::plain(vec![host(vec![route("/", to("gone"))])], vec![cluster("gone", &[])]).await;
    for mut client in [Client::http1(gateway.address).await, Client::http2(gateway.address).await] {
        for _ in 0..2 {
            let request = match client {
                Client::Http1(_) => Request::head("/").header("host", "a.example"),
                Client::Http2(_) => Request::head("http://a.example/"),
            };
            let answer = client.send(request.body(full("")).unwrap()).await;
            assert_eq!((answer.status.as_u16(), answer.body.as_str()), (503, ""));
            assert_eq!(answer.header("content-length"), Some("19"));
        }
    }
}
