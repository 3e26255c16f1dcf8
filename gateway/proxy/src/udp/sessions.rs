// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The sessions of a listener on one worker: which datagram belongs to which, and how they begin and end.

use super::LARGEST;
use super::counters::Settings;
use super::session::{Admissions, Session};
use super::socket::ClientSocket;
use crate::listener::{ListenerState, Phase};
use crate::overload::Pressure;
use crate::request_body::RequestBody;
use crate::worker::Worker;
use gateway_config::{DatagramHash, EndpointAddress, Snapshot};
use gateway_upstream::{PickContext, Picked, Prospect, clock, hash_key};
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::{AbortHandle, spawn_local};

/// All sessions.
#[derive(Debug)]
pub(super) struct Sessions {
    pub(super) worker: Rc<Worker>,
    pub(super) listener: Rc<ListenerState>,
    pub(super) socket: Rc<ClientSocket>,
    settings: RefCell<Rc<Settings>>,
    table: RefCell<HashMap<Key, Entry>>,
    /// Where answers are read into, one at a time.
    pub(super) answer: RefCell<Box<[u8]>>,
}

/// What a session is known by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) client: SocketAddr,
    /// The address that the client sends to.
    pub(super) local: IpAddr,
    /// The endpoint, where each datagram has its own.
    host: Option<EndpointAddress>,
}

