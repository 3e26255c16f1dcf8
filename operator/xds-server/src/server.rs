// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The ADS port: mutual TLS, admission, and the two gRPC methods.

mod accept;
mod service;

use crate::{Groups, Limits, Metrics, Publisher, ServerTls};
pub(crate) use accept::{Handshake, accept_loop};
use futures::StreamExt;
use operator_identity::{PeerChain, peer_identity};
use service::AdsService;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;
use tracing::warn;

/// Finished handshakes that wait for the gRPC server.
const ACCEPTED: usize = 64;

/// Why the port stopped serving.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The gRPC server failed.
    #[error("the ADS server failed")]
    Transport(#[from] tonic::transport::Error),
    /// The socket failed.
    #[error("cannot accept connections")]
    Accept(#[from] io::Error),
}

/// What all streams of the ADS port share.
#[derive(Clone)]
pub struct Ads {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Ads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ads").field("limits", &self.shared.limits).finish_non_exhaustive()
    }
}

pub(crate) struct Shared {
    pub(crate) publisher: Publisher,
    pub(crate) groups: Arc<dyn Groups>,
    pub(crate) limits: Limits,
    pub(crate) metrics: Metrics,
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) joining: Arc<Semaphore>,
    pub(crate) stop: CancellationToken,
}

impl Ads {
    /// Serves the publisher's snapshots to the proxies that `groups` knows, until `stop`.
    #[must_use]
    pub fn new(
        publisher: Publisher,
        groups: Arc<dyn Groups>,
        limits: Limits,
        metrics: Metrics,
        stop: CancellationToken,
    ) -> Self {
        let streams = Arc::new(Semaphore::new(limits.streams));
        let joining = Arc::new(Semaphore::new(limits.joining));
        Self { shared: Arc::new(Shared { publisher, groups, limits, metrics, streams, joining, stop }) }
    }
}

/// Serves ADS with mutual TLS on a bound socket until the token given to [`Ads::new`] is cancelled.
///
/// # Errors
/// Where the socket or the gRPC server fails.
pub async fn serve_ads(listener: TcpListener, tls: Arc<ServerTls>, ads: Ads) -> Result<(), ServeError> {
    let shared = ads.shared;
    let (limits, stop) = (shared.limits, shared.stop.clone());
    let (accepted, connections) = mpsc::channel(ACCEPTED);
    let finish = move |handshake: Handshake| {
        let accepted = accepted.clone();
        async move {
            let Some(peer) = peer_of(&handshake) else { return };
            let Handshake { stream, permit, .. } = handshake;
            // The gRPC server is gone only when everything stops.
            let _ = accepted.send(Ok::<_, io::Error>(PeerStream { stream, peer, _permit: permit })).await;
        }
    };
    let settings = move || tls.mutual();
    let accepting = accept_loop(listener, settings, limits, stop.clone(), finish);
    let serving = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(limits.keep_alive))
        .http2_keepalive_timeout(Some(limits.keep_alive))
        .max_concurrent_streams(Some(8))
        .tcp_nodelay(true)
        .add_service(AdsService::new(shared))
        .serve_with_incoming_shutdown(ReceiverStream::new(connections).boxed(), stop.cancelled_owned());
    let (accepted, served) = tokio::join!(accepting, serving);
    served?;
    accepted?;
    Ok(())
}

fn peer_of(handshake: &Handshake) -> Option<Peer> {
    let (_, session) = handshake.stream.get_ref();
    let address = handshake.address;
    match peer_identity(session.peer_certificates().unwrap_or_default()) {
        Ok(chain) => Some(Peer { chain: Arc::new(chain), address }),
        Err(error) => {
            warn!(peer = %address, error = &error as &dyn std::error::Error, "client certificate refused");
            None
        }
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) chain: Arc<PeerChain>,
    pub(crate) address: SocketAddr,
}

/// A connection whose peer is known.
struct PeerStream {
    stream: TlsStream<TcpStream>,
    peer: Peer,
    /// Counts the connection until it ends.
    _permit: OwnedSemaphorePermit,
}

impl Connected for PeerStream {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
