// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! One open listener as one worker sees it.

use crate::metrics::ListenerMetrics;
use crate::options::ConnectionLimits;
use crate::sources::Sources;
use crate::tls::TlsConfigs;
use gateway_config::Listener;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Waker};
use tokio::net::TcpListener;

/// What all workers share about one open listener.
#[derive(Debug)]
pub(crate) struct SharedListener {
    pub(crate) name: Arc<str>,
    pub(crate) address: SocketAddr,
    pub(crate) sources: Arc<Sources>,
    connections: AtomicUsize,
    limit: usize,
}

impl SharedListener {
    pub(crate) fn new(name: &str, address: SocketAddr, limits: ConnectionLimits) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            address,
            sources: Sources::new(limits.source),
            connections: AtomicUsize::new(0),
            limit: limits.listener,
        })
    }

    /// The listener in names of numbers.
    pub(crate) fn metrics_label(&self) -> String {
        self.address.to_string().replace(':', "_")
    }

    /// Connections open now, or sessions.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Counts a connection; none above the limit.
    pub(crate) fn admit(self: &Arc<Self>) -> Option<Admission> {
        if self.connections.fetch_add(1, Ordering::Relaxed) < self.limit {
            return Some(Admission(Arc::clone(self)));
        }
        self.connections.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

/// Counts one connection until it is dropped.
#[derive(Debug)]
pub(crate) struct Admission(Arc<SharedListener>);

impl Drop for Admission {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Where a listener is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// New connections and requests are welcome.
    Open,
    /// Connections end with their current request; new ones are still taken.
    Draining,
    /// The same, and no connection is taken.
    Refusing,
    /// What is left is cut.
    Closed,
}

/// A listener on one worker.
#[derive(Debug)]
pub(crate) struct ListenerState {
    pub(crate) shared: Arc<SharedListener>,
    pub(crate) metrics: Arc<ListenerMetrics>,
    pub(crate) tls: TlsConfigs,
    config: RefCell<Arc<Listener>>,
    phase: Cell<Phase>,
    /// Those that take connections.
    sockets: RefCell<Vec<Weak<TcpListener>>>,
    handed_over: Cell<bool>,
    wakers: RefCell<HashMap<u64, Waker>>,
    next_waker: Cell<u64>,
}

impl ListenerState {
    pub(crate) fn new(
        shared: Arc<SharedListener>,
        config: Arc<Listener>,
        metrics: Arc<ListenerMetrics>,
    ) -> Rc<Self> {
        Rc::new(Self {
            shared,
            metrics,
            tls: TlsConfigs::default(),
            config: RefCell::new(config),
            phase: Cell::new(Phase::Open),
            sockets: RefCell::default(),
            handed_over: Cell::new(false),
            wakers: RefCell::default(),
            next_waker: Cell::new(0),
        })
    }

    /// The configuration now.
    pub(crate) fn config(&self) -> Arc<Listener> {
        Arc::clone(&self.config.borrow())
    }

    /// The configuration now, where it is not `known`; a request pays for no shared counter otherwise.
    pub(crate) fn changed_from(&self, known: &Arc<Listener>) -> Option<Arc<Listener>> {
        let config = self.config.borrow();
        (!Arc::ptr_eq(&config, known)).then(|| Arc::clone(&config))
    }

    /// Whether it takes datagrams, rather than connections.
    pub(crate) fn takes_datagrams(&self) -> bool {
        self.config.borrow().udp.is_some()
    }

    /// Serves by another configuration from now on; connections stay.
    pub(crate) fn swap(&self, config: Arc<Listener>) {
        self.config.replace(config);
        self.tls.clear();
    }

    /// Notes a socket that takes connections.
    pub(crate) fn add_socket(&self, socket: &Rc<TcpListener>) {
        self.sockets.borrow_mut().push(Rc::downgrade(socket));
    }

    /// The sockets that take connections, once more; one that can not be had twice is left out.
    pub(crate) fn duplicates(&self) -> Vec<std::net::TcpListener> {
        let sockets = self.sockets.borrow();
        let open = sockets.iter().filter_map(Weak::upgrade);
        open.filter_map(|socket| Some(socket.as_fd().try_clone_to_owned().ok()?.into())).collect()
    }

    /// Another process has the sockets: what waits in them is its.
    pub(crate) fn hand_over(&self) {
        self.handed_over.set(true);
        if self.takes_datagrams() {
            // The other one has sockets of its own: as long as these are open, some clients' datagrams come here.
            self.advance(Phase::Closed);
        }
        self.wake();
    }

    /// Whether another process has the sockets.
    pub(crate) fn is_handed_over(&self) -> bool {
        self.handed_over.get()
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.phase.get() >= Phase::Draining
    }

    /// Goes on to a later phase and wakes everyone who has to know.
    pub(crate) fn advance(&self, phase: Phase) {
        if phase <= self.phase.get() {
            return;
        }
        self.phase.set(phase);
        self.wake();
    }

    /// Wakes everyone who has to know that something is another way now.
    pub(crate) fn wake(&self) {
        self.wakers.borrow().values().for_each(Waker::wake_by_ref);
    }

    /// Returns once the phase is at least `phase`.
    pub(crate) async fn reached(self: Rc<Self>, phase: Phase) {
        let mut watch = self.watch();
        poll_fn(|context| {
            watch.register(context.waker());
            if self.phase.get() >= phase { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// A place among those who are woken when the phase changes.
    pub(crate) fn watch(self: &Rc<Self>) -> Watch {
        let id = self.next_waker.get();
        self.next_waker.set(id.wrapping_add(1));
        Watch { listener: Rc::clone(self), id, waker: None }
    }
}

/// A place among those who are woken when the phase changes.
#[derive(Debug)]
pub(crate) struct Watch {
    listener: Rc<ListenerState>,
    id: u64,
    waker: Option<Waker>,
}

impl Watch {
    /// Keeps the waker; free where it is the one of before.
    pub(crate) fn register(&mut self, waker: &Waker) {
        if !self.waker.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
            self.waker = Some(waker.clone());
            self.listener.wakers.borrow_mut().insert(self.id, waker.clone());
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.listener.wakers.borrow_mut().remove(&self.id);
    }
}
