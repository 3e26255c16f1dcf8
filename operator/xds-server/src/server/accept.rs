// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Accepting TCP connections and finishing TLS handshakes, both bounded.

use crate::Limits;
use rustls::ServerConfig;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// Wait after a failed accept, such as one without a free file descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A finished handshake.
pub(crate) struct Handshake {
    pub(crate) stream: TlsStream<TcpStream>,
    pub(crate) address: SocketAddr,
    /// Counts the connection until it is dropped.
    pub(crate) permit: OwnedSemaphorePermit,
}

/// Accepts until `stop`; each connection goes to `finish` on a task of its own.
pub(crate) async fn accept_loop<S, F, R>(
    listener: TcpListener,
    settings: S,
    limits: Limits,
    stop: CancellationToken,
    finish: F,
) -> io::Result<()>
where
    S: Fn() -> Arc<ServerConfig>,
    F: Fn(Handshake) -> R + Clone + Send + 'static,
    R: Future<Output = ()> + Send,
{
    let connections = Arc::new(Semaphore::new(limits.connections));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            accepted = accept(&listener, &connections) => accepted?,
        };
        let (stream, address, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "accept failed");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (acceptor, finish, stop) = (TlsAcceptor::from(settings()), finish.clone(), stop.clone());
        tokio::spawn(async move {
            let handshake = timeout(limits.handshake, acceptor.accept(stream));
            let handshake = tokio::select! {
                () = stop.cancelled() => return,
                handshake = handshake => handshake,
            };
            match handshake {
                Ok(Ok(stream)) => finish(Handshake { stream, address, permit }).await,
                Ok(Err(error)) => {
                    debug!(peer = %address, error = &error as &dyn std::error::Error, "handshake failed")
                }
                Err(_) => debug!(peer = %address, "handshake took too long"),
            }
        });
    }
}

type Accepted = (TcpStream, SocketAddr, OwnedSemaphorePermit);

/// The next connection once there is room for it; the outer error ends the port.
async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> io::Result<io::Result<Accepted>> {
    let permit = room.clone().acquire_owned().await.map_err(io::Error::other)?;
    Ok(listener.accept().await.map(|(stream, address)| {
        // A missing option costs latency only.
        let _ = stream.set_nodelay(true);
        (stream, address, permit)
    }))
}
