// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The handle on a running proxy: install configuration, ask for readiness, drain.

use crate::access_log::AccessLogs;
use crate::error::{BindFailure, InstallError, NotReady, StartError};
use crate::filters::JwksCache;
use crate::listener::{Phase, SharedListener};
use crate::metrics::{self, PrometheusText, Stat, StatScope, StatValue, WorkerMetrics};
use crate::options::ProxyOptions;
use crate::overload::Memory;
use crate::plugin::Factories;
use crate::sockets::{self, Wanted};
use crate::tls::TicketKeys;
use crate::worker::{self, Change, Command, Opening, Shared};
use gateway_config::{Listener, Snapshot};
use gateway_upstream::UpstreamRegistry;
use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// How long a worker may take to answer; a worker that takes longer is stuck.
const ANSWER: Duration = Duration::from_secs(5);
/// Task polls between two looks at the sockets while tasks are ready. Tasks run in the order in which they became ready, so looking
/// earlier serves nobody earlier; it only cuts what could be written at once into small pieces.
const EVENT_INTERVAL: u32 = 512;
/// Time between looks for connections that are left during a drain.
const LOOK: Duration = Duration::from_millis(10);

/// A running proxy. Dropping it ends its workers, and with them their connections.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    workers: Vec<WorkerHandle>,
    installed: tokio::sync::Mutex<Installed>,
    draining: AtomicBool,
    handed_over: AtomicBool,
    state: parking_lot::Mutex<State>,
}

#[derive(Debug)]
struct WorkerHandle {
    commands: Option<mpsc::UnboundedSender<Command>>,
    metrics: Arc<WorkerMetrics>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Installed {
    listeners: HashMap<Box<str>, Bound>,
    /// Sockets of a process whose place this one takes, that no listener has used yet.
    inherited: HashMap<SocketAddr, Vec<TcpListener>>,
}

#[derive(Debug)]
struct Bound {
    wanted: SocketAddr,
    listener: Arc<Listener>,
    shared: Arc<SharedListener>,
}

/// What others may read at any time.
#[derive(Debug, Default)]
struct State {
    generation: Option<u64>,
    open: Vec<Arc<SharedListener>>,
    failures: Vec<String>,
}

/// An open listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerStatus {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Connections open now.
    pub connections: usize,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainReport {
    /// Connections that were cut at the deadline.
    pub forced: usize,
    /// How long it took.
    pub took: Duration,
}

impl Proxy {
    /// Starts the workers; they serve nothing until a snapshot is installed.
    ///
    /// # Errors
    /// Where a thread or a runtime can not be made.
    pub fn start(options: ProxyOptions) -> Result<Self, StartError> {
        let count = match options.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => count,
        };
        let shared = Arc::new(Shared {
            upstream: UpstreamRegistry::new(),
            logs: AccessLogs::default(),
            exports: Arc::default(),
            factories: Factories::new(options.plugins.clone()),
            jwks: JwksCache::default(),
            tickets: TicketKeys::default(),
            next_connection: AtomicU64::new(1),
            memory: Memory::new(options.memory, options.release_memory),
            connections: AtomicUsize::new(0),
            accepting: AtomicUsize::new(0),
            options,
        });
        let workers: Vec<WorkerHandle> =
            (0..count).map(|index| start_worker(index, &shared)).collect::<Result<_, _>>()?;
        let told = workers.iter().filter_map(|worker| Some(worker.commands.as_ref()?.downgrade()));
        shared.memory.watch(told.collect()).map_err(StartError::Memory)?;
        Ok(Self {
            shared,
            workers,
            installed: tokio::sync::Mutex::default(),
            draining: AtomicBool::new(false),
            handed_over: AtomicBool::new(false),
            state: parking_lot::Mutex::default(),
        })
    }

