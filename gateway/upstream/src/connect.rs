// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Making connections: name, TCP, TLS, HTTP handshake, all within the connect timeout.

use crate::RequestBody;
use crate::error::ConnectError;
use crate::registry::ClusterState;
use crate::stream::{ConnectionCount, Transport, UpstreamStream};
use crate::tls::TlsSettings;
use crate::view::ClusterView;
use gateway_config::{ConnectionSettings, EndpointAddress, UpstreamProtocol};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{SockRef, TcpKeepalive};
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// An answer's head must fit into an HTTP/1.1 connection's buffer (Envoy's default limit of heads is 60 KiB).
const MIN_HEAD: usize = 64 << 10;

fn buffer_size(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// How connections of a cluster are made. Pools with other settings are other pools.
#[derive(Clone, Debug)]
pub(crate) struct ConnectSettings {
    pub(crate) protocol: UpstreamProtocol,
    pub(crate) connection: ConnectionSettings,
    pub(crate) timeout: Duration,
    pub(crate) tls: Option<Arc<TlsSettings>>,
}

impl ConnectSettings {
    /// The settings of a cluster.
    pub(crate) fn of(view: &ClusterView) -> Self {
        Self {
            protocol: view.cluster.protocol,
            connection: view.cluster.connection,
            timeout: view.cluster.connect_timeout,
            tls: view.tls.clone(),
        }
    }
}

impl PartialEq for ConnectSettings {
    fn eq(&self, other: &Self) -> bool {
        let same_tls = match (&self.tls, &other.tls) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        };
        same_tls
            && self.protocol == other.protocol
            && self.connection == other.connection
            && self.timeout == other.timeout
    }
}

/// A connection that speaks HTTP.
pub(crate) enum Established<B> {
    Http1(http1::SendRequest<B>),
    /// With the number of streams that the peer allows at a time, as far as it is known.
    Http2(http2::SendRequest<B>, Rc<Cell<usize>>),
}

/// Whom to connect to, and how.
pub(crate) struct Target {
    pub(crate) address: EndpointAddress,
    pub(crate) hostname: Option<Box<str>>,
    pub(crate) settings: Rc<ConnectSettings>,
    pub(crate) state: Arc<ClusterState>,
    /// HTTP/2 also where the settings leave it to the client's protocol.
    pub(crate) http2: bool,
}

/// Connects and starts the task that drives the connection; `closed` runs when it has ended.
pub(crate) async fn connect<B: RequestBody>(
    target: &Target,
    count: ConnectionCount,
    closed: impl FnOnce() + 'static,
) -> Result<Established<B>, ConnectError> {
    let connecting = async {
        let stream = UpstreamStream::new(transport(target).await?, count);
        let http2 = target.http2 || stream.negotiated_http2();
        handshake(target, stream, http2, closed).await
    };
    let metrics = &target.state.metrics;
    let result = match tokio::time::timeout(target.settings.timeout, connecting).await {
        Ok(result) => result,
        Err(_) => {
            metrics.upstream_cx_connect_timeout.add(1);
            Err(ConnectError::Timeout)
        }
    };
    match &result {
        Ok(Established::Http1(_)) => metrics.upstream_cx_http1_total.add(1),
        Ok(Established::Http2(..)) => metrics.upstream_cx_http2_total.add(1),
        Err(error) => {
            let made = if target.http2 {
                &metrics.upstream_cx_http2_total
            } else {
                &metrics.upstream_cx_http1_total
            };
            made.add(1);
            metrics.upstream_cx_connect_fail.add(1);
            tracing::debug!(cluster = target.state.name(), host = %target.address, error = error as &dyn std::error::Error, "cannot connect to endpoint");
        }
    }
    result
}

/// Connects without speaking HTTP.
pub(crate) async fn raw(target: &Target, count: ConnectionCount) -> Result<UpstreamStream, ConnectError> {
    let metrics = &target.state.metrics;
    let result = match tokio::time::timeout(target.settings.timeout, transport(target)).await {
        Ok(result) => result.map(|transport| UpstreamStream::new(transport, count)),
        Err(_) => {
            metrics.upstream_cx_connect_timeout.add(1);
            Err(ConnectError::Timeout)
        }
    };
    if let Err(error) = &result {
        metrics.upstream_cx_connect_fail.add(1);
        tracing::debug!(cluster = target.state.name(), host = %target.address, error = error as &dyn std::error::Error, "cannot connect to endpoint");
    }
    result
}

