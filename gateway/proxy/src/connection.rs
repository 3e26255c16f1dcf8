// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! One client connection as its requests see it.

use crate::downstream_io::StreamState;
use crate::head_guard::Refusal;
use crate::http_settings::HttpSettings;
use crate::listener::ListenerState;
use crate::overload::Pressure;
use crate::request_body::BodyLimits;
use crate::worker::{LocalSnapshot, Worker};
use gateway_config::{ChainFacts, FilterChain, Listener, LocalBuckets};
use gateway_filter_api::ConnectionInfo;
use gateway_upstream::clock;
use http::HeaderValue;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// From how many requests of a connection on given-up ones are judged, and how soon that is; Envoy's figures.
const GIVEN_UP_FROM: u32 = 500;
const GIVEN_UP_SOON: Duration = Duration::from_secs(1);

/// A connection after its TLS handshake.
#[derive(Debug)]
pub(crate) struct Connection {
    info: ConnectionInfo,
    remote_ip: HeaderValue,
    worker: Rc<Worker>,
    listener: Rc<ListenerState>,
    stream: Arc<StreamState>,
    /// The filter chain that serves it, and the listener's configuration that it was chosen from.
    chosen: RefCell<(Arc<Listener>, Rc<HttpSettings>)>,
    active: Cell<u32>,
    requests: Cell<u32>,
    last_active: Cell<Instant>,
    opened: Instant,
    aged: Cell<bool>,
    /// Buckets of limits that each connection has for itself, with those that they were made from.
    buckets: RefCell<Vec<[Arc<LocalBuckets>; 2]>>,
    /// Requests that the client gave up at once.
    given_up: Cell<u32>,
    /// What the connection became.
    tunnel: RefCell<Option<JoinHandle<()>>>,
}

/// What a request is served from, from its start to its end: configuration that comes in between does not touch it.
#[derive(Clone, Debug)]
pub(crate) struct Serving {
    pub(crate) snapshot: Rc<LocalSnapshot>,
    pub(crate) settings: Rc<HttpSettings>,
}

impl Connection {
    pub(crate) fn new(
        info: ConnectionInfo,
        worker: Rc<Worker>,
        listener: Rc<ListenerState>,
        chosen: (Arc<Listener>, Rc<HttpSettings>),
        stream: Arc<StreamState>,
    ) -> Rc<Self> {
        let metrics = &chosen.1.metrics;
        metrics.downstream_cx_total.increment();
        metrics.downstream_cx_active.increment();
        if info.tls.is_some() {
            metrics.downstream_cx_ssl_total.increment();
            metrics.downstream_cx_ssl_active.increment();
        }
        let opened = Instant::now();
        let remote_ip = HeaderValue::from_str(&info.remote.ip().to_canonical().to_string());
        Rc::new(Self {
            remote_ip: remote_ip.unwrap_or_else(|_| HeaderValue::from_static("-")),
            info,
            worker,
            listener,
            stream,
            chosen: RefCell::new(chosen),
            active: Cell::new(0),
            requests: Cell::new(0),
            last_active: Cell::new(opened),
            opened,
            aged: Cell::new(false),
            buckets: RefCell::default(),
            given_up: Cell::new(0),
            tunnel: RefCell::default(),
        })
    }

    /// Peer, address and TLS.
    pub(crate) fn info(&self) -> &ConnectionInfo {
        &self.info
    }

    /// The peer's address as a header's value.
    pub(crate) fn remote_ip(&self) -> &HeaderValue {
        &self.remote_ip
    }

    /// The port that the peer connected to.
    pub(crate) fn local_port(&self) -> u16 {
        self.info.local.port()
    }

    /// The worker that serves it.
    pub(crate) fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    /// The byte stream below.
    pub(crate) fn stream(&self) -> &Arc<StreamState> {
        &self.stream
    }

    /// The listener that it came by.
    pub(crate) fn listener(&self) -> &Rc<ListenerState> {
        &self.listener
    }

    /// The configuration for the next request: the newest, also on a connection that is older.
    pub(crate) fn serving(&self) -> Serving {
        let mut chosen = self.chosen.borrow_mut();
        if let Some(newest) = self.listener.changed_from(&chosen.0) {
            // A chain that is gone serves its connections to their end.
            let chain = newest.chains.select(&facts(&self.info)).filter(|chain| self.fits(chain));
            if let Some(http) = chain.and_then(|chain| chain.http()) {
                chosen.1 = self.worker.http_settings(http);
            }
            chosen.0 = newest;
        }
        Serving { snapshot: self.worker.snapshot(), settings: Rc::clone(&chosen.1) }
    }

