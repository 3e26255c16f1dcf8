// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The connections of one worker to one endpoint: idle HTTP/1.1 ones, shared HTTP/2 ones, and requests that wait for either.

use crate::RequestBody;
use crate::clock;
use crate::connect::{ConnectSettings, Established, Target, connect};
use crate::error::ConnectError;
use crate::host::HostState;
use crate::lease::{Lease, Link};
use crate::pool_key::PoolKey;
use crate::registry::ClusterState;
use crate::stream::ConnectionCount;
use gateway_config::{ClusterLimits, RoutingPriority, UpstreamProtocol};
use hyper::client::conn::{http1, http2};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Streams at a time on an HTTP/2 connection where neither settings nor peer say less (Envoy's default).
const MAX_STREAMS: u32 = 1024;
/// Connections that one pool opens at the same time.
const MAX_CONNECTING: usize = 64;

/// The connections of one worker to one endpoint.
pub(crate) struct HostPool<B: RequestBody> {
    pub(crate) state: Arc<ClusterState>,
    host: Arc<HostState>,
    hostname: Option<Box<str>>,
    connect_proxy: Option<SocketAddr>,
    pub(crate) settings: Rc<ConnectSettings>,
    limits: Rc<Cell<ClusterLimits>>,
    pub(crate) key: PoolKey,
    http2: bool,
    /// Where ALPN decides: what it chose last.
    negotiated: Cell<Option<bool>>,
    inner: RefCell<Inner<B>>,
}

struct Inner<B: RequestBody> {
    /// The most recently used last.
    idle: Vec<Http1Connection<B>>,
    shared: Vec<Rc<Http2Connection<B>>>,
    waiters: VecDeque<oneshot::Sender<Result<Lease<B>, ConnectError>>>,
    connecting: usize,
    open: usize,
    draining: bool,
}

/// An HTTP/1.1 connection between requests.
pub(crate) struct Http1Connection<B> {
    pub(crate) sender: http1::SendRequest<B>,
    pub(crate) opened: Instant,
    pub(crate) requests: u32,
    pub(crate) idle_since: Instant,
}

/// An HTTP/2 connection.
pub(crate) struct Http2Connection<B> {
    pub(crate) sender: http2::SendRequest<B>,
    /// Streams at a time that the peer allows.
    allowed: Rc<Cell<usize>>,
    pub(crate) streams: Cell<u32>,
    pub(crate) requests: Cell<u32>,
    opened: Instant,
    idle_since: Cell<Instant>,
}

/// Where a pool connects to.
pub(crate) struct PoolTarget {
    pub(crate) state: Arc<ClusterState>,
    pub(crate) host: Arc<HostState>,
    pub(crate) hostname: Option<Box<str>>,
    pub(crate) connect_proxy: Option<SocketAddr>,
    pub(crate) settings: Rc<ConnectSettings>,
    pub(crate) limits: Rc<Cell<ClusterLimits>>,
    pub(crate) key: PoolKey,
    pub(crate) http2: bool,
}

impl<B: RequestBody> HostPool<B> {
    pub(crate) fn new(target: PoolTarget) -> Self {
        let PoolTarget { state, host, hostname, connect_proxy, settings, limits, key, http2 } = target;
        let inner = Inner {
            idle: Vec::new(),
            shared: Vec::new(),
            waiters: VecDeque::new(),
            connecting: 0,
            open: 0,
            draining: false,
        };
        Self {
            state,
            host,
            hostname,
            connect_proxy,
            settings,
            limits,
            key,
            http2,
            negotiated: Cell::new(None),
            inner: RefCell::new(inner),
        }
    }

    /// A connection for one request: one that is there, else the first that comes free or comes up.
    pub(crate) async fn checkout(self: &Rc<Self>) -> Result<Lease<B>, ConnectError> {
        if let Some(lease) = self.available() {
            return Ok(lease);
        }
        let metrics = &self.state.metrics;
        let priority = self.key.priority;
        if !self.state.pending().take(priority, self.limits.get().of(priority).max_pending_requests) {
            metrics.upstream_rq_pending_overflow.add(1);
            return Err(ConnectError::Overflow);
        }
        let _pending = Pending::begin(&self.state, &self.host, priority);
        metrics.upstream_rq_pending_total.add(1);
        let (sender, receiver) = oneshot::channel();
        self.inner.borrow_mut().waiters.push_back(sender);
        self.connect_more();
        let result = receiver.await.unwrap_or(Err(ConnectError::Closed));
        if result.is_err() {
            metrics.upstream_rq_pending_failure_eject.add(1);
        }
        result
    }

    /// A connection that can take a request now.
    fn available(self: &Rc<Self>) -> Option<Lease<B>> {
        let now = clock::now();
        let mut inner = self.inner.borrow_mut();
        while let Some(connection) = inner.idle.pop() {
            if self.usable(&connection, now) {
                return Some(Lease::new(self, Link::Http1(connection), true));
            }
        }
        inner.shared.retain(|connection| !connection.sender.is_closed());
        let found = inner.shared.iter().find(|c| self.has_room(c, now))?;
        Some(Lease::new(self, Link::Http2(Rc::clone(found)), true))
    }

    fn usable(&self, connection: &Http1Connection<B>, now: Instant) -> bool {
        let settings = &self.settings.connection;
        connection.sender.is_ready()
            && settings.idle_timeout.is_none_or(|limit| now.duration_since(connection.idle_since) < limit)
            && settings.max_duration.is_none_or(|limit| now.duration_since(connection.opened) < limit)
            && settings.max_requests.is_none_or(|limit| connection.requests < limit)
    }

    fn has_room(&self, connection: &Http2Connection<B>, now: Instant) -> bool {
        let settings = &self.settings.connection;
        let own = settings.max_concurrent_streams.unwrap_or(MAX_STREAMS).max(1);
        let room = usize::try_from(own).unwrap_or(usize::MAX).min(connection.allowed.get());
        (connection.streams.get() as usize) < room
            && settings.max_duration.is_none_or(|limit| now.duration_since(connection.opened) < limit)
            && settings.max_requests.is_none_or(|limit| connection.requests.get() < limit)
    }

    /// Opens connections while requests wait that none of those being opened will serve.
    fn connect_more(self: &Rc<Self>) {
        loop {
            let only = {
                let mut inner = self.inner.borrow_mut();
                inner.waiters.retain(|waiter| !waiter.is_closed());
                // One HTTP/2 connection serves many: another one only when that one is up and full.
                let wanted = inner.waiters.len().min(if self.multiplexes() { 1 } else { MAX_CONNECTING });
                if inner.connecting >= wanted {
                    return;
                }
                inner.open + inner.connecting == 0
            };
            let limits = self.limits.get();
            let count = ConnectionCount::open(&self.state, &self.host, &limits, self.key.priority, only);
            let Some(count) = count else { return };
            self.inner.borrow_mut().connecting += 1;
            let pool = Rc::clone(self);
            tokio::task::spawn_local(async move { pool.open(count).await });
        }
    }

    /// Whether one connection is expected to serve many requests.
    fn multiplexes(&self) -> bool {
        self.http2
            || (self.settings.protocol == UpstreamProtocol::Auto && self.negotiated.get() != Some(false))
    }

    /// How to connect to the endpoint.
    pub(crate) fn target(&self) -> Target {
        Target {
            address: self.host.address().clone(),
            hostname: self.hostname.clone(),
            connect_proxy: self.connect_proxy,
            settings: Rc::clone(&self.settings),
            state: Arc::clone(&self.state),
            key: self.key.clone(),
            http2: self.http2,
        }
    }

    async fn open(self: Rc<Self>, count: ConnectionCount) {
        let target = self.target();
        let pool = Rc::clone(&self);
        let result = connect(&target, count, move || pool.connection_closed()).await;
        self.inner.borrow_mut().connecting -= 1;
        match result {
            Ok(established) => {
                self.inner.borrow_mut().open += 1;
                self.established(established);
            }
            Err(error) => {
                self.host.numbers.cx_connect_fail.add(1);
                self.fail_waiters(&error);
            }
        }
        self.connect_more();
    }

    fn established(self: &Rc<Self>, established: Established<B>) {
        let now = Instant::now();
        self.negotiated.set(Some(matches!(established, Established::Http2(..))));
        match established {
            Established::Http1(sender) => {
                self.hand_out(Http1Connection { sender, opened: now, requests: 0, idle_since: now }, false)
            }
            Established::Http2(sender, allowed) => {
                let connection = Http2Connection {
                    sender,
                    allowed,
                    streams: Cell::new(0),
                    requests: Cell::new(0),
                    opened: now,
                    idle_since: Cell::new(now),
                };
                let connection = Rc::new(connection);
                if !self.inner.borrow().draining {
                    self.inner.borrow_mut().shared.push(Rc::clone(&connection));
                }
                self.serve_waiters(&connection);
            }
        }
    }

    /// A failure is told to all that wait: each retries elsewhere by its own policy rather than queue up behind a dead host.
    fn fail_waiters(&self, error: &ConnectError) {
        let waiters = {
            let mut inner = self.inner.borrow_mut();
            // Connections on their way still serve one request each.
            let keep = inner.connecting.min(inner.waiters.len());
            inner.waiters.split_off(keep)
        };
        for waiter in waiters {
            let _ = waiter.send(Err(error.clone()));
        }
    }

    fn connection_closed(self: &Rc<Self>) {
        {
            let mut inner = self.inner.borrow_mut();
            inner.open = inner.open.saturating_sub(1);
            inner.idle.retain(|connection| !connection.sender.is_closed());
            inner.shared.retain(|connection| !connection.sender.is_closed());
        }
        self.connect_more();
    }

    /// A connection came free: the first request that waits gets it, else it is kept.
    pub(crate) fn give_back(self: &Rc<Self>, mut connection: Http1Connection<B>) {
        connection.idle_since = clock::now();
        if self.usable(&connection, connection.idle_since) {
            self.hand_out(connection, true);
        }
    }

    fn hand_out(self: &Rc<Self>, connection: Http1Connection<B>, reused: bool) {
        let mut lease = Lease::new(self, Link::Http1(connection), reused);
        loop {
            let waiter = self.inner.borrow_mut().waiters.pop_front();
            let Some(waiter) = waiter else { break };
            match waiter.send(Ok(lease)) {
                Ok(()) => return,
                Err(Ok(unused)) => lease = unused,
                Err(Err(_)) => return,
            }
        }
        let connection = lease.into_unused();
        let mut inner = self.inner.borrow_mut();
        if let Some(connection) = connection.filter(|_| !inner.draining) {
            inner.idle.push(connection);
        }
    }

    /// A stream ended, or a connection came up: requests that wait get what room there is.
    pub(crate) fn serve_waiters(self: &Rc<Self>, connection: &Rc<Http2Connection<B>>) {
        let now = clock::now();
        connection.idle_since.set(now);
        while !connection.sender.is_closed() && self.has_room(connection, now) {
            let waiter = self.inner.borrow_mut().waiters.pop_front();
            let Some(waiter) = waiter else { return };
            let reused = connection.requests.get() > 0;
            if let Err(Ok(unused)) =
                waiter.send(Ok(Lease::new(self, Link::Http2(Rc::clone(connection)), reused)))
            {
                // Not dropped: that would come back here, once for each request that went away.
                let _ = unused.into_unused();
            }
        }
        self.connect_more();
    }

    /// Closes what is idle for too long.
    pub(crate) fn sweep(&self, now: Instant) {
        let mut inner = self.inner.borrow_mut();
        inner.idle.retain(|connection| self.usable(connection, now));
        let limit = self.settings.connection.idle_timeout;
        inner.shared.retain(|c| {
            let idle = c.streams.get() == 0
                && limit.is_some_and(|limit| now.duration_since(c.idle_since.get()) >= limit);
            !c.sender.is_closed() && !idle
        });
    }

    /// Whether it has nothing to do and nothing to keep.
    pub(crate) fn is_unused(&self) -> bool {
        let inner = self.inner.borrow();
        inner.open + inner.connecting == 0 && inner.waiters.is_empty()
    }

    /// No more requests: idle connections close, the others when their requests end; requests that wait still get their connection.
    pub(crate) fn drain(&self) {
        let mut inner = self.inner.borrow_mut();
        inner.draining = true;
        inner.idle.clear();
        inner.shared.clear();
    }
}

/// Counts a request that waits for a connection.
struct Pending<'a>(&'a ClusterState, &'a HostState, RoutingPriority);

impl<'a> Pending<'a> {
    fn begin(cluster: &'a ClusterState, host: &'a HostState, priority: RoutingPriority) -> Self {
        host.numbers.rq_pending_active.add(1);
        Self(cluster, host, priority)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.pending().release(self.2);
        self.1.numbers.rq_pending_active.sub(1);
    }
}
