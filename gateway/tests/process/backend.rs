// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! An upstream that says which plugin header it saw, and a client that asks once.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpStream};

/// Says in the header `x-seen` which value the request's `x-plugin` had, or `none`.
pub async fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = hyper::service::service_fn(|request: Request<Incoming>| async move {
                let seen = request.headers().get("x-plugin").map_or("none", |value| value.to_str().unwrap());
                let mut response = Response::new(Full::new(Bytes::from_static(b"from the backend")));
                response.headers_mut().insert("x-seen", seen.parse().unwrap());
                Ok::<_, Infallible>(response)
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    address
}

/// One request on one connection; gives the status, and what the backend saw, or the body where it was not asked. None
/// where nobody listens or the connection breaks.
pub async fn ask(address: SocketAddr, method: &str, host: &str, path: &str) -> Option<(StatusCode, String)> {
    let stream = TcpStream::connect(address).await.ok()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    tokio::spawn(connection);
    let request =
        Request::builder().method(method).uri(path).header("host", host).body(Empty::<Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.ok()?;
    let status = response.status();
    let seen = response.headers().get("x-seen").map(|value| value.to_str().unwrap().to_owned());
    let body = response.into_body().collect().await.ok()?.to_bytes();
    Some((status, seen.unwrap_or_else(|| String::from_utf8(body.to_vec()).unwrap())))
}
