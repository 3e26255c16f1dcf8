// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Bodies: streamed with back pressure, whole to the byte, never complete when cut.

use crate::client::Client;
use crate::config::{chain, cluster, host, http, http2_cluster, listener, route, to};
use crate::gateway::{Gateway, options};
use crate::origin::{Body, Origin, full};
use bytes::Bytes;
use futures::stream;
use gateway_proxy::{Limits, ProxyOptions};
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PIECE: usize = 64 * 1024;

/// A body of `pieces`, counting those that were asked for.
fn counted(pieces: usize, asked: &Arc<AtomicUsize>) -> Body {
    let asked = Arc::clone(asked);
    let frames = stream::iter(0..pieces).map(move |index| {
        asked.fetch_add(1, Ordering::SeqCst);
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Frame::data(Bytes::from(vec![
            (index % 251) as u8;
            PIECE
        ])))
    });
    BodyExt::boxed(StreamBody::new(frames))
}

use futures::StreamExt;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_pass_whole_both_ways() {
    let origin =
        Origin::start(
            |request| async move { Response::new(request.into_body().map_err(Into::into).boxed()) },
        )
        .await;
    let hosts = vec![host(vec![route("/h1", to("h1")), route("/h2", to("h2"))])];
    let gateway =
        Gateway::plain(hosts, vec![cluster("h1", &[origin.address]), http2_cluster("h2", &[origin.address])])
            .await;
    for mut client in [Client::http1(gateway.address).await, Client::http2(gateway.address).await] {
        for target in ["/h1", "/h2"] {
            let request = match client {
                Client::Http1(_) => Request::post(target).header("host", "a"),
                Client::Http2(_) => Request::post(format!("http://a{target}")),
            };
            let request = request.body(counted(64, &Arc::default())).unwrap();
            let body = client.response(request).await.unwrap().into_body();
            let back = tokio::time::timeout(Duration::from_secs(20), body.collect())
                .await
                .unwrap()
                .unwrap()
                .to_bytes();
            let expected: Vec<u8> =
                (0..64_usize).flat_map(|index| vec![(index % 251) as u8; PIECE]).collect();
            assert_eq!(back.len(), expected.len());
            assert!(back == expected, "bytes differ");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_holds_the_upstream_back() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let origin = Origin::start(move |_| {
        let body = counted(4096, &counter);
        async move { Response::new(body) }
    })
    .await;
    let gateway =
        Gateway::plain(vec![host(vec![route("/", to("one"))])], vec![cluster("one", &[origin.address])])
            .await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    // What the kernel's buffers on both hops and a few pieces of our own hold; 256 MiB are offered.
    let mut last = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = asked.load(Ordering::SeqCst);
        if now == last && now > 0 {
            break;
        }
        last = now;
    }
    assert!(last * PIECE < 64 << 20, "{last} pieces were taken from the upstream");
    // Reading on moves it on.
    let mut buffer = vec![0; 1 << 20];
    for _ in 0..200 {
        let _ = stream.read(&mut buffer).await.unwrap();
    }
    gateway.until("more pieces", |_| asked.load(Ordering::SeqCst) > last).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_does_not_read_holds_the_client_back() {
    let origin = Origin::start(|request| async move {
        tokio::time::sleep(Duration::from_secs(20)).await;
        drop(request);
        Response::new(full(""))
    })
    .await;
    let gateway =
        Gateway::plain(vec![host(vec![route("/", to("one"))])], vec![cluster("one", &[origin.address])])
            .await;
    let asked = Arc::new(AtomicUsize::new(0));
    for mut client in [Client::http1(gateway.address).await, Client::http2(gateway.address).await] {
        asked.store(0, Ordering::SeqCst);
        let request = Request::post("http://a/").header("host", "a").body(counted(4096, &asked)).unwrap();
        let task = tokio::spawn(async move { client.try_send(request).await.is_ok() });
        let mut last = 0;
        loop {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let now = asked.load(Ordering::SeqCst);
            if now == last && now > 0 {
                break;
            }
            last = now;
        }
        assert!(last * PIECE < 64 << 20, "{last} pieces were taken from the client");
        task.abort();
    }
}

#[tokio::test]
async fn a_body_that_stops_is_answered_408() {
    let origin = Origin::echo().await;
    let limits = Limits { stalled: Duration::from_millis(200), ..Limits::default() };
    let mut resources = crate::config::Resources::default();
    resources.clusters([cluster("one", &[origin.address])]);
    let listener = listener(vec![chain(&http(vec![host(vec![route("/", to("one"))])]))]);
    let gateway = Gateway::start(ProxyOptions { limits, ..options() }, resources, &listener).await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf").await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_nothing_is_cut() {
    let origin = Origin::start(|_| async { Response::new(counted(4096, &Arc::default())) }).await;
    let limits = Limits { stalled: Duration::from_millis(400), ..Limits::default() };
    let mut resources = crate::config::Resources::default();
    resources.clusters([cluster("one", &[origin.address])]);
    let listener = listener(vec![chain(&http(vec![host(vec![route("/", to("one"))])]))]);
    let gateway = Gateway::start(ProxyOptions { limits, ..options() }, resources, &listener).await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    gateway.until("the connection is counted", |gateway| gateway.proxy.connections() == 1).await;
    gateway.until("the connection is cut", |gateway| gateway.proxy.connections() == 0).await;
    assert_eq!(gateway.metric("envoy_http_downstream_cx_write_timeout", ""), 1);
}

#[tokio::test]
async fn a_client_that_leaves_frees_the_upstream() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&dropped);
    let origin = Origin::start(move |_| {
        struct Guard(Arc<AtomicUsize>);
        impl Drop for Guard {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let guard = Guard(Arc::clone(&counter));
        async move {
            let _guard = guard;
            tokio::time::sleep(Duration::from_secs(60)).await;
            Response::new(full(""))
        }
    })
    .await;
    let gateway =
        Gateway::plain(vec![host(vec![route("/", to("one"))])], vec![cluster("one", &[origin.address])])
            .await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    gateway.until("the request is there", |_| origin.count() == 1).await;
    drop(stream);
    gateway.until("the upstream is told", |_| dropped.load(Ordering::SeqCst) == 1).await;
    gateway
        .until("the request is over", |gateway| gateway.metric("envoy_http_downstream_rq_rx_reset", "") == 1)
        .await;
}