    /// A chain that asks for other credentials than the handshake had must not take over its connections.
    fn fits(&self, chain: &FilterChain) -> bool {
        match (&chain.tls, &self.info.tls) {
            (None, None) => true,
            (Some(wanted), Some(had)) => !wanted.require_client_certificate || had.peer_certificate.is_some(),
            _ => false,
        }
    }

    /// The settings that served last.
    pub(crate) fn settings(&self) -> Rc<HttpSettings> {
        Rc::clone(&self.chosen.borrow().1)
    }

    /// No further request should come on this connection.
    pub(crate) fn is_ending(&self) -> bool {
        let limit = self.chosen.borrow().1.http.limits.max_requests_per_connection;
        self.listener.is_draining()
            || self.aged.get()
            || self.worker.pressure() >= Pressure::NoKeepAlive
            || limit.is_some_and(|limit| self.requests.get() >= limit)
    }

    /// A request begins.
    pub(crate) fn begin(&self) {
        self.active.set(self.active.get() + 1);
        self.requests.set(self.requests.get().saturating_add(1));
    }

    /// A request ended.
    pub(crate) fn end(&self) {
        self.active.set(self.active.get().saturating_sub(1));
        self.last_active.set(clock::now());
    }

    /// How long a request's head may take, and the first byte of a connection.
    pub(crate) fn head_limit(&self) -> Duration {
        self.chosen.borrow().1.head_limit(self.worker.limits())
    }

    /// How long a client may let an answer wait, or its own body.
    pub(crate) fn stalled(&self) -> Duration {
        self.chosen.borrow().1.stalled(self.worker.limits())
    }

    /// How long a request's body may take.
    pub(crate) fn body_limits(&self) -> BodyLimits {
        BodyLimits { stalled: self.stalled(), whole: self.chosen.borrow().1.http.timeouts.request }
    }

    /// The client gave a request up. Where it has done that so often right after asking, and with most of its requests, the connection
    /// ends: each has cost an upstream as much as one that is wanted (CVE-2023-44487).
    pub(crate) fn given_up(&self, after: Duration) {
        if after >= GIVEN_UP_SOON {
            return;
        }
        let count = self.given_up.get().saturating_add(1);
        self.given_up.set(count);
        if self.requests.get() >= GIVEN_UP_FROM && count > self.requests.get() / 2 {
            self.stream.refuse(Refusal::RapidReset);
        }
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> u32 {
        self.requests.get()
    }

    /// The connection's own buckets of a limit.
    pub(crate) fn own_buckets(&self, shared: &Arc<LocalBuckets>) -> Arc<LocalBuckets> {
        let mut all = self.buckets.borrow_mut();
        if let Some([_, own]) = all.iter().find(|[made_from, _]| Arc::ptr_eq(made_from, shared)) {
            return Arc::clone(own);
        }
        // What a configuration that is gone has left.
        all.retain(|[made_from, _]| Arc::strong_count(made_from) > 1);
        let own = Arc::new(shared.fresh());
        all.push([Arc::clone(shared), Arc::clone(&own)]);
        own
    }

    /// The connection is as old as it may become.
    pub(crate) fn age(&self) {
        self.aged.set(true);
    }

    /// The connection is a tunnel from here on.
    pub(crate) fn keep_tunnel(&self, task: JoinHandle<()>) {
        self.tunnel.replace(Some(task));
    }

    /// Returns once the tunnel has ended that the connection became, where it did: until then it counts as open.
    pub(crate) async fn tunnel_ended(&self) {
        let tunnel = self.tunnel.take();
        if let Some(tunnel) = tunnel {
            // A panic is logged by the task itself.
            drop(tunnel.await);
        }
    }

    /// Since when no request is being handled; none while one is.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        (self.active.get() == 0).then(|| self.last_active.get())
    }
}

/// What chains are chosen by.
pub(crate) fn facts(info: &ConnectionInfo) -> ChainFacts<'_> {
    ChainFacts {
        local: info.local,
        remote: info.remote,
        direct_remote: info.direct_remote,
        server_name: info.tls.as_ref().and_then(|tls| tls.server_name.as_deref()),
        tls: info.tls.is_some(),
        application_protocols: info.tls.as_ref().map_or(&[], |tls| &tls.offered),
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let metrics = &self.chosen.get_mut().1.metrics;
        metrics.downstream_cx_active.decrement();
        metrics.downstream_cx_destroy.increment();
        metrics.connection_length.observe(self.opened.elapsed());
        if self.info.tls.is_some() {
            metrics.downstream_cx_ssl_active.decrement();
        }
    }
}