    /// Serves by `snapshot` from now on; returns once every worker does. Sockets that stay wanted are not touched: connections and
    /// requests go on. New listeners open, those that are gone drain.
    ///
    /// # Errors
    /// The parts that are not served, each naming its address; all others are.
    pub async fn install(&self, snapshot: Arc<Snapshot>) -> Result<(), InstallError> {
        let mut installed = self.installed.lock().await;
        self.shared.upstream.keep_up(&snapshot).await;
        let (mut changes, failures) = self.plan(&mut installed, &snapshot);
        {
            let mut state = self.state.lock();
            state.generation = Some(snapshot.generation);
            state.open = installed.listeners.values().map(|bound| Arc::clone(&bound.shared)).collect();
            state.failures =
                failures.iter().map(|failure| format!("{failure} ({})", failure.source)).collect();
        }
        let mut answers = Vec::new();
        for worker in &self.workers {
            let (done, answer) = oneshot::channel();
            worker
                .tell(Command::Install(Box::new(changes.pop().unwrap_or_else(|| nothing(&snapshot))), done));
            answers.push(answer);
        }
        let stuck_workers = stuck(answers).await;
        if failures.is_empty() && stuck_workers.is_empty() {
            Ok(())
        } else {
            Err(InstallError { failures, stuck_workers })
        }
    }

    /// Binds what is new and finds what is gone; one change for each worker, in any order.
    fn plan(&self, installed: &mut Installed, snapshot: &Arc<Snapshot>) -> (Vec<Change>, Vec<BindFailure>) {
        let mut changes: Vec<Change> = self.workers.iter().map(|_| nothing(snapshot)).collect();
        let mut failures = Vec::new();
        let gone: Vec<Box<str>> = installed
            .listeners
            .keys()
            .filter(|name| !snapshot.listeners.contains_key(*name))
            .cloned()
            .collect();
        for name in gone {
            installed.listeners.remove(&name);
            changes.iter_mut().for_each(|change| change.close.push(name.clone()));
        }
        for (name, listener) in &snapshot.listeners {
            let wanted = self.shared.options.bind.get(&**name).copied().unwrap_or(listener.address);
            let is_udp = listener.udp.is_some();
            let same = |bound: &&mut Bound| bound.wanted == wanted && bound.listener.udp.is_some() == is_udp;
            if let Some(bound) = installed.listeners.get_mut(name).filter(same) {
                if !Arc::ptr_eq(&bound.listener, listener) {
                    bound.listener = Arc::clone(listener);
                    changes.iter_mut().for_each(|change| change.swap.push(Arc::clone(listener)));
                }
                continue;
            }
            let kind = if is_udp { Wanted::Udp } else { Wanted::Tcp { backlog: listener.backlog } };
            let there = if is_udp { None } else { installed.inherited.remove(&wanted) };
            match sockets::listen(wanted, self.workers.len(), kind, there.unwrap_or_default()) {
                Ok((address, sockets)) => {
                    tracing::info!(listener = %name, %address, "listener open");
                    let shared = SharedListener::new(name, address, self.shared.options.connections);
                    let opening = |_| Opening {
                        shared: Arc::clone(&shared),
                        listener: Arc::clone(listener),
                        sockets: Vec::new(),
                    };
                    let mut openings: Vec<_> = changes.iter().map(opening).collect();
                    let workers = openings.len();
                    for (index, socket) in sockets.into_iter().enumerate() {
                        openings[index % workers].sockets.push(socket);
                    }
                    for (change, opening) in changes.iter_mut().zip(openings) {
                        change.open.push(opening);
                    }
                    installed
                        .listeners
                        .insert(name.clone(), Bound { wanted, listener: Arc::clone(listener), shared });
                }
                Err(source) => {
                    tracing::error!(listener = %name, address = %wanted, error = %source, "listener can not be opened");
                    failures.push(BindFailure { listener: name.to_string(), address: wanted, source });
                }
            }
        }
        (changes, failures)
    }

    /// Takes sockets of a process whose place this one takes: the first listener on the address of one uses it.
    pub async fn inherit(&self, sockets: Vec<TcpListener>) {
        let mut installed = self.installed.lock().await;
        for socket in sockets {
            if let Ok(address) = socket.local_addr() {
                installed.inherited.entry(address).or_default().push(socket);
            }
        }
    }

    /// Closes what was inherited and no listener has used.
    pub async fn forget_inherited(&self) {
        self.installed.lock().await.inherited.clear();
    }