/// A session with the task that passes its answers back. Dropping it ends both.
#[derive(Debug)]
struct Entry {
    session: Rc<Session>,
    task: AbortHandle,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Sessions {
    pub(super) fn new(
        worker: Rc<Worker>,
        listener: Rc<ListenerState>,
        socket: Rc<ClientSocket>,
        settings: Rc<Settings>,
    ) -> Rc<Self> {
        Rc::new(Self {
            worker,
            listener,
            socket,
            settings: RefCell::new(settings),
            table: RefCell::default(),
            answer: RefCell::new(vec![0; LARGEST].into_boxed_slice()),
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.borrow().is_empty()
    }

    /// Counts an error of receiving.
    pub(super) fn count_error(&self) {
        self.settings.borrow().counters.receive_errors.increment();
    }

    /// Passes a client's datagram on; a session begins where there is none.
    pub(super) fn take(self: &Rc<Self>, client: SocketAddr, local: IpAddr, bytes: &[u8]) {
        let settings = Rc::clone(&self.settings.borrow());
        if bytes.len() > settings.proxy.max_received {
            return settings.counters.dropped.increment();
        }
        let snapshot = self.worker.snapshot();
        if snapshot.clusters.get(&settings.proxy.cluster).is_none() {
            return settings.counters.no_route.increment();
        }
        let key = Key { client, local, host: None };
        let session = if settings.proxy.per_datagram {
            self.of_picked(&settings, &snapshot, key)
        } else {
            self.of_client(&settings, &snapshot, key)
        };
        if let Some(session) = session {
            session.forward(bytes);
        }
    }

    /// The client's session. Where its host is unhealthy, it ends for another one's sake.
    fn of_client(
        self: &Rc<Self>,
        settings: &Rc<Settings>,
        snapshot: &Snapshot,
        key: Key,
    ) -> Option<Rc<Session>> {
        let known = self.table.borrow().get(&key).map(|entry| Rc::clone(&entry.session));
        let Some(known) = known else {
            let picked = self.pick(settings, snapshot, key.client)?;
            return self.begin(settings, key, &picked);
        };
        let upstreams = self.worker.upstreams();
        match known.socket.prospect(upstreams, snapshot) {
            Prospect::Usable => return Some(known),
            Prospect::Gone => {}
            Prospect::Unhealthy => {
                let better = self.pick(settings, snapshot, key.client).filter(|picked| {
                    picked.prospect() == Prospect::Usable && !Arc::ptr_eq(picked.host(), known.socket.host())
                });
                let Some(better) = better else { return Some(known) };
                self.end(&key, &known);
                return self.begin(settings, key, &better);
            }
        }
        self.end(&key, &known);
        let picked = self.pick(settings, snapshot, key.client)?;
        self.begin(settings, key, &picked)
    }

    /// The client's session with a host that is chosen now.
    fn of_picked(
        self: &Rc<Self>,
        settings: &Rc<Settings>,
        snapshot: &Snapshot,
        key: Key,
    ) -> Option<Rc<Session>> {
        let picked = self.pick(settings, snapshot, key.client)?;
        let key = Key { host: Some(picked.address().clone()), ..key };
        let known = self.table.borrow().get(&key).map(|entry| Rc::clone(&entry.session));
        known.or_else(|| self.begin(settings, key, &picked))
    }

    fn pick(
        &self,
        settings: &Settings,
        snapshot: &Snapshot,
        client: SocketAddr,
    ) -> Option<Picked<RequestBody>> {
        let hash = settings.proxy.hash.as_ref().map(|hash| match hash {
            DatagramHash::SourceIp => hash_key(client.ip().to_canonical().to_string().as_bytes()),
            DatagramHash::Key(key) => hash_key(key.as_bytes()),
        });
        let context = PickContext { hash, ..PickContext::default() };
        self.worker.upstreams().pick(snapshot, &settings.proxy.cluster, &context).ok()
    }

    /// Begins a session, where all limits let it.
    fn begin(
        self: &Rc<Self>,
        settings: &Rc<Settings>,
        key: Key,
        picked: &Picked<RequestBody>,
    ) -> Option<Rc<Session>> {
        if self.listener.phase() >= Phase::Refusing {
            return None;
        }
        let admissions = self.admit(key.client.ip())?;
        let opened = self.worker.upstreams().open_datagrams(picked);
        let socket = opened
            .inspect_err(|error| tracing::debug!(error = error as &dyn std::error::Error, "no session"))
            .ok()?;
        let session = Rc::new(Session::new(self, settings, &key, socket, admissions));
        let (sessions, served, known) = (Rc::clone(self), Rc::clone(&session), key.clone());
        let task = spawn_local(async move {
            served.serve(&sessions).await;
            sessions.end(&known, &served);
        });
        self.table
            .borrow_mut()
            .insert(key, Entry { session: Rc::clone(&session), task: task.abort_handle() });
        Some(session)
    }

    /// The limits that hold for connections hold for sessions.
    fn admit(&self, client: IpAddr) -> Option<Admissions> {
        let (shared, metrics) = (self.worker.shared(), &self.listener.metrics);
        if self.worker.pressure() == Pressure::NoConnections {
            metrics.downstream_cx_overload_reject.increment();
            return None;
        }
        if shared.connections.load(Ordering::Relaxed) >= shared.options.connections.process {
            metrics.downstream_global_cx_overflow.increment();
            return None;
        }
        let Some(listener) = self.listener.shared.admit() else {
            metrics.downstream_cx_overflow.increment();
            return None;
        };
        let Some(source) = self.listener.shared.sources.admit(client) else {
            metrics.source_overflow.increment();
            return None;
        };
        Some(Admissions::new(Rc::clone(&self.worker), listener, source))
    }

    /// Ends one session, where it is still there.
    fn end(&self, key: &Key, session: &Rc<Session>) {
        let mut table = self.table.borrow_mut();
        let gone = match table.get(key) {
            Some(entry) if Rc::ptr_eq(&entry.session, session) => table.remove(key),
            _ => None,
        };
        // What ends with the last hold on it must find the table free.
        drop(table);
        drop(gone);
    }

    fn end_all(&self, ends: impl Fn(&Session) -> bool) {
        let gone: Vec<_> = self.table.borrow_mut().extract_if(|_, entry| ends(&entry.session)).collect();
        drop(gone);
    }

    /// Serves by other settings from now on. Sessions go on with theirs, unless their datagrams would go elsewhere now.
    pub(super) fn change(&self, settings: Rc<Settings>) {
        let before = self.settings.replace(Rc::clone(&settings));
        let (before, after) = (&before.proxy, &settings.proxy);
        if before.cluster != after.cluster || before.per_datagram != after.per_datagram {
            self.clear();
        }
    }

    /// Ends sessions whose cluster or host is no longer configured.
    pub(super) fn end_gone(&self, snapshot: &Snapshot) {
        let known = snapshot.clusters.get(&self.settings.borrow().proxy.cluster).is_some();
        let upstreams = self.worker.upstreams();
        self.end_all(|session| !known || session.socket.prospect(upstreams, snapshot) == Prospect::Gone);
    }

    /// Ends sessions without a datagram for so long.
    pub(super) fn end_quiet(&self, limit: Duration) {
        let now = clock::now();
        self.end_all(|session| now.saturating_duration_since(session.last()) >= limit);
    }

    /// Ends all.
    pub(super) fn clear(&self) {
        self.end_all(|_| true);
    }
}
