// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! HTTP/2: many requests on one connection, more connections where one is full.

use crate::{Worker, cluster, endpoints, get, run, server};
use bytes::Bytes;
use futures::future::join_all;
use gateway_config::Keepalive;
use gateway_config::UpstreamProtocol::{Downstream, Http1, Http2};
use gateway_upstream::SendErrorKind;
use http::{Request, Response, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::spawn_local;

#[test]
fn one_connection_serves_many_requests_at_once() {
    run(async {
        let server = server::start(true, 50).await;
        let worker = Worker::new(cluster(Http2), endpoints(&[server.address]));
        let answers = join_all((0..50).map(|_| worker.text("/wait"))).await;
        assert_eq!(answers.len(), 50);
        assert_eq!((server.connections(), server.requests()), (1, 50));
        assert_eq!((worker.metric("upstream_cx_http2_total"), worker.metric("upstream_rq_active")), (1, 0));
    });
}

#[test]
fn another_connection_opens_when_one_is_full() {
    run(async {
        let server = server::start(true, 6).await;
        let mut settings = cluster(Http2);
        settings.connection.max_concurrent_streams = Some(2);
        let worker = Worker::new(settings, endpoints(&[server.address]));
        // All six wait for each other: they are only answered where all are on their way at once.
        join_all((0..6).map(|_| worker.text("/wait"))).await;
        assert_eq!(server.connections(), 3);
    });
}

#[test]
fn the_clients_protocol_is_kept_where_asked() {
    run(async {
        let server = server::start(true, 1).await;
        let worker = Worker::new(cluster(Downstream), endpoints(&[server.address]));
        let mut request = get("/");
        *request.version_mut() = Version::HTTP_2;
        let response = worker.send(request).await.unwrap();
        assert_eq!(response.version(), Version::HTTP_2);
        let plain = server::start(false, 1).await;
        worker.set(cluster(Downstream), endpoints(&[plain.address]));
        assert_eq!(worker.send(get("/")).await.unwrap().version(), Version::HTTP_11);
    });
}

#[test]
fn a_stream_that_is_given_up_leaves_the_connection_to_others() {
    run(async {
        let server = server::start(true, 1).await;
        let worker = Worker::new(cluster(Http2), endpoints(&[server.address]));
        drop(worker.send(get("/long")).await.unwrap());
        for _ in 0..5 {
            worker.text("/").await;
        }
        assert_eq!((server.connections(), worker.metric("upstream_rq_active")), (1, 0));
    });
}

/// A server that says goodbye on each connection after its first request, and ends what runs.
async fn leaving_server() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let (leave, mut leaving) = tokio::sync::mpsc::unbounded_channel();
                let service = service_fn(move |_: Request<Incoming>| {
                    let _ = leave.send(());
                    async {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from_static(b"ok"))))
                    }
                });
                let mut connection = pin!(
                    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                );
                tokio::select! {
                    _ = connection.as_mut() => return,
                    _ = leaving.recv() => connection.as_mut().graceful_shutdown(),
                }
                let _ = connection.await;
            });
        }
    });
    (address, connections)
}

#[test]
fn goodbyes_lose_no_request() {
    run(async {
        let (address, connections) = leaving_server().await;
        let worker = Rc::new(Worker::new(cluster(Http2), endpoints(&[address])));
        for _ in 0..8 {
            let jobs = (0..6).map(|_| {
                let worker = Rc::clone(&worker);
                spawn_local(async move { worker.text("/").await })
            });
            for answer in join_all(jobs).await {
                assert_eq!(answer.unwrap(), "ok");
            }
        }
        assert!(connections.load(Ordering::SeqCst) >= 8);
    });
}

#[test]
fn a_peer_that_answers_no_ping_is_given_up() {
    run(async {
        let server = server::start_raw(async |mut stream| {
            // Settings, then silence.
            stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
            let mut sink = [0; 1024];
            while stream.read(&mut sink).await.is_ok_and(|count| count > 0) {}
        })
        .await;
        let mut settings = cluster(Http2);
        let short = Duration::from_millis(50);
        settings.connection.keepalive = Some(Keepalive { interval: short, timeout: short, jitter: 15 });
        let worker = Worker::new(settings, endpoints(&[server.address]));
        let error = worker.send(get("/")).await.unwrap_err();
        assert_eq!((error.kind, error.sent), (SendErrorKind::Reset, true));
        crate::until("the connection is closed", || worker.metric("upstream_cx_active") == 0).await;
    });
}

#[test]
fn heads_of_answers_have_a_limit() {
    run(async {
        let server = server::start_head(Http2).await;
        for (limit, kib, answered) in
            [(None, 40, true), (None, 70, false), (Some(96 << 10), 70, true), (Some(16 << 10), 40, false)]
        {
            let mut settings = cluster(Http2);
            settings.connection.max_head = limit;
            let worker = Worker::new(settings, endpoints(&[server.address]));
            let result = worker.send(get(&format!("/{}", kib << 10))).await;
            assert_eq!(result.is_ok(), answered, "{kib} KiB of {limit:?}: {result:?}");
        }
        let server = server::start_head(Http1).await;
        for (limit, kib, answered) in
            [(None, 70, true), (Some(16 << 10), 40, false), (Some(96 << 10), 70, true)]
        {
            let mut settings = cluster(Http1);
            settings.connection.max_head = limit;
            let worker = Worker::new(settings, endpoints(&[server.address]));
            let result = worker.send(get(&format!("/{}", kib << 10))).await;
            assert_eq!(result.is_ok(), answered, "{kib} KiB of {limit:?}: {result:?}");
        }
    });
}