    /// The sockets that take connections, once more, for a process that takes this one's place. Sockets of datagrams are not among them.
    pub async fn sockets(&self) -> Vec<TcpListener> {
        let mut sockets = Vec::new();
        for worker in &self.workers {
            let (told, answer) = oneshot::channel();
            worker.tell(Command::Sockets(told));
            // One that is stuck keeps its own.
            sockets.extend(timeout(ANSWER, answer).await.ok().and_then(Result::ok).unwrap_or_default());
        }
        sockets
    }

    /// Takes no connection any more: another process has the sockets, and what waits in them.
    pub fn hand_over(&self) {
        self.handed_over.store(true, Ordering::Relaxed);
        self.workers.iter().for_each(|worker| worker.tell(Command::HandOver));
    }

    /// Whether the proxy should get traffic; every worker has to answer for itself.
    ///
    /// # Errors
    /// Why it should not.
    pub async fn ready(&self) -> Result<(), NotReady> {
        if self.draining.load(Ordering::Relaxed) {
            return Err(NotReady::Draining);
        }
        {
            let state = self.state.lock();
            if state.generation.is_none() {
                return Err(NotReady::NoConfiguration);
            }
            if state.open.is_empty() && !state.failures.is_empty() {
                return Err(NotReady::NoListener(state.failures.join("; ")));
            }
        }
        let answers = self.workers.iter().map(|worker| {
            let (pong, answer) = oneshot::channel();
            worker.tell(Command::Ping(pong));
            answer
        });
        match stuck(answers.collect()).await.first() {
            None => Ok(()),
            Some(&worker) => Err(NotReady::Stuck(worker)),
        }
    }

    /// Ends without losing a request: fails readiness; goes on to take connections while load balancers notice; asks clients to leave
    /// (`Connection: close`, GOAWAY); waits until all have left or `deadline` has passed, counted from now; cuts the rest.
    pub async fn drain(&self, deadline: Duration) -> DrainReport {
        let start = Instant::now();
        let end = start + deadline;
        self.draining.store(true, Ordering::Relaxed);
        self.tell_all(Phase::Draining);
        tracing::info!(connections = self.connections(), "drain begins");
        // Where another process takes the connections, no load balancer has to notice anything.
        if !self.handed_over.load(Ordering::Relaxed) {
            sleep(self.shared.options.drain.accept_for.min(deadline)).await;
        }
        self.tell_all(Phase::Refusing);
        while (self.is_accepting() || self.connections() > 0) && Instant::now() < end {
            sleep(LOOK).await;
        }
        let forced = self.connections();
        self.tell_all(Phase::Closed);
        let cut = Instant::now() + Duration::from_secs(1);
        while (self.is_accepting() || self.connections() > 0) && Instant::now() < cut {
            sleep(LOOK).await;
        }
        tracing::info!(forced, "drain ends");
        DrainReport { forced, took: start.elapsed() }
    }

    /// Takes no more connections on the listeners that are open, after a while in which connections end with their current request;
    /// none is cut.
    pub async fn close_listeners(&self, after: Duration) {
        self.tell_all(Phase::Draining);
        sleep(after).await;
        self.tell_all(Phase::Refusing);
    }

    /// Connections open now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// The listeners that are open, by name.
    #[must_use]
    pub fn listeners(&self) -> Vec<ListenerStatus> {
        let state = self.state.lock();
        let status = |shared: &Arc<SharedListener>| ListenerStatus {
            name: shared.name.to_string(),
            address: shared.address,
            connections: shared.connections(),
        };
        let mut listeners: Vec<_> = state.open.iter().map(status).collect();
        listeners.sort_by(|a, b| a.name.cmp(&b.name));
        listeners
    }

    /// Listeners of the last snapshot that could not be opened, as messages.
    #[must_use]
    pub fn bind_failures(&self) -> Vec<String> {
        self.state.lock().failures.clone()
    }

    /// The generation of the last snapshot.
    #[must_use]
    pub fn generation(&self) -> Option<u64> {
        self.state.lock().generation
    }

    /// What workers share about upstreams, for admin pages.
    #[must_use]
    pub fn upstream(&self) -> &Arc<UpstreamRegistry> {
        &self.shared.upstream
    }

