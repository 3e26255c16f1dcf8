// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The origins behind both proxies: they keep what they see by the request's mark, and answer as its header `x-do` says.
//!
//! `x-do` has a comma-separated step for each attempt, the last one for all further: a status; `reset` (the connection ends
//! without an answer); `slow` (the answer comes late); `grpc-N` (200 with that grpc-status); `limited` (429 with a hint when to retry);
//! `switch` (grants an upgrade or CONNECT, echoes one line and ends).

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use parking_lot::Mutex;
use rustls::ServerConfig;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// How late a late answer is.
const LATE: Duration = Duration::from_millis(600);

/// A request as an origin saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) origin: &'static str,
    pub(crate) method: String,
    pub(crate) target: String,
    /// Sorted; names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

/// What the origins of one proxy saw, by mark.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    seen: Arc<Mutex<HashMap<String, Vec<Seen>>>>,
}

impl Record {
    /// How many requests came with a mark.
    pub(crate) fn count(&self, mark: &str) -> usize {
        self.seen.lock().get(mark).map_or(0, Vec::len)
    }

    /// Takes what came with a mark.
    pub(crate) fn take(&self, mark: &str) -> Vec<Seen> {
        self.seen.lock().remove(mark).unwrap_or_default()
    }

    fn note(&self, mark: &str, seen: Seen) -> usize {
        let mut all = self.seen.lock();
        let list = all.entry(mark.to_owned()).or_default();
        list.push(seen);
        list.len()
    }
}

/// Serves one origin; with TLS where there are settings for it.
pub(crate) async fn serve(
    address: SocketAddr,
    name: &'static str,
    record: Record,
    tls: Option<Arc<ServerConfig>>,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let acceptor = tls.map(TlsAcceptor::from);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            // What fails here shows in the comparison.
            let _ = socket.set_nodelay(true);
            let (record, acceptor) = (record.clone(), acceptor.clone());
            tokio::spawn(async move {
                match acceptor {
                    None => talk(socket, (name, None), record).await,
                    Some(acceptor) => {
                        let Ok(stream) = acceptor.accept(socket).await else { return };
                        let asked = stream.get_ref().1.server_name().unwrap_or("(none)").to_owned();
                        talk(stream, (name, Some(asked)), record).await;
                    }
                }
            });
        }
    });
    Ok(())
}

async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    (name, asked): (&'static str, Option<String>),
    record: Record,
) {
    let service = service_fn(move |request| answer(request, (name, asked.clone()), record.clone()));
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http2().enable_connect_protocol();
    let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
}

async fn answer(
    mut request: Request<Incoming>,
    (origin, asked): (&'static str, Option<String>),
    record: Record,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let switches = text(request.headers(), "x-do") == "switch";
    let upgrade = switches.then(|| hyper::upgrade::on(&mut request));
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let mark = text(&head.headers, "x-case");
    let mut headers: Vec<(String, String)> = head
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    if let (Some(authority), false) = (head.uri.authority(), head.headers.contains_key("host")) {
        headers.push(("host".to_owned(), authority.to_string()));
    }
    if let Some(protocol) = head.extensions.get::<Protocol>() {
        headers.push(("(protocol)".to_owned(), protocol.as_str().to_owned()));
    }
    if let Some(asked) = asked {
        headers.push(("(version)".to_owned(), format!("{:?}", head.version)));
        headers.push(("(server name)".to_owned(), asked));
    }
    headers.sort();
    let seen = Seen {
        origin,
        method: head.method.to_string(),
        target: head.uri.path_and_query().map_or_else(|| head.uri.to_string(), ToString::to_string),
        headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    let attempt = record.note(&mark, seen);
    if let Some(upgrade) = upgrade {
        return switch(&head, upgrade);
    }
    let steps = text(&head.headers, "x-do");
    let step = steps.split(',').nth(attempt - 1).or(steps.split(',').next_back()).unwrap_or_default();
    let mut response = Response::builder().header("x-origin", "yes").header("server", "origin");
    match step.trim() {
        "reset" => return Err(std::io::Error::other("reset on purpose")),
        "slow" => tokio::time::sleep(LATE).await,
        "limited" => {
            response = response.status(429).header("x-ratelimit-reset", "1").header("retry-after", "1")
        }
        "retriable" => response = response.status(500).header("x-retry-me", "yes"),
        "headers" => {
            response = response
                .header("x-multi", "1")
                .header("x-multi", "2")
                .header("set-cookie", "a=1")
                .header("set-cookie", "b=2")
                .header("x-drop", "gone");
        }
        step if step.starts_with("grpc-") => {
            response = response.header("content-type", "application/grpc").header("grpc-status", &step[5..]);
        }
        step => {
            if let Ok(status) = step.parse::<u16>() {
                response = response.status(status);
            }
        }
    }
    response.body(Full::new(Bytes::from_static(b"answer of an origin\n"))).map_err(std::io::Error::other)
}

/// Grants what was asked for and echoes a line.
fn switch(head: &Parts, upgrade: OnUpgrade) -> Result<Response<Full<Bytes>>, std::io::Error> {
    tokio::spawn(async move {
        // What fails here shows in the comparison.
        let Ok(upgraded) = upgrade.await else { return };
        let mut stream = BufReader::new(TokioIo::new(upgraded));
        let mut line = String::new();
        let _ = stream.read_line(&mut line).await;
        let _ = stream.write_all(format!("echo of {line}").as_bytes()).await;
        let _ = stream.shutdown().await;
    });
    let mut response = Response::builder().header("x-origin", "yes").header("server", "origin");
    if head.method != Method::CONNECT {
        let protocol = text(&head.headers, "upgrade");
        response = response.status(101).header("connection", "upgrade").header("upgrade", protocol);
    }
    response.body(Full::default()).map_err(std::io::Error::other)
}

fn text(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}
