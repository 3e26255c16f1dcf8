// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A connection's bytes: plain or TLS, counted while it is open.

use crate::host::HostState;
use crate::registry::ClusterState;
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
    cluster: Arc<ClusterState>,
    host: Option<Arc<HostState>>,
    begun: Instant,
}

impl ConnectionCount {
    /// Counts where the limit allows it, or anyway where it is the pool's only connection: no host starves (as in Envoy).
    pub(crate) fn open(state: &Arc<ClusterState>, limit: u32, only: bool) -> Option<Self> {
        let metrics = &state.metrics;
        if only {
            metrics.upstream_cx_active.add(1);
        } else if !metrics.upstream_cx_active.add_below(limit) {
            metrics.upstream_cx_overflow.add(1);
            return None;
        }
        metrics.upstream_cx_total.add(1);
        Some(Self { cluster: Arc::clone(state), host: None, begun: Instant::now() })
    }

    /// The connection is up.
    fn connected(&self) {
        self.cluster.metrics.upstream_cx_connect_ms.observe(self.begun.elapsed());
    }

    /// Counts it at its host too.
    pub(crate) fn at(mut self, host: &Arc<HostState>) -> Self {
        host.numbers.cx_total.add(1);
        host.numbers.cx_active.add(1);
        self.host = Some(Arc::clone(host));
        self
    }
}

impl Drop for ConnectionCount {
    fn drop(&mut self) {
        let metrics = &self.cluster.metrics;
        metrics.upstream_cx_active.sub(1);
        metrics.upstream_cx_destroy.add(1);
        metrics.upstream_cx_length_ms.observe(self.begun.elapsed());
        if let Some(host) = &self.host {
            host.numbers.cx_active.sub(1);
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
        self.count.cluster.metrics.upstream_cx_tx_bytes_total.add(bytes as u64);
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
        this.count.cluster.metrics.upstream_cx_rx_bytes_total.add((buf.filled().len() - before) as u64);
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
