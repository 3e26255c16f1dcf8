// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A small HTTP/1 server for [`Pages`]: few connections, short timeouts, no request bodies.

use crate::{Pages, TelemetryError};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Connections served at once; further ones wait in the accept queue.
const CONNECTIONS: usize = 64;
/// Time for a request's head to arrive, also the time that a connection may idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest that one connection lives; scrapers reconnect.
const CONNECTION_LIFE: Duration = Duration::from_secs(300);
/// Largest request head.
const HEAD_BYTES: usize = 16 * 1024;
/// Pause after a failed accept, so that exhausted descriptors do not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound operations port.
#[derive(Debug)]
pub struct PageServer {
    listener: TcpListener,
    address: SocketAddr,
}

impl PageServer {
    /// Binds the address; port 0 takes any free one.
    ///
    /// # Errors
    /// Where the address cannot be bound.
    pub async fn bind(address: SocketAddr) -> Result<Self, TelemetryError> {
        let bind = async || {
            let listener = TcpListener::bind(address).await?;
            let address = listener.local_addr()?;
            Ok(Self { listener, address })
        };
        bind().await.map_err(|source| TelemetryError::Bind { address, source })
    }

    /// Uses a socket that listens already.
    ///
    /// # Errors
    /// Where the runtime can not use it.
    pub fn from_socket(socket: std::net::TcpListener, address: SocketAddr) -> Result<Self, TelemetryError> {
        let listener =
            TcpListener::from_std(socket).map_err(|source| TelemetryError::Bind { address, source })?;
        Ok(Self { listener, address })
    }

    /// Its socket once more, for a process that takes this one's place.
    ///
    /// # Errors
    /// Where the process has too many open.
    pub fn socket(&self) -> std::io::Result<std::net::TcpListener> {
        Ok(self.listener.as_fd().try_clone_to_owned()?.into())
    }

    /// The address in use.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until cancelled.
    pub async fn serve(self, pages: Arc<Pages>, cancel: CancellationToken) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let accepted = tokio::select! {
                () = cancel.cancelled() => return,
                accepted = accept(&self.listener, &slots) => accepted,
            };
            match accepted {
                Ok((stream, permit)) => {
                    let (pages, cancel) = (pages.clone(), cancel.clone());
                    tokio::spawn(async move {
                        connection(stream, pages, cancel).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, address = %self.address, "operations port cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = slots.clone().acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}

async fn connection(stream: TcpStream, pages: Arc<Pages>, cancel: CancellationToken) {
    let service = service_fn(move |request| {
        let pages = pages.clone();
        // A page may take a while to write: nothing else of the process waits for it meanwhile.
        async move { tokio::task::spawn_blocking(move || pages.answer(&request)).await }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        result = serving => if let Err(error) = result {
            tracing::debug!(%error, "operations connection ended");
        },
        () = tokio::time::sleep(CONNECTION_LIFE) => {}
        () = cancel.cancelled() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::PageServer;
    use crate::{Page, Pages};
    use http::StatusCode;
    use std::sync::Arc;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio_util::sync::CancellationToken;

    #[tokio::test]
    async fn serves_pages_refuses_large_heads_and_stops_when_cancelled() {
        let server = PageServer::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = server.address();
        let cancel = CancellationToken::new();
        let pages = Arc::new(Pages::new().get("/ready", |_| Page::text(StatusCode::OK, "yes")));
        let serving = tokio::spawn(server.serve(pages, cancel.clone()));

        let ask = async |head: String| {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            String::from_utf8_lossy(&answer).into_owned()
        };
        let answer = ask("GET /ready HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".into()).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nyes"), "{answer}");
        let large =
            ask(format!("GET /ready HTTP/1.1\r\nHost: a\r\nX-A: {}\r\n\r\n", "a".repeat(20_000))).await;
        assert!(large.starts_with("HTTP/1.1 431"), "{large}");

        cancel.cancel();
        serving.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err(), "the port is closed");
    }

    #[tokio::test]
    async fn a_taken_address_is_named() {
        let first = PageServer::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let error = PageServer::bind(first.address()).await.unwrap_err();
        assert!(error.to_string().contains(&first.address().to_string()), "{error}");
    }
}
