// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Making connections: name, TCP, TLS, HTTP handshake, all within the connect timeout.

use crate::error::ConnectError;
use crate::pool_key::PoolKey;
use crate::registry::ClusterState;
use crate::stream::{ConnectionCount, Transport, UpstreamStream};
use crate::tls::{Carried, TlsSettings};
use crate::view::ClusterView;
use crate::{RequestBody, dial, proxy_header, tunnel};
use gateway_config::{
    ConnectProxy, ConnectionSettings, EndpointAddress, ProxyHeader, RequestNames, UpstreamProtocol,
};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsConnector;

/// An answer's head must fit into an HTTP/1.1 connection's buffer (Envoy's default limit of heads is 60 KiB).
const MIN_HEAD: usize = 64 << 10;

/// Bytes that an HTTP/1.1 connection holds where the settings say nothing.
const BUFFER: usize = 64 << 10;

/// hyper takes no smaller buffer.
const MIN_BUFFER: usize = 8 << 10;
/// The largest head of an answer over HTTP/2 (Envoy's default), bytes.
const MAX_HEAD: u32 = 60 << 10;

fn buffer_size(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// How connections of a cluster's socket are made. Pools with other settings are other pools.
#[derive(Clone, Debug)]
pub(crate) struct ConnectSettings {
    pub(crate) protocol: UpstreamProtocol,
    pub(crate) connection: ConnectionSettings,
    pub(crate) timeout: Duration,
    pub(crate) tls: Option<Arc<TlsSettings>>,
    pub(crate) proxy_header: Option<ProxyHeader>,
    connect_proxy: Option<ConnectProxy>,
    sources: Box<[SocketAddr]>,
    pub(crate) request_names: Option<RequestNames>,
    pub(crate) own_connections: bool,
    /// Some requests do not share connections.
    pub(crate) divided: bool,
}

impl ConnectSettings {
    /// The settings of each socket of a cluster.
    pub(crate) fn all(view: &ClusterView) -> impl Iterator<Item = Self> {
        let cluster = &view.cluster;
        cluster.sockets().zip(&view.sockets).map(|(socket, state)| Self {
            protocol: cluster.protocol,
            connection: cluster.connection,
            timeout: cluster.connect_timeout,
            tls: state.tls.clone(),
            proxy_header: socket.proxy_protocol.clone(),
            connect_proxy: socket.connect_proxy,
            sources: cluster.source_addresses.clone(),
            request_names: cluster.request_names.clone(),
            own_connections: cluster.own_connections,
            divided: cluster.own_connections
                || socket.proxy_protocol.is_some()
                || (socket.tls.is_some() && cluster.request_names.is_some()),
        })
    }

    /// The scheme of requests.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
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
            && self.proxy_header == other.proxy_header
            && self.connect_proxy == other.connect_proxy
            && self.sources == other.sources
            && self.request_names == other.request_names
            && self.own_connections == other.own_connections
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
    /// The endpoint's own proxy.
    pub(crate) connect_proxy: Option<SocketAddr>,
    pub(crate) settings: Rc<ConnectSettings>,
    pub(crate) state: Arc<ClusterState>,
    /// Whom the connection is for.
    pub(crate) key: PoolKey,
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
        let carried = if target.http2 { Carried::Http2 } else { Carried::Http1 };
        let stream = UpstreamStream::new(transport(target, carried).await?, count);
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
    let result = match tokio::time::timeout(target.settings.timeout, transport(target, Carried::Raw)).await {
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

async fn transport(target: &Target, carried: Carried) -> Result<Transport, ConnectError> {
    let settings = &target.settings;
    let failed = |error: std::io::Error| ConnectError::Tcp(error.into());
    let proxy = settings.connect_proxy.and_then(|proxy| target.connect_proxy.or(proxy.default));
    let mut tcp = match (proxy, &target.address) {
        (Some(proxy), _) => dial::address(proxy, &settings.sources).await.map_err(failed)?,
        (None, EndpointAddress::Socket(address)) => {
            dial::address(*address, &settings.sources).await.map_err(failed)?
        }
        (None, EndpointAddress::Name { host, port }) => dial::name(host, *port, &settings.sources).await?,
    };
    dial::set_options(&tcp, &settings.connection);
    let peer = tcp.peer_addr().map_err(failed)?;
    if let Some(header) = &settings.proxy_header {
        let own = (tcp.local_addr().map_err(failed)?, peer);
        let bytes = proxy_header::encode(header, target.key.addresses, own);
        tcp.write_all(&bytes).await.map_err(failed)?;
    }
    let Some(tls) = &settings.tls else { return Ok(Transport::Plain(tcp)) };
    if proxy.is_some() {
        tunnel::open(&mut tcp, &target.address).await?;
    }
    let config = tls
        .config(carried, target.key.name.is_some())
        .map_err(|missing| ConnectError::TlsSettings(Arc::clone(missing)))?;
    let ip = match &target.address {
        EndpointAddress::Socket(address) => address.ip(),
        EndpointAddress::Name { .. } => peer.ip(),
    };
    let name = tls.server_name(target.key.name.as_ref(), target.hostname.as_deref(), ip);
    let result = TlsConnector::from(Arc::clone(config)).connect(name, tcp).await;
    let metrics = &target.state.metrics;
    match &result {
        Ok(_) => metrics.ssl_handshake.add(1),
        Err(_) => metrics.ssl_connection_error.add(1),
    }
    let stream = result.map_err(|e| ConnectError::Tls(e.into()))?;
    Ok(Transport::Tls(Box::new(stream)))
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
        builder.max_header_list_size(settings.max_head.unwrap_or(MAX_HEAD));
        if let Some(keepalive) = settings.keepalive {
            let jitter = f64::from(keepalive.jitter) / 100.0 * rand::random::<f64>();
            builder
                .keep_alive_interval(keepalive.interval + keepalive.interval.mul_f64(jitter))
                .keep_alive_timeout(keepalive.timeout)
                .keep_alive_while_idle(true);
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
        let settings = &target.settings.connection;
        let mut builder = http1::Builder::new();
        match (settings.max_head, settings.buffer_limit) {
            (Some(head), _) => {
                builder.max_buf_size(buffer_size(head).max(MIN_BUFFER));
            }
            (None, Some(limit)) => {
                builder.max_buf_size(buffer_size(limit).max(MIN_HEAD));
            }
            (None, None) => {
                builder.max_buf_size(BUFFER);
            }
        }
        if let Some(count) = settings.max_headers {
            builder.max_headers(buffer_size(count));
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
