// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! One thread that serves traffic: its runtime, its listeners, its connections to upstreams. Nothing on it is shared with the other
//! workers but configuration, counters and limits.

use crate::accept;
use crate::access_log::{AccessLogs, LogWriter, WorkerLogs};
use crate::filters::{JwksCache, Site};
use crate::http_settings::HttpSettings;
use crate::listener::{ListenerState, Phase, SharedListener};
use crate::log_pace::LogPace;
use crate::metrics::{IstioRecorder, WorkerMetrics};
use crate::options::{Limits, ProxyOptions};
use crate::overload::{Memory, Pressure};
use crate::plugin::{Factories, Plugin};
use crate::request_body::RequestBody;
use crate::sockets::ListenSocket;
use crate::tls::TicketKeys;
use crate::trace::{Exporter, Exports, Tracer};
use crate::udp;
use gateway_config::{AccessLog, HttpConnectionManager, Listener, LogSink, Snapshot};
use gateway_upstream::{UpstreamRegistry, Upstreams};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;

/// What all workers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: ProxyOptions,
    pub(crate) upstream: Arc<UpstreamRegistry>,
    pub(crate) logs: AccessLogs,
    /// Numbers of the exporters of spans.
    pub(crate) exports: Arc<Exports>,
    pub(crate) factories: Factories,
    /// Keys for tokens, for all filters that need the same.
    pub(crate) jwks: JwksCache,
    pub(crate) tickets: TicketKeys,
    pub(crate) next_connection: AtomicU64,
    /// The process's memory.
    pub(crate) memory: Arc<Memory>,
    /// Connections open now, on all listeners.
    pub(crate) connections: AtomicUsize,
    /// Sockets that take connections.
    pub(crate) accepting: AtomicUsize,
}

/// What a worker is told.
#[derive(Debug)]
pub(crate) enum Command {
    /// Serve by this from now on.
    Install(Box<Change>, oneshot::Sender<()>),
    /// Memory is short in another way now: wake who has to know.
    Press,
    /// Memory is short: give back what the thread's allocator keeps.
    Release(fn()),
    /// Bring all listeners to this phase.
    Advance(Phase),
    /// Answer.
    Ping(oneshot::Sender<()>),
    /// Tell the sockets that take connections.
    Sockets(oneshot::Sender<Vec<std::net::TcpListener>>),
    /// Another process has these sockets.
    HandOver,
}

/// A new snapshot, and what changes between it and the one before.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) open: Vec<Opening>,
    pub(crate) swap: Vec<Arc<Listener>>,
    pub(crate) close: Vec<Box<str>>,
}

/// A listener to open, with this worker's sockets: one, or more where another process had more workers.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) shared: Arc<SharedListener>,
    pub(crate) listener: Arc<Listener>,
    pub(crate) sockets: Vec<ListenSocket>,
}

/// The snapshot in the hands of one worker: a request holds it without touching a counter that other workers share.
#[derive(Debug)]
pub(crate) struct LocalSnapshot(Arc<Snapshot>);

impl Deref for LocalSnapshot {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.0
    }
}

/// One worker.
#[derive(Debug)]
pub(crate) struct Worker {
    index: usize,
    shared: Arc<Shared>,
    metrics: Arc<WorkerMetrics>,
    upstreams: Upstreams<RequestBody>,
    snapshot: RefCell<Rc<LocalSnapshot>>,
    listeners: RefCell<HashMap<Box<str>, Rc<ListenerState>>>,
    /// Listeners that are gone from the configuration and still have connections.
    leaving: RefCell<Vec<Rc<ListenerState>>>,
    /// By address in memory; the entry holds what the address is of.
    settings: RefCell<HashMap<usize, Rc<HttpSettings>>>,
    logs: Rc<WorkerLogs>,
    istio: Option<IstioRecorder>,
    flood_log: LogPace,
}

/// Runs a worker until its commands end.
pub(crate) async fn run(
    index: usize,
    shared: Arc<Shared>,
    metrics: Arc<WorkerMetrics>,
    mut commands: mpsc::UnboundedReceiver<Command>,
) {
    let source = shared.options.istio.clone();
    let worker = Rc::new(Worker {
        index,
        istio: source.map(|source| IstioRecorder::new(source, Arc::clone(&metrics.istio))),
        upstreams: Upstreams::new(Arc::clone(&shared.upstream)),
        shared,
        metrics,
        snapshot: RefCell::new(Rc::new(LocalSnapshot(Arc::default()))),
        listeners: RefCell::default(),
        leaving: RefCell::default(),
        settings: RefCell::default(),
        logs: Rc::default(),
        flood_log: LogPace::default(),
    });
    spawn_local(Rc::clone(&worker.logs).flush());
    while let Some(command) = commands.recv().await {
        match command {
            Command::Install(change, done) => {
                worker.install(*change);
                // The proxy may have stopped waiting.
                let _ = done.send(());
            }
            Command::Press => worker.wake(),
            Command::Release(release) => release(),
            Command::Advance(phase) => worker.advance(phase),
            Command::Ping(answer) => {
                let _ = answer.send(());
            }
            Command::Sockets(answer) => {
                let sockets =
                    worker.listeners.borrow().values().flat_map(|state| state.duplicates()).collect();
                let _ = answer.send(sockets);
            }
            Command::HandOver => worker.listeners.borrow().values().for_each(|state| state.hand_over()),
        }
    }
}

impl Worker {
    /// What all workers share.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Limits that hold where the configuration sets none.
    pub(crate) fn limits(&self) -> &Limits {
        &self.shared.options.limits
    }

    /// How short memory is. Read where it is noted: in a flood a command would wait behind all that the flood makes ready.
    pub(crate) fn pressure(&self) -> Pressure {
        self.shared.memory.pressure()
    }

