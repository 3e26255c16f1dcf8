// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! From a new connection to its protocol: limit, PROXY protocol, filter chain, TLS, HTTP/1.1, HTTP/2 or plain bytes.

use crate::access_rules::Facts;
use crate::cipher::cipher_name;
use crate::client_stream::ClientStream;
use crate::connection::{Connection, facts};
use crate::downstream_io::{DownstreamIo, Replay, StreamState};
use crate::gates;
use crate::head_guard::{HeadGuard, Refusal};
use crate::http;
use crate::listener::{Admission, ListenerState, Phase};
use crate::metrics::Number;
use crate::overload::Pressure;
use crate::peer;
use crate::preface;
use crate::proxy_protocol::{self, Refused};
use crate::sockets;
use crate::sources::SourceAdmission;
use crate::tcp;
use crate::tls_hello::{self, Hello};
use crate::worker::Worker;
use gateway_config::{ChainFacts, Codec, FilterChain, HttpConnectionManager, Listener, NetworkFilter};
use gateway_filter_api::{ConnectionInfo, TlsInfo};
use rustls::server::Acceptor;
use rustls::{ProtocolVersion, ServerConnection};
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::LazyConfigAcceptor;

/// What serves a connection once its protocol is known. Boxed: what came before leaves no room behind in the connection's task.
type Serving = Pin<Box<dyn Future<Output = ()>>>;

/// How long handshakes that have begun may take before a socket closes; what is left then is reset.
const HANDSHAKES: Duration = Duration::from_millis(200);

/// How long accepting rests when the process has no descriptors left.
const REST: Duration = Duration::from_millis(20);

