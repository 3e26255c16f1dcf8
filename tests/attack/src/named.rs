// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Servers that say who they are (`x-origin`) and give back what they get.

use crate::load::LARGE;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

static ANSWER: &[u8] = &[b'x'; LARGE];

/// A server that ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Named {
    /// Starts one, HTTP/1.1 and HTTP/2.
    pub(crate) async fn start(name: &'static str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(name, request));
                    let builder = auto::Builder::new(TokioExecutor::new());
                    // A peer that goes away ends its connection.
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Ok(Self { address, task })
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    name: &'static str,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let body = match request.uri().path() {
        "/large" => Bytes::from_static(ANSWER),
        _ => request.into_body().collect().await?.to_bytes(),
    };
    let mut response = Response::new(Full::new(body));
    response.headers_mut().insert("x-origin", http::HeaderValue::from_static(name));
    Ok(response)
}