    /// Wakes all connections: what they may do has changed.
    fn wake(&self) {
        self.listeners.borrow().values().chain(self.leaving.borrow().iter()).for_each(|state| state.wake());
    }

    /// The pace of lines about floods.
    pub(crate) fn flood_log(&self) -> &LogPace {
        &self.flood_log
    }

    /// This worker's numbers.
    pub(crate) fn metrics(&self) -> &WorkerMetrics {
        &self.metrics
    }

    /// Who counts for Istio's metrics, where they are asked for.
    pub(crate) fn istio(&self) -> Option<&IstioRecorder> {
        self.istio.as_ref()
    }

    /// This worker's way to the upstreams.
    pub(crate) fn upstreams(&self) -> &Upstreams<RequestBody> {
        &self.upstreams
    }

    /// The newest configuration.
    pub(crate) fn snapshot(&self) -> Rc<LocalSnapshot> {
        Rc::clone(&self.snapshot.borrow())
    }

    /// What to serve a filter chain with.
    pub(crate) fn http_settings(self: &Rc<Self>, http: &Arc<HttpConnectionManager>) -> Rc<HttpSettings> {
        let key = Arc::as_ptr(http) as usize;
        if let Some(found) = self.settings.borrow().get(&key) {
            return Rc::clone(found);
        }
        let logs = http.access_logs.logs.iter().map(|log| self.log_writer(log)).collect();
        let plugin = |name: &str, wasm: &_| Plugin::new(self.shared.factories.get(name, wasm), self.index);
        let site = Site { stat_prefix: &http.stat_prefix, filters: &http.filters, metrics: &self.metrics };
        let tracer = http.tracing.as_ref().map(|tracing| Tracer {
            exporter: Exporter::start(self, &tracing.collector, &tracing.service),
            tracing: Arc::clone(tracing),
        });
        let metrics = self.metrics.http(&http.stat_prefix);
        let made = Rc::new(HttpSettings { tracer, ..HttpSettings::new(http, metrics, logs, site, plugin) });
        self.settings.borrow_mut().insert(key, Rc::clone(&made));
        made
    }

    /// The log's writer on this worker; none where it can not be opened.
    pub(crate) fn log_writer(&self, log: &AccessLog) -> Option<Rc<LogWriter>> {
        let LogSink::File(path) = &log.sink;
        self.logs.writer(path, &self.shared.logs)
    }

    fn install(self: &Rc<Self>, change: Change) {
        let Change { snapshot, open, swap, close } = change;
        self.snapshot.replace(Rc::new(LocalSnapshot(snapshot)));
        for listener in swap {
            if let Some(state) = self.listeners.borrow().get(&listener.name) {
                state.swap(listener);
            }
        }
        for name in close {
            if let Some(state) = self.listeners.borrow_mut().remove(&name) {
                self.leave(state);
            }
        }
        for opening in open {
            self.open(opening);
        }
        // Settings that only this map still holds belong to listeners that are gone.
        self.settings
            .borrow_mut()
            .retain(|_, settings| Arc::strong_count(&settings.http) > 1 || Rc::strong_count(settings) > 1);
        self.upstreams.retain(&self.snapshot());
        // Sessions of datagrams have no request in which they would notice.
        self.listeners
            .borrow()
            .values()
            .filter(|state| state.takes_datagrams())
            .for_each(|state| state.wake());
    }

    fn open(self: &Rc<Self>, opening: Opening) {
        let Opening { shared, listener, sockets } = opening;
        let name = listener.name.clone();
        let metrics = self.metrics.listener(&shared.metrics_label());
        let state = ListenerState::new(shared, listener, metrics);
        for socket in sockets {
            if let Err(error) = self.start(&state, socket) {
                tracing::error!(listener = %name, %error, "worker can not use the listener's socket");
            }
        }
        if let Some(before) = self.listeners.borrow_mut().insert(name, state) {
            self.leave(before);
        }
    }

    /// Takes connections, or datagrams, of one socket.
    fn start(self: &Rc<Self>, state: &Rc<ListenerState>, socket: ListenSocket) -> std::io::Result<()> {
        let (worker, state) = (Rc::clone(self), Rc::clone(state));
        match socket {
            ListenSocket::Tcp(socket) => {
                let socket = Rc::new(tokio::net::TcpListener::from_std(socket)?);
                state.add_socket(&socket);
                self.shared.accepting.fetch_add(1, Ordering::Relaxed);
                spawn_local(accept::accept(worker, state, socket));
            }
            ListenSocket::Udp(socket) => {
                let socket = tokio::net::UdpSocket::from_std(socket)?;
                spawn_local(udp::serve(worker, state, socket));
            }
        }
        Ok(())
    }

    /// Lets a listener's connections end, and cuts what is left after a while.
    fn leave(self: &Rc<Self>, state: Rc<ListenerState>) {
        if state.takes_datagrams() {
            // A socket that stays would take datagrams from another one on the same address. Envoy ends the sessions too.
            return state.advance(Phase::Closed);
        }
        state.advance(Phase::Refusing);
        let worker = Rc::clone(self);
        let limit = self.shared.options.drain.removed;
        self.leaving.borrow_mut().push(Rc::clone(&state));
        spawn_local(async move {
            tokio::time::sleep(limit).await;
            state.advance(Phase::Closed);
            worker.leaving.borrow_mut().retain(|other| !Rc::ptr_eq(other, &state));
        });
    }

    fn advance(&self, phase: Phase) {
        self.listeners
            .borrow()
            .values()
            .chain(self.leaving.borrow().iter())
            .for_each(|listener| listener.advance(phase));
    }
}