/// Takes connections until the listener stops; then takes what the kernel had completed already, so that nobody is reset, unless another
/// process takes it.
pub(crate) async fn accept(worker: Rc<Worker>, listener: Rc<ListenerState>, socket: Rc<TcpListener>) {
    let mut watch = listener.watch();
    let mut last = None;
    loop {
        let next = poll_fn(|context| {
            watch.register(context.waker());
            if listener.is_handed_over() {
                return Poll::Ready(None);
            }
            match socket.poll_accept(context) {
                Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
                Poll::Pending if listener.phase() >= Phase::Refusing => {
                    let last = last.get_or_insert_with(|| {
                        sockets::begin_no_handshake(&socket);
                        Box::pin(sleep(HANDSHAKES))
                    });
                    last.as_mut().poll(context).map(|()| None)
                }
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
                if !listener.is_handed_over() {
                    take_rest(&worker, &listener, socket);
                }
                worker.shared().accepting.fetch_sub(1, Ordering::Release);
                return;
            }
        }
    }
}

/// Takes what waits in the kernel, and lets go of the socket. The runtime learns of a connection later than the kernel does: here the
/// kernel itself is asked.
fn take_rest(worker: &Rc<Worker>, listener: &Rc<ListenerState>, socket: Rc<TcpListener>) {
    // Nobody else keeps it.
    let Some(Ok(socket)) = Rc::into_inner(socket).map(TcpListener::into_std) else { return };
    loop {
        match socket.accept() {
            Ok((stream, peer)) => {
                let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
                if let Ok(stream) = stream {
                    begin(worker, listener, stream, peer);
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(_) => return,
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
struct Open {
    worker: Rc<Worker>,
    listener: Rc<ListenerState>,
    opened: Instant,
    /// Where it comes from; unknown until the PROXY protocol header is there.
    source: RefCell<Option<SourceAdmission>>,
}

impl Open {
    fn new(worker: &Rc<Worker>, listener: &Rc<ListenerState>) -> Self {
        count(worker).fetch_add(1, Ordering::Relaxed);
        listener.metrics.downstream_cx_active.increment();
        Self {
            worker: Rc::clone(worker),
            listener: Rc::clone(listener),
            opened: Instant::now(),
            source: RefCell::default(),
        }
    }

    /// Counts the connection among those of its source; false where that has too many.
    fn count_source(&self, address: IpAddr) -> bool {
        let admission = self.listener.shared.sources.admit(address);
        let admitted = admission.is_some();
        if !admitted {
            self.listener.metrics.source_overflow.increment();
        }
        self.source.replace(admission);
        admitted
    }
}

fn count(worker: &Worker) -> &AtomicUsize {
    &worker.shared().connections
}

impl Drop for Open {
    fn drop(&mut self) {
        count(&self.worker).fetch_sub(1, Ordering::Relaxed);
        let metrics = &self.listener.metrics;
        metrics.downstream_cx_active.decrement();
        metrics.downstream_cx_destroy.increment();
        metrics.connection_length.observe(self.opened.elapsed());
    }
}

fn begin(worker: &Rc<Worker>, listener: &Rc<ListenerState>, stream: TcpStream, peer: SocketAddr) {
    listener.metrics.downstream_cx_total.increment();
    let metrics = &listener.metrics;
    if worker.pressure() == Pressure::NoConnections {
        return metrics.downstream_cx_overload_reject.increment();
    }
    if count(worker).load(Ordering::Relaxed) >= worker.shared().options.connections.process {
        return metrics.downstream_global_cx_overflow.increment();
    }
    let Some(admission) = listener.shared.admit() else {
        return metrics.downstream_cx_overflow.increment();
    };
    let open = Rc::new(Open::new(worker, listener));
    let config = listener.config();
    if config.proxy_protocol.is_none() && !open.count_source(peer.ip()) {
        return;
    }
    let (worker, listener) = (Rc::clone(worker), Rc::clone(listener));
    spawn_local(async move {
        let _counted: (Admission, Rc<Open>) = (admission, Rc::clone(&open));
        // A connection that is gone already has no address.
        let Ok(local) = stream.local_addr() else { return };
        // Without it small answers wait for acknowledgements; nothing breaks where it can not be set.
        drop(stream.set_nodelay(true));
        let id = worker.shared().next_connection.fetch_add(1, Ordering::Relaxed);
        let info = ConnectionInfo {
            id,
            remote: peer,
            direct_remote: peer,
            local,
            listener: Arc::clone(&listener.shared.name),
            tls: None,
        };
        let arrival = Arrival { config, worker, listener, open, info };
        // A statement of its own: in the condition, the future would be kept as long as the connection.
        let serving = Box::pin(arrival.until_served(ClientStream::new(stream))).await;
        if let Some(serving) = serving {
            serving.await;
        }
    });
}

/// A connection whose handling is not chosen yet.
struct Arrival {
    worker: Rc<Worker>,
    listener: Rc<ListenerState>,
    config: Arc<Listener>,
    open: Rc<Open>,
    info: ConnectionInfo,
}

impl Arrival {
    /// Everything up to the protocol; none where the connection is not to be served.
    async fn until_served(mut self, mut stream: ClientStream) -> Option<Serving> {
        let limit = self.config.filters_timeout.unwrap_or(self.worker.limits().handshake);
        if let Some(settings) = self.config.proxy_protocol {
            match timeout(limit, proxy_protocol::read(&mut stream, settings)).await {
                Ok(Ok(header)) => {
                    if let Some((client, destination)) = header.and_then(|header| header.addresses) {
                        (self.info.remote, self.info.local) = (client, destination);
                    }
                    if !self.open.count_source(self.info.remote.ip()) {
                        return None;
                    }
                }
                Ok(Err(Refused::Header)) => return refused(&self.listener.metrics.proxy_proto_invalid),
                Ok(Err(Refused::Io)) => return None,
                Err(_) => return refused(&self.listener.metrics.downstream_pre_cx_timeout),
            }
        }
        if self.config.chains.all_use_tls() {
            return self.serve_tls(stream, None).await;
        }
        let hello = if self.config.tls_inspector || self.config.chains.reads_hello() {
            match timeout(limit, tls_hello::look(&mut stream)).await {
                Ok(Ok(hello)) => hello,
                Ok(Err(_)) => return None,
                Err(_) => return refused(&self.listener.metrics.downstream_pre_cx_timeout),
            }
        } else {
            None
        };
        let chain = self.choose(hello.as_ref());
        let Some(chain) = chain else { return refused(&self.listener.metrics.no_filter_chain_match) };
        if chain.tls.is_some() {
            return self.serve_tls(stream, Some(chain)).await;
        }
        let server_name = hello.and_then(|hello| hello.server_name);
        self.place(chain).serve((stream, server_name), None).await
    }

    fn choose(&self, hello: Option<&Hello>) -> Option<Arc<FilterChain>> {
        let facts = ChainFacts {
            server_name: hello.and_then(|hello| hello.server_name.as_deref()),
            tls: hello.is_some(),
            application_protocols: hello.map_or(&[], |hello| &hello.application_protocols),
            ..facts(&self.info)
        };
        self.config.chains.select(&facts).cloned()
    }

    /// Ends TLS here; the chain is chosen by the hello where it is not yet.
    async fn serve_tls(mut self, stream: ClientStream, chosen: Option<Arc<FilterChain>>) -> Option<Serving> {
        let (listener, worker) = (Rc::clone(&self.listener), Rc::clone(&self.worker));
        let limit = self.config.filters_timeout.unwrap_or(worker.limits().handshake);
        let mut hello = pin!(timeout(limit, LazyConfigAcceptor::new(Acceptor::default(), stream)));
        let started = match hello.as_mut().await {
            Ok(Ok(started)) => started,
            Ok(Err(_)) => return refused(&listener.metrics.ssl_connection_error),
            Err(_) => return refused(&listener.metrics.downstream_pre_cx_timeout),
        };
        let hello = Hello::of(&started.client_hello());
        let chain = chosen.or_else(|| self.choose(Some(&hello)));
        let Some((chain, tls)) = chain.as_ref().and_then(|chain| Some((chain, chain.tls.as_ref()?))) else {
            // Closed without an alert, as Envoy does: nothing is told about names.
            return refused(&listener.metrics.no_filter_chain_match);
        };
        let name = &self.config.name;
        let made = listener.tls.config(name, chain, tls, &worker.snapshot(), &worker.shared().tickets);
        let tls_config = match made {
            Ok(tls_config) => tls_config,
            Err(error) => {
                tracing::warn!(listener = %name, chain = %chain.name, error = &error as &dyn std::error::Error, "no tls for the connection");
                return refused(&listener.metrics.ssl_connection_error);
            }
        };
        let limit = chain.handshake_timeout.unwrap_or(limit);
        let stream = match timeout(limit, started.into_stream(tls_config)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                listener.metrics.count_verification(&error);
                return refused(&listener.metrics.ssl_connection_error);
            }
            Err(_) => return refused(&listener.metrics.downstream_pre_cx_timeout),
        };
        let session = stream.get_ref().1;
        listener.metrics.count_handshake(session);
        self.info.tls = Some(tls_info(session, hello));
        let alpn = session.alpn_protocol().map(|protocol| protocol == b"h2");
        let chain = Arc::clone(chain);
        let server_name = self.info.tls.as_ref().and_then(|tls| tls.server_name.clone());
        self.place(chain).serve((stream, server_name), alpn).await
    }

    fn place(self, chain: Arc<FilterChain>) -> Place {
        Place { arrival: self, chain }
    }
}

fn tls_info(session: &ServerConnection, hello: Hello) -> TlsInfo {
    let certificate = session.peer_certificates().and_then(<[_]>::first).map(AsRef::as_ref);
    TlsInfo {
        server_name: hello.server_name,
        offered: hello.application_protocols,
        version: if session.protocol_version() == Some(ProtocolVersion::TLSv1_2) {
            "TLSv1.2"
        } else {
            "TLSv1.3"
        },
        cipher: session.negotiated_cipher_suite().map_or("", |suite| cipher_name(suite.suite())),
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
    arrival: Arrival,
    chain: Arc<FilterChain>,
}

impl Place {
    /// Serves a stream, where the chain's filters let it through.
    async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        self,
        (stream, server_name): (S, Option<Arc<str>>),
        http2: Option<bool>,
    ) -> Option<Serving> {
        if self.chain.gates.is_empty() {
            return self.handle(stream, http2).await;
        }
        let seats = {
            let info = &self.arrival.info;
            let facts = Facts {
                connection: info,
                client: info.remote.ip(),
                server_name: server_name.as_deref(),
                request: None,
            };
            gates::pass(&self.chain.gates, facts, self.arrival.worker.metrics()).await.ok()?
        };
        let serving = self.handle(stream, http2).await?;
        Some(Box::pin(async move {
            let _seats = seats;
            serving.await;
        }))
    }

    /// Handles the bytes; `http2` says what ALPN chose, where it chose something.
    async fn handle<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        self,
        stream: S,
        http2: Option<bool>,
    ) -> Option<Serving> {
        let http = match &self.chain.network {
            NetworkFilter::Http(http) => Arc::clone(http),
            NetworkFilter::Tcp(proxy) => {
                let Arrival { worker, listener, info, .. } = self.arrival;
                return Some(Box::pin(tcp::serve(worker, listener, Arc::clone(proxy), stream, info)));
            }
        };
        match http2 {
            Some(true) => self.expect_http2(&http, stream).await,
            Some(false) => Some(self.http1(&http, stream, Replay::default())),
            None => self.detect(&http, stream).await,
        }
    }

    /// Tells the protocol by the first bytes where the settings leave it open.
    async fn detect<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        self,
        http: &Arc<HttpConnectionManager>,
        mut stream: S,
    ) -> Option<Serving> {
        match http.codec {
            Codec::Http1 => Some(self.http1(http, stream, Replay::default())),
            Codec::Http2 => self.expect_http2(http, stream).await,
            Codec::Auto => {
                let limit = self.first_bytes(http);
                match timeout(limit, preface::detect(&mut stream)).await {
                    Ok(Ok((true, replay))) => Some(self.http2(http, stream, replay)),
                    Ok(Ok((false, replay))) => Some(self.http1(http, stream, replay)),
                    Ok(Err(_)) => None,
                    Err(_) => refused(&self.arrival.listener.metrics.downstream_pre_cx_timeout),
                }
            }
        }
    }

    /// How long the protocol may stay unknown.
    fn first_bytes(&self, http: &HttpConnectionManager) -> Duration {
        http.timeouts.request_headers.unwrap_or(self.arrival.worker.limits().request_headers)
    }

    /// HTTP/2 and nothing else: other bytes are never answered.
    async fn expect_http2<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        self,
        http: &Arc<HttpConnectionManager>,
        mut stream: S,
    ) -> Option<Serving> {
        let limit = self.first_bytes(http);
        match timeout(limit, preface::detect(&mut stream)).await {
            Ok(Ok((true, replay))) => Some(self.http2(http, stream, replay)),
            Ok(Ok((false, _))) => {
                let metrics = self.arrival.worker.http_settings(http).metrics.clone();
                metrics.count_refusal(Refusal::Http2Protocol);
                metrics.downstream_cx_protocol_error.increment();
                preface::part(stream).await;
                None
            }
            Ok(Err(_)) => None,
            Err(_) => refused(&self.arrival.listener.metrics.downstream_pre_cx_timeout),
        }
    }

    fn http1<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        self,
        http: &Arc<HttpConnectionManager>,
        stream: S,
        replay: Replay,
    ) -> Serving {
        let limit = http.limits.max_headers_bytes as usize;
        let (connection, state) = self.connection(http);
        let io = DownstreamIo::new(stream, replay, Some(HeadGuard::new(limit)), state);
        Box::pin(http::serve_http1(connection, io))
    }

    fn http2<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        self,
        http: &Arc<HttpConnectionManager>,
        stream: S,
        replay: Replay,
    ) -> Serving {
        let (connection, state) = self.connection(http);
        Box::pin(http::serve_http2(
            connection,
            DownstreamIo::new(stream, replay, None, state).guarding_frames(),
        ))
    }

    fn connection(self, http: &Arc<HttpConnectionManager>) -> (Rc<Connection>, Arc<StreamState>) {
        let state = StreamState::new();
        let Arrival { worker, listener, config, info, .. } = self.arrival;
        let settings = worker.http_settings(http);
        (Connection::new(info, worker, listener, (config, settings), Arc::clone(&state)), state)
    }
}
