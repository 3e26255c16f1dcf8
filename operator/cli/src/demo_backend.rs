// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A small HTTP backend for examples and tests: it says who it is and what it was asked.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::json;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// Largest request body that is read, in bytes.
const MAX_BODY: usize = 1024 * 1024;
/// Longest delay that `/delay/MS` grants.
const MAX_DELAY: Duration = Duration::from_secs(60);

/// What the backend is told on the command line.
#[derive(Debug, clap::Args)]
pub struct DemoBackendArgs {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:9001")]
    listen: SocketAddr,
    /// Name to answer with.
    #[arg(long, default_value = "demo")]
    name: String,
}

/// Serves until the process ends.
///
/// # Errors
/// Where the address cannot be bound.
pub(crate) async fn run(args: DemoBackendArgs) -> anyhow::Result<()> {
    let listener = TcpListener::bind(args.listen).await.map_err(|e| {
        anyhow::anyhow!(
            "cannot listen on {}: {e}; free the port or choose another with --listen",
            args.listen
        )
    })?;
    let name: Arc<str> = args.name.into();
    tracing::info!(listen = %args.listen, name = %name, "demo backend serves");
    loop {
        let (stream, _) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let name = name.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(name.clone(), request));
            // A client that goes away is none of the backend's business.
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// `/status/CODE` answers that code, `/delay/MS` waits so long; everything answers who, what and with which headers.
async fn answer(name: Arc<str>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let status =
        number(&path, "/status/").and_then(|code| StatusCode::from_u16(u16::try_from(code).ok()?).ok());
    if let Some(delay) = number(&path, "/delay/") {
        tokio::time::sleep(Duration::from_millis(delay).min(MAX_DELAY)).await;
    }
    let received =
        Limited::new(body, MAX_BODY).collect().await.map(|b| b.to_bytes().len()).unwrap_or(MAX_BODY);
    let headers: serde_json::Map<String, serde_json::Value> = head
        .headers
        .iter()
        .map(|(name, value)| {
            (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned().into())
        })
        .collect();
    let text = json!({
        "backend": *name, "method": head.method.as_str(), "path": path, "query": head.uri.query().unwrap_or_default(),
        "headers": headers, "bodyBytes": received,
    });
    let mut response = Response::new(Full::from(format!("{text}\n")));
    *response.status_mut() = status.unwrap_or(StatusCode::OK);
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    Ok(response)
}

fn number(path: &str, prefix: &str) -> Option<u64> {
    path.strip_prefix(prefix)?.split('/').next()?.parse().ok()
}