async fn transport(target: &Target) -> Result<Transport, ConnectError> {
    let tcp = match &target.address {
        EndpointAddress::Socket(address) => {
            TcpStream::connect(*address).await.map_err(|e| ConnectError::Tcp(e.into()))?
        }
        EndpointAddress::Name { host, port } => connect_name(host, *port).await?,
    };
    // Failure to set an option leaves a connection that works.
    let _ = tcp.set_nodelay(true);
    if let Some(idle) = target.settings.connection.tcp_keepalive {
        let _ = SockRef::from(&tcp).set_tcp_keepalive(&TcpKeepalive::new().with_time(idle));
    }
    let Some(tls) = &target.settings.tls else { return Ok(Transport::Plain(tcp)) };
    let config = tls.config.as_ref().map_err(|missing| ConnectError::TlsSettings(Arc::clone(missing)))?;
    let peer = tcp.peer_addr().map_err(|e| ConnectError::Tcp(e.into()))?;
    let name = tls.server_name(target.hostname.as_deref(), peer.ip());
    let result = TlsConnector::from(Arc::clone(config)).connect(name, tcp).await;
    let metrics = &target.state.metrics;
    match &result {
        Ok(_) => metrics.ssl_handshake.add(1),
        Err(_) => metrics.ssl_connection_error.add(1),
    }
    let stream = result.map_err(|e| ConnectError::Tls(e.into()))?;
    Ok(Transport::Tls(Box::new(stream)))
}

/// Tries the addresses of a name, starting anywhere, until one takes the connection.
async fn connect_name(host: &str, port: u16) -> Result<TcpStream, ConnectError> {
    let resolved =
        tokio::net::lookup_host((host, port)).await.map_err(|e| ConnectError::Resolve(e.into()))?;
    let mut addresses: Vec<SocketAddr> = resolved.collect();
    if !addresses.is_empty() {
        let start = rand::random_range(0..addresses.len());
        addresses.rotate_left(start);
    }
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(ConnectError::Tcp(last.into()))
}

async fn handshake<B: RequestBody>(
    target: &Target,
    stream: UpstreamStream,
    http2: bool,
    closed: impl FnOnce() + 'static,
) -> Result<Established<B>, ConnectError> {
    let failed = |error: hyper::Error| ConnectError::Http(Arc::new(error));
    let io = TokioIo::new(stream);
    if http2 {
        let settings = &target.settings.connection;
        let mut builder = http2::Builder::new(LocalExecutor);
        builder.timer(TokioTimer::new());
        if settings.initial_stream_window.is_some() {
            builder.initial_stream_window_size(settings.initial_stream_window);
        }
        if settings.initial_connection_window.is_some() {
            builder.initial_connection_window_size(settings.initial_connection_window);
        }
        if let Some(limit) = settings.buffer_limit {
            builder.max_send_buf_size(buffer_size(limit));
        }
        let (sender, connection) = builder.handshake(io).await.map_err(failed)?;
        let allowed = Rc::new(Cell::new(connection.current_max_send_streams()));
        let told = Rc::clone(&allowed);
        let mut connection = Box::pin(connection);
        let watched = poll_fn(move |cx| {
            let result = connection.as_mut().poll(cx);
            told.set(connection.current_max_send_streams());
            result
        });
        drive(&target.state, watched, closed);
        Ok(Established::Http2(sender, allowed))
    } else {
        let mut builder = http1::Builder::new();
        if let Some(limit) = target.settings.connection.buffer_limit {
            builder.max_buf_size(buffer_size(limit).max(MIN_HEAD));
        }
        let (sender, connection) = builder.handshake(io).await.map_err(failed)?;
        drive(&target.state, connection.with_upgrades(), closed);
        Ok(Established::Http1(sender))
    }
}

fn drive(
    state: &Arc<ClusterState>,
    connection: impl Future<Output = hyper::Result<()>> + 'static,
    closed: impl FnOnce() + 'static,
) {
    let state = Arc::clone(state);
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::trace!(
                cluster = state.name(),
                error = &error as &dyn std::error::Error,
                "upstream connection ended"
            );
        }
        closed();
    });
}

/// Runs hyper's HTTP/2 tasks on the worker's own thread.
#[derive(Clone, Copy, Debug)]
struct LocalExecutor;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}
