// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Servers behind the gateway. They remember what reached them: a refused request must not.

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The answer to `/large`.
static LARGE: &[u8] = &[b'x'; 4 * 1024 * 1024];

/// A request as it reached the server.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The body came to its end.
    pub(crate) complete: bool,
}

/// A server that ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Origin {
    /// Answers every request with 200 and `answer`, HTTP/1.1 and HTTP/2.
    pub(crate) async fn start(answer: impl Into<Bytes>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (noted, answer) = (Arc::clone(&seen), answer.into());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (noted, answer) = (Arc::clone(&noted), answer.clone());
                tokio::spawn(async move {
                    let service =
                        service_fn(move |request| serve(Arc::clone(&noted), answer.clone(), request));
                    let builder = auto::Builder::new(TokioExecutor::new());
                    // A peer that goes away ends its connection.
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Ok(Self { address, seen, task })
    }

    /// What has come since the last look.
    pub(crate) fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock())
    }
}

async fn serve(
    noted: Arc<Mutex<Vec<Seen>>>,
    answer: Bytes,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let line = format!("{} {}", parts.method, parts.uri);
    // Noted before the body: a request that never ends has reached the server as well.
    let at = {
        let mut seen = noted.lock();
        seen.push(Seen { line, headers: parts.headers, body: Bytes::new(), complete: false });
        seen.len() - 1
    };
    match parts.uri.path() {
        "/hang" => return pending().await,
        "/large" => return Ok(Response::new(Full::new(Bytes::from_static(LARGE)))),
        _ => {}
    }
    if let Ok(body) = body.collect().await
        && let Some(seen) = noted.lock().get_mut(at)
    {
        seen.body = body.to_bytes();
        seen.complete = true;
    }
    Ok(Response::new(Full::new(answer)))
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}