    /// Tells all numbers, family after family.
    pub fn visit_stats(&self, visit: &mut dyn FnMut(&Stat<'_>)) {
        let workers: Vec<_> = self.workers.iter().map(|worker| Arc::clone(&worker.metrics)).collect();
        metrics::visit(&workers, &self.shared.upstream, visit);
        self.shared.memory.visit(visit);
        visit(&Stat {
            scope: StatScope::Own(None),
            name: "access_log_lines_dropped_total",
            tag: None,
            value: StatValue::Counter(self.shared.logs.dropped()),
        });
        let exports = &self.shared.exports;
        for (name, number) in
            [("trace_spans_sent_total", &exports.sent), ("trace_spans_dropped_total", &exports.dropped)]
        {
            let value = StatValue::Counter(number.load(Ordering::Relaxed));
            visit(&Stat { scope: StatScope::Own(None), name, tag: None, value });
        }
    }

    /// Writes all numbers to `out` as Prometheus text.
    pub fn write_metrics(&self, out: &mut String) {
        let mut text = PrometheusText::new(out);
        self.visit_stats(&mut |stat| text.write(stat));
        self.write_istio_metrics(out);
    }

    /// Writes Istio's metrics to `out`, where they are asked for.
    pub fn write_istio_metrics(&self, out: &mut String) {
        metrics::write_istio(out, self.workers.iter().map(|worker| &*worker.metrics.istio));
    }

    /// How many workers there are.
    #[must_use]
    pub fn worker_count(&self) -> usize {
        self.workers.len()
    }

    /// Connections that the kernel had completed before the sockets close are counted by then.
    fn is_accepting(&self) -> bool {
        self.shared.accepting.load(Ordering::Acquire) > 0
    }

    fn tell_all(&self, phase: Phase) {
        self.workers.iter().for_each(|worker| worker.tell(Command::Advance(phase)));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.workers.iter_mut().for_each(|worker| drop(worker.commands.take()));
        for thread in self.workers.iter_mut().filter_map(|worker| worker.thread.take()) {
            // A worker that panicked has said so already.
            drop(thread.join());
        }
        self.shared.logs.close();
    }
}

impl WorkerHandle {
    fn tell(&self, command: Command) {
        // A worker that is gone shows as stuck where an answer is expected.
        drop(self.commands.as_ref().map(|commands| commands.send(command)));
    }
}

fn nothing(snapshot: &Arc<Snapshot>) -> Change {
    Change { snapshot: Arc::clone(snapshot), open: Vec::new(), swap: Vec::new(), close: Vec::new() }
}

/// Numbers of the workers that do not answer in time.
async fn stuck(answers: Vec<oneshot::Receiver<()>>) -> Vec<usize> {
    let limit = Instant::now() + ANSWER;
    let mut stuck = Vec::new();
    for (worker, answer) in answers.into_iter().enumerate() {
        if !matches!(timeout_at(limit, answer).await, Ok(Ok(()))) {
            stuck.push(worker);
        }
    }
    stuck
}

fn start_worker(index: usize, shared: &Arc<Shared>) -> Result<WorkerHandle, StartError> {
    let failed = |source| StartError::Worker { worker: index, source };
    let (commands, receiver) = mpsc::unbounded_channel();
    let metrics = Arc::new(WorkerMetrics::default());
    let (shared, numbers) = (Arc::clone(shared), Arc::clone(&metrics));
    let (started, start) = std::sync::mpsc::sync_channel(1);
    let body = move || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.event_interval(EVENT_INTERVAL).on_thread_unpark(gateway_upstream::clock::tick);
        match builder.enable_all().build_local(tokio::runtime::LocalOptions::default()) {
            Ok(runtime) => {
                drop(started.send(Ok(())));
                runtime.block_on(worker::run(index, shared, numbers, receiver));
            }
            Err(error) => drop(started.send(Err(error))),
        }
    };
    let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn(body).map_err(failed)?;
    match start.recv() {
        Ok(Ok(())) => Ok(WorkerHandle { commands: Some(commands), metrics, thread: Some(thread) }),
        Ok(Err(error)) => Err(failed(error)),
        Err(_) => Err(failed(std::io::Error::other("the thread ended"))),
    }
}
