// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A connection's bytes: plain or TLS, counted while it is open.

use crate::host::HostState;
use crate::registry::ClusterState;
use gateway_config::{ClusterLimits, RoutingPriority};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

/// Counts a connection as active from the first attempt until it is gone.
#[derive(Debug)]
pub(crate) struct ConnectionCount {
    state: Arc<ClusterState>,
    host: Option<Arc<HostState>>,
    priority: RoutingPriority,
    begun: Instant,
}

impl ConnectionCount {
    /// Counts where the limits allow it, or anyway where it is the pool's only connection: no host starves (as in Envoy).
    pub(crate) fn open(
        state: &Arc<ClusterState>,
        host: &Arc<HostState>,
        limits: &ClusterLimits,
        priority: RoutingPriority,
        only: bool,
    ) -> Option<Self> {
        let connections = state.connections();
        if only {
            connections.force(priority);
            host.open_connection(None);
        } else if !connections.take(priority, limits.of(priority).max_connections) {
            state.metrics.upstream_cx_overflow.add(1);
            return None;
        } else if !host.open_connection(limits.host_connections) {
            connections.release(priority);
            state.metrics.upstream_cx_overflow.add(1);
            return None;
        }
        state.metrics.upstream_cx_total.add(1);
        Some(Self { state: Arc::clone(state), host: Some(Arc::clone(host)), priority, begun: Instant::now() })
    }

    /// Counts without any limit, for connections that carry no requests of clients.
    pub(crate) fn unlimited(state: &Arc<ClusterState>) -> Self {
        let priority = RoutingPriority::Default;
        state.connections().force(priority);
        state.metrics.upstream_cx_total.add(1);
        Self { state: Arc::clone(state), host: None, priority, begun: Instant::now() }
    }

    /// The connection is up.
    fn connected(&self) {
        self.state.metrics.upstream_cx_connect_ms.observe(self.begun.elapsed());
    }
}

impl Drop for ConnectionCount {
    fn drop(&mut self) {
        self.state.connections().release(self.priority);
        let metrics = &self.state.metrics;
        metrics.upstream_cx_destroy.add(1);
        metrics.upstream_cx_length_ms.observe(self.begun.elapsed());
        if let Some(host) = &self.host {
            host.close_connection();
        }
    }
}

/// Plain or encrypted bytes.
#[derive(Debug)]
pub(crate) enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A counted connection.
#[derive(Debug)]
pub(crate) struct UpstreamStream {
    transport: Transport,
    count: ConnectionCount,
}

impl UpstreamStream {
    pub(crate) fn new(transport: Transport, count: ConnectionCount) -> Self {
        count.connected();
        Self { transport, count }
    }

    /// Whether ALPN chose HTTP/2.
    pub(crate) fn negotiated_http2(&self) -> bool {
        match &self.transport {
            Transport::Plain(_) => false,
            Transport::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }

    fn sent(&self, bytes: usize) {
        self.count.state.metrics.upstream_cx_tx_bytes_total.add(bytes as u64);
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl AsyncRead for UpstreamStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let this = &mut *self;
        ready!(Pin::new(&mut this.transport).poll_read(cx, buf))?;
        this.count.state.metrics.upstream_cx_rx_bytes_total.add((buf.filled().len() - before) as u64);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for UpstreamStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.transport).poll_write(cx, buf))?;
        self.sent(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.transport).poll_write_vectored(cx, bufs))?;
        self.sent(written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }
}
