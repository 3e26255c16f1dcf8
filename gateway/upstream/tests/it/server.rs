// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Servers for the tests: they count connections and requests.

use bytes::Bytes;
use gateway_config::UpstreamProtocol;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Barrier;
use tokio_rustls::TlsAcceptor;

/// What a server saw.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) connections: AtomicUsize,
    pub(crate) open: AtomicUsize,
    pub(crate) requests: AtomicUsize,
}

/// A running server.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Seen>,
}

impl Server {
    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn open(&self) -> usize {
        self.seen.open.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> usize {
        self.seen.requests.load(Ordering::SeqCst)
    }
}

/// Answers every request with its own address; `/status/n` with status n; `/wait` once as many as `together` are waiting.
pub(crate) async fn start(http2: bool, together: usize) -> Server {
    start_with(http2, together, None).await
}

pub(crate) async fn start_tls(http2: bool, tls: rustls::ServerConfig) -> Server {
    start_with(http2, 1, Some(TlsAcceptor::from(Arc::new(tls)))).await
}

async fn start_with(http2: bool, together: usize, tls: Option<TlsAcceptor>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Seen::default());
    let (counters, barrier) = (Arc::clone(&seen), Arc::new(Barrier::new(together)));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            counters.connections.fetch_add(1, Ordering::SeqCst);
            counters.open.fetch_add(1, Ordering::SeqCst);
            let (seen, barrier, tls) = (Arc::clone(&counters), Arc::clone(&barrier), tls.clone());
            tokio::spawn(async move {
                match tls {
                    None => serve(stream, http2, address, Arc::clone(&seen), barrier).await,
                    Some(acceptor) => {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            serve(stream, http2, address, Arc::clone(&seen), barrier).await;
                        }
                    }
                }
                seen.open.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    Server { address, seen }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    http2: bool,
    address: SocketAddr,
    seen: Arc<Seen>,
    barrier: Arc<Barrier>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        seen.requests.fetch_add(1, Ordering::SeqCst);
        let barrier = Arc::clone(&barrier);
        async move {
            let path = request.uri().path().to_owned();
            if path == "/wait" {
                barrier.wait().await;
            }
            let status = path.strip_prefix("/status/").map_or(200, |status| status.parse().unwrap());
            let text = if path == "/long" { "x".repeat(1 << 22) } else { address.to_string() };
            Response::builder().status(status).body(Full::new(Bytes::from(text)))
        }
    });
    let io = TokioIo::new(stream);
    // Connections that clients cut off end with errors; that is not the server's test.
    if http2 {
        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(io, service)
            .await;
    } else {
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
    }
}

/// A server of raw bytes: `talk` gets each connection once the head of its first request has come.
pub(crate) async fn start_raw<F: Future<Output = ()> + Send + 'static>(
    talk: impl Fn(tokio::net::TcpStream) -> F + Send + 'static,
) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Seen::default());
    let counters = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            counters.connections.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(talk(stream));
        }
    });
    Server { address, seen }
}

/// Reads until a head has ended.
pub(crate) async fn read_head(stream: &mut tokio::net::TcpStream) -> bool {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return false,
        }
    }
    true
}

/// Writes an answer.
pub(crate) async fn answer(stream: &mut tokio::net::TcpStream, text: &str) {
    let _ = stream
        .write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len()).as_bytes())
        .await;
}

/// Answers `/n` with a head of some n bytes.
pub(crate) async fn start_head(protocol: UpstreamProtocol) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let service = service_fn(async |request: Request<Incoming>| {
                    let size: usize = request.uri().path()[1..].parse().unwrap();
                    let mut response = Response::builder();
                    for _ in 0..size / 4096 {
                        response = response.header("x-filling", "x".repeat(4096 - 45));
                    }
                    response.body(Full::new(Bytes::new()))
                });
                let io = TokioIo::new(stream);
                match protocol {
                    UpstreamProtocol::Http2 => {
                        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                            .serve_connection(io, service)
                            .await;
                    }
                    _ => {
                        let _ =
                            hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
                    }
                }
            });
        }
    });
    Server { address, seen: Arc::new(Seen::default()) }
}
