// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! From a new connection to its protocol: limit, TLS by server name, HTTP/1.1 or HTTP/2.

use crate::connection::Connection;
use crate::downstream_io::{DownstreamIo, Replay, StreamState};
use crate::head_guard::HeadGuard;
use crate::http;
use crate::listener::{Admission, ListenerState, Phase};
use crate::metrics::Number;
use crate::peer;
use crate::preface;
use crate::worker::Worker;
use gateway_config::{Codec, FilterChain, Listener};
use gateway_filter_api::{ConnectionInfo, TlsInfo};
use rustls::server::Acceptor;
use rustls::{ProtocolVersion, ServerConnection};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;

/// What serves a connection once its protocol is known. Boxed: what came before leaves no room behind in the connection's task.
type Serving = Pin<Box<dyn Future<Output = ()>>>;

/// How long accepting rests when the process has no descriptors left.
const REST: Duration = Duration::from_millis(20);

/// Takes connections until the listener stops; then takes what the kernel had completed already, so that nobody is reset.
pub(crate) async fn accept(worker: Rc<Worker>, listener: Rc<ListenerState>, socket: TcpListener) {
    let mut watch = listener.watch();
    loop {
        let next = poll_fn(|context| {
            watch.register(context.waker());
            match socket.poll_accept(context) {
                Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
                Poll::Pending if listener.phase() >= Phase::Refusing => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        });
        match next.await {
            Some(Ok((stream, peer))) => begin(&worker, &listener, stream, peer),
            Some(Err(error)) if is_of_one_connection(&error) => {}
            Some(Err(error)) => {
                tracing::warn!(listener = %listener.shared.name, %error, "cannot accept connections");
                tokio::time::sleep(REST).await;
            }
            None => {
                drop(socket);
                worker.shared().accepting.fetch_sub(1, Ordering::Release);
                return;
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// Counts a connection of the process until it is dropped.
struct Open(Rc<Worker>, Rc<ListenerState>);

impl Open {
    fn new(worker: &Rc<Worker>, listener: &Rc<ListenerState>) -> Self {
        count(worker).fetch_add(1, Ordering::Relaxed);
        listener.metrics.downstream_cx_active.increment();
        Self(Rc::clone(worker), Rc::clone(listener))
    }
}

fn count(worker: &Worker) -> &AtomicUsize {
    &worker.shared().connections
}

impl Drop for Open {
    fn drop(&mut self) {
        count(&self.0).fetch_sub(1, Ordering::Relaxed);
        self.1.metrics.downstream_cx_active.decrement();
    }
}

fn begin(worker: &Rc<Worker>, listener: &Rc<ListenerState>, stream: TcpStream, peer: SocketAddr) {
    listener.metrics.downstream_cx_total.increment();
    let Some(admission) = listener.shared.admit() else {
        listener.metrics.downstream_cx_overflow.increment();
        return;
    };
    let open = Open::new(worker, listener);
    let (worker, listener) = (Rc::clone(worker), Rc::clone(listener));
    spawn_local(async move {
        let _counted: (Admission, Open) = (admission, open);
        // A connection that is gone already has no address.
        let Ok(local) = stream.local_addr() else { return };
        // Without it small answers wait for acknowledgements; nothing breaks where it can not be set.
        drop(stream.set_nodelay(true));
        let id = worker.shared().next_connection.fetch_add(1, Ordering::Relaxed);
        let info = ConnectionInfo {
            id,
            remote: peer,
            local,
            listener: Arc::clone(&listener.shared.name),
            tls: None,
        };
        if let Some(serving) = Box::pin(until_served(worker, listener, stream, info)).await {
            serving.await;
        }
    });
}

/// Everything up to the protocol; none where the connection is not to be served.
async fn until_served(
    worker: Rc<Worker>,
    listener: Rc<ListenerState>,
    stream: TcpStream,
    info: ConnectionInfo,
) -> Option<Serving> {
    let config = listener.config();
    if config.chains.uses_tls() {
        serve_tls(worker, listener, stream, info, config).await
    } else if let Some(chain) = config.chains.select(None).cloned() {
        serve_plain(worker, listener, stream, info, (config, chain)).await
    } else {
        listener.metrics.no_filter_chain_match.increment();
        None
    }
}

async fn serve_plain(
    worker: Rc<Worker>,
    listener: Rc<ListenerState>,
    stream: TcpStream,
    info: ConnectionInfo,
    (config, chain): (Arc<Listener>, Arc<FilterChain>),
) -> Option<Serving> {
    let place = Place { worker, listener, config, chain };
    place.detect(stream, info).await
}

async fn serve_tls(
    worker: Rc<Worker>,
    listener: Rc<ListenerState>,
    stream: TcpStream,
    mut info: ConnectionInfo,
    config: Arc<Listener>,
) -> Option<Serving> {
    let limit = worker.limits().handshake;
    let mut hello = pin!(timeout(limit, LazyConfigAcceptor::new(Acceptor::default(), stream)));
    let started = match hello.as_mut().await {
        Ok(Ok(started)) => started,
        Ok(Err(_)) => return refused(&listener.metrics.ssl_connection_error),
        Err(_) => return refused(&listener.metrics.downstream_pre_cx_timeout),
    };
    let name: Option<Arc<str>> =
        started.client_hello().server_name().map(|name| name.to_ascii_lowercase().into());
    let chain = config.chains.select(name.as_deref()).cloned();
    let Some((chain, tls)) = chain.as_ref().and_then(|chain| Some((chain, chain.tls.as_ref()?))) else {
        // Closed without an alert, as Envoy does: nothing is told about names.
        return refused(&listener.metrics.no_filter_chain_match);
    };
    let made = listener.tls.config(&config.name, chain, tls, &worker.snapshot(), &worker.shared().tickets);
    let tls_config = match made {
        Ok(tls_config) => tls_config,
        Err(error) => {
            tracing::warn!(listener = %config.name, chain = %chain.name, error = &error as &dyn std::error::Error, "no tls for the connection");
            return refused(&listener.metrics.ssl_connection_error);
        }
    };
    let stream =
        match timeout(chain.handshake_timeout.unwrap_or(limit), started.into_stream(tls_config)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(_)) => return refused(&listener.metrics.ssl_connection_error),
            Err(_) => return refused(&listener.metrics.downstream_pre_cx_timeout),
        };
    listener.metrics.ssl_handshake.increment();
    let session = stream.get_ref().1;
    info.tls = Some(tls_info(session, name));
    let alpn = session.alpn_protocol().map(<[u8]>::to_vec);
    let place = Place {
        worker,
        listener: Rc::clone(&listener),
        config: Arc::clone(&config),
        chain: Arc::clone(chain),
    };
    match alpn.as_deref() {
        Some(b"h2") => Some(place.http2(stream, Replay::default(), info)),
        Some(_) => Some(place.http1(stream, Replay::default(), info)),
        None => place.detect(stream, info).await,
    }
}

fn tls_info(session: &ServerConnection, server_name: Option<Arc<str>>) -> TlsInfo {
    let certificate = session.peer_certificates().and_then(<[_]>::first).map(AsRef::as_ref);
    TlsInfo {
        server_name,
        version: if session.protocol_version() == Some(ProtocolVersion::TLSv1_2) {
            "TLSv1.2"
        } else {
            "TLSv1.3"
        },
        peer: certificate.and_then(peer::names).map(Arc::new),
        peer_certificate: certificate.map(Arc::from),
    }
}

/// Counts why a connection is not served.
fn refused(why: &Number) -> Option<Serving> {
    why.increment();
    None
}

/// Where a connection came in, and what serves it.
struct Place {
    worker: Rc<Worker>,
    listener: Rc<ListenerState>,
    config: Arc<Listener>,
    chain: Arc<FilterChain>,
}

impl Place {
    /// Tells the protocol by the first bytes where the settings leave it open.
    async fn detect<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        self,
        mut stream: S,
        info: ConnectionInfo,
    ) -> Option<Serving> {
        match self.chain.http.codec {
            Codec::Http1 => Some(self.http1(stream, Replay::default(), info)),
            Codec::Http2 => Some(self.http2(stream, Replay::default(), info)),
            Codec::Auto => {
                match timeout(self.worker.limits().request_headers, preface::detect(&mut stream)).await {
                    Ok(Ok((true, replay))) => Some(self.http2(stream, replay, info)),
                    Ok(Ok((false, replay))) => Some(self.http1(stream, replay, info)),
                    Ok(Err(_)) => None,
                    Err(_) => refused(&self.listener.metrics.downstream_pre_cx_timeout),
                }
            }
        }
    }

    fn http1<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        self,
        stream: S,
        replay: Replay,
        info: ConnectionInfo,
    ) -> Serving {
        let limit = self.chain.http.limits.max_headers_bytes as usize;
        let (connection, state) = self.connection(info);
        let io = DownstreamIo::new(stream, replay, Some(HeadGuard::new(limit)), state);
        Box::pin(http::serve_http1(connection, io))
    }

    fn http2<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        self,
        stream: S,
        replay: Replay,
        info: ConnectionInfo,
    ) -> Serving {
        let (connection, state) = self.connection(info);
        Box::pin(http::serve_http2(connection, DownstreamIo::new(stream, replay, None, state)))
    }

    fn connection(self, info: ConnectionInfo) -> (Rc<Connection>, Arc<StreamState>) {
        let state = StreamState::new();
        let settings = self.worker.http_settings(&self.chain.http);
        (
            Connection::new(info, self.worker, self.listener, (self.config, settings), Arc::clone(&state)),
            state,
        )
    }
}
