// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A worker's way to all clusters: pick a host, send a request.

use crate::RequestBody;
use crate::body::UpstreamBody;
use crate::connect::Target;
use crate::error::{PickError, SendError};
use crate::host::{HostState, Outcome};
use crate::pool_key::Client;
use crate::registry::{ClusterState, UpstreamRegistry};
use crate::send::Counting;
use crate::view::ClusterView;
use crate::worker_cluster::{WorkerCluster, WorkerHost};
use crate::{resolve, send};
use gateway_config::{Cluster, Discovery, EndpointAddress, LbMetadata, RoutingPriority, Snapshot};
use http::{HeaderMap, Request, Response, StatusCode};
use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};

/// Time between looks for connections that are idle for too long.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Clusters of clusters are looked into this deep.
const DEEPEST: usize = 4;

/// The clusters of one worker. Cheap to clone; not `Send`: every worker has its own, with its own connections.
pub struct Upstreams<B: RequestBody> {
    inner: Rc<Inner<B>>,
}

struct Inner<B: RequestBody> {
    registry: Arc<UpstreamRegistry>,
    clusters: RefCell<HashMap<Box<str>, Rc<WorkerCluster<B>>>>,
}

/// What picking may know about a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct PickContext<'a> {
    /// Hosts that were tried already; another one is preferred (`previous_hosts`).
    pub tried: &'a [Arc<HostState>],
    /// How often the policy is asked again to avoid them, before any other host is taken.
    pub attempts: u32,
    /// What the request is hashed by; none: a random host where the policy is a hashing one.
    pub hash: Option<u64>,
    /// What the host must have, where the cluster has subsets.
    pub metadata: Option<&'a LbMetadata>,
    /// The request's headers, for clusters whose endpoints they may name.
    pub headers: Option<&'a HeaderMap>,
    /// Whose limits and connections it uses.
    pub priority: RoutingPriority,
    /// The client's connection, for clusters that look at it.
    pub client: Option<Client>,
}

/// A host that was picked for a request.
pub struct Picked<B: RequestBody> {
    cluster: Rc<WorkerCluster<B>>,
    host: Rc<WorkerHost<B>>,
    priority: RoutingPriority,
    client: Option<Client>,
}

impl<B: RequestBody> Clone for Upstreams<B> {
    fn clone(&self) -> Self {
        Self { inner: Rc::clone(&self.inner) }
    }
}

impl<B: RequestBody> std::fmt::Debug for Upstreams<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstreams")
            .field("clusters", &self.inner.clusters.borrow().len())
            .finish_non_exhaustive()
    }
}

impl<B: RequestBody> Upstreams<B> {
    /// The clusters of a worker. Call it on the worker's thread, inside a `LocalRuntime` or `LocalSet`: it starts a task that closes idle
    /// connections, which ends with the last clone.
    #[must_use]
    pub fn new(registry: Arc<UpstreamRegistry>) -> Self {
        let inner = Rc::new(Inner { registry, clusters: RefCell::default() });
        tokio::task::spawn_local(sweep(Rc::downgrade(&inner)));
        Self { inner }
    }

    /// Picks a host of a cluster, as the snapshot has it.
    ///
    /// # Errors
    /// Where the cluster is unknown or has no host that takes requests.
    pub fn pick(
        &self,
        snapshot: &Snapshot,
        cluster: &str,
        context: &PickContext<'_>,
    ) -> Result<Picked<B>, PickError> {
        let cluster = self.cluster(snapshot, cluster).ok_or(PickError::NoCluster)?;
        if let Discovery::Aggregate(names) = &cluster.view.cluster.discovery {
            return self.pick_among(snapshot, names, context, DEEPEST);
        }
        let host = cluster.pick(context)?;
        Ok(Picked { cluster, host, priority: context.priority, client: context.client })
    }

    /// Picks among clusters in order: each takes as much as its healthy hosts are good for, degraded ones come after the healthy ones of all.
    fn pick_among(
        &self,
        snapshot: &Snapshot,
        names: &[Box<str>],
        context: &PickContext<'_>,
        depth: usize,
    ) -> Result<Picked<B>, PickError> {
        let depth = depth.checked_sub(1).ok_or(PickError::NoHealthy)?;
        let clusters = || names.iter().filter_map(|name| self.cluster(snapshot, name));
        let capacity = |cluster: &WorkerCluster<B>| self.capacity(snapshot, cluster, depth);
        let total = clusters().map(|cluster| capacity(&cluster)).fold((0, 0), sum);
        let available = (total.0 + total.1).min(100);
        let hash = context.hash.unwrap_or_else(rand::random);
        let mut left = u32::try_from(hash % u64::from(available.max(1))).unwrap_or_default();
        let mut chosen = None;
        for degraded in [false, true] {
            for (at, cluster) in clusters().enumerate() {
                let (healthy, worse) = capacity(&cluster);
                let part = if degraded { worse } else { healthy };
                if chosen.is_none() && part > left {
                    chosen = Some(at);
                }
                left = left.saturating_sub(part);
            }
        }
        // Where none is healthy, the first one that panics takes it.
        let first = chosen.unwrap_or_default();
        let order = clusters().skip(first).chain(clusters().take(first));
        let mut picked = Err(PickError::NoHealthy);
        for cluster in order {
            picked = match &cluster.view.cluster.discovery {
                Discovery::Aggregate(names) => self.pick_among(snapshot, names, context, depth),
                _ => cluster.pick(context).map(|host| {
                    let (priority, client) = (context.priority, context.client);
                    Picked { cluster: Rc::clone(&cluster), host, priority, client }
                }),
            };
            if picked.is_ok() {
                break;
            }
        }
        picked
    }

    /// Percent of all requests that a cluster's healthy hosts are good for, and its degraded ones; each up to 100.
    fn capacity(&self, snapshot: &Snapshot, cluster: &WorkerCluster<B>, depth: usize) -> (u32, u32) {
        let Discovery::Aggregate(names) = &cluster.view.cluster.discovery else { return cluster.capacity() };
        let Some(depth) = depth.checked_sub(1) else { return (0, 0) };
        let inner = names.iter().filter_map(|name| self.cluster(snapshot, name));
        inner.map(|cluster| self.capacity(snapshot, &cluster, depth)).fold((0, 0), sum)
    }

    /// Sends a request to a picked host. Target and host header may have the form of either protocol; hop-by-hop headers are the caller's.
    /// Dropping the future takes the request back: an HTTP/1.1 connection closes, an HTTP/2 stream is reset.
    ///
    /// # Errors
    /// Where no answer came; the error says whether anything was sent, and gives the request back where nothing was.
    pub fn send<'a>(
        &self,
        picked: &'a Picked<B>,
        request: Request<B>,
    ) -> impl Future<Output = Result<Response<UpstreamBody<B>>, SendError<B>>> + use<'a, B> {
        let pool = picked.host.pool(&request, picked.priority, picked.client);
        send::send(pool, &picked.host.state, &picked.cluster.view.cluster, request, Counting::Here)
    }

    /// The same as one attempt of several: what becomes of its answer is counted by [`Picked::count_answer`] or [`Picked::count_retried`].
    ///
    /// # Errors
    /// As for [`Self::send`].
    pub fn attempt<'a>(
        &self,
        picked: &'a Picked<B>,
        request: Request<B>,
    ) -> impl Future<Output = Result<Response<UpstreamBody<B>>, SendError<B>>> + use<'a, B> {
        let pool = picked.host.pool(&request, picked.priority, picked.client);
        send::send(pool, &picked.host.state, &picked.cluster.view.cluster, request, Counting::ByCaller)
    }

    /// Forgets clusters that the snapshot no longer has; their connections close when their requests end. Call it once for each new
    /// snapshot, off the request path.
    pub fn retain(&self, snapshot: &Snapshot) {
        self.inner.clusters.borrow_mut().retain(|name, cluster| {
            let keep = snapshot.clusters.get(name).is_some();
            if !keep {
                cluster.drain();
            }
            keep
        });
        self.inner.registry.retain(|name| snapshot.clusters.get(name).is_some());
    }

    pub(crate) fn cluster(&self, snapshot: &Snapshot, name: &str) -> Option<Rc<WorkerCluster<B>>> {
        let (cluster, mut endpoints) = snapshot.cluster(name)?;
        let known = self.inner.clusters.borrow().get(name).cloned();
        let mut state = None;
        let resolved;
        if resolve::needs(cluster) {
            let state = state.insert(self.state(known.as_deref(), name));
            resolved = state.resolved();
            endpoints = resolved.as_ref();
        }
        if let Some(known) =
            known.as_ref().filter(|known| known.view.is_current(snapshot, cluster, endpoints))
        {
            return Some(Rc::clone(known));
        }
        let state = state.unwrap_or_else(|| self.state(known.as_deref(), name));
        let view = ClusterView::obtain(&state, snapshot, cluster, endpoints);
        let made = Rc::new(WorkerCluster::new(state, view, known.as_deref()));
        self.inner.clusters.borrow_mut().insert(name.into(), Rc::clone(&made));
        Some(made)
    }

    fn state(&self, known: Option<&WorkerCluster<B>>, name: &str) -> Arc<ClusterState> {
        known.map_or_else(|| self.inner.registry.cluster(name), |known| Arc::clone(&known.state))
    }
}

impl<B: RequestBody> Clone for Picked<B> {
    fn clone(&self) -> Self {
        Self {
            cluster: Rc::clone(&self.cluster),
            host: Rc::clone(&self.host),
            priority: self.priority,
            client: self.client,
        }
    }
}

impl<B: RequestBody> Picked<B> {
    /// The host, for [`PickContext::tried`] and logs.
    #[must_use]
    pub fn host(&self) -> &Arc<HostState> {
        &self.host.state
    }

    /// The host's address.
    #[must_use]
    pub fn address(&self) -> &EndpointAddress {
        self.host.state.address()
    }

    /// The host's name, for host rewrites.
    #[must_use]
    pub fn hostname(&self) -> Option<&str> {
        self.host.hostname.as_deref()
    }

    /// The cluster's settings.
    #[must_use]
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster.view.cluster
    }

    /// The cluster's state and numbers.
    #[must_use]
    pub fn state(&self) -> &Arc<ClusterState> {
        &self.cluster.state
    }

    /// How to connect to it.
    pub(crate) fn target(&self) -> Target {
        self.host.target(&self.cluster.state, self.client)
    }

    pub(crate) fn worker_cluster(&self) -> &Rc<WorkerCluster<B>> {
        &self.cluster
    }

    pub(crate) fn priority(&self) -> RoutingPriority {
        self.priority
    }

    /// Tells that the time for an attempt ran out; counts against the host as a failure.
    pub fn report_timeout(&self) {
        self.host.state.numbers.rq_timeout.add(1);
        self.cluster.state.report(&self.host.state, Outcome::Failure, &self.cluster.view.cluster);
    }

    /// Counts what a request was answered with in the end.
    pub fn count_answer(&self, status: StatusCode) {
        self.cluster.state.metrics.count_status(status);
    }

    /// Counts an answer that is not passed on.
    pub fn count_retried(&self, status: StatusCode) {
        self.cluster.state.metrics.retried_statuses.count(status);
    }

    /// Asks for leave to retry; none where the cluster's limit of retries is reached. Hold it while the retry runs.
    #[must_use]
    pub fn permit_retry(&self) -> Option<RetryPermit> {
        let metrics = &self.cluster.state.metrics;
        let breakers = self.cluster.view.cluster.limits.of(self.priority);
        let limit = breakers.retries(metrics.upstream_rq_active.get());
        if !self.cluster.state.retries().take(self.priority, limit) {
            metrics.upstream_rq_retry_overflow.add(1);
            return None;
        }
        metrics.upstream_rq_retry.add(1);
        Some(RetryPermit(Arc::clone(&self.cluster.state), self.priority))
    }
}

impl<B: RequestBody> std::fmt::Debug for Picked<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Picked")
            .field("cluster", &self.cluster.state.name())
            .field("host", self.address())
            .finish()
    }
}

/// Leave to retry.
#[derive(Debug)]
pub struct RetryPermit(Arc<ClusterState>, RoutingPriority);

impl Drop for RetryPermit {
    fn drop(&mut self) {
        self.0.retries().release(self.1);
    }
}

fn sum(all: (u32, u32), one: (u32, u32)) -> (u32, u32) {
    ((all.0 + one.0).min(100), (all.1 + one.1).min(100))
}

async fn sweep<B: RequestBody>(inner: Weak<Inner<B>>) {
    let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(inner) = inner.upgrade() else { return };
        let clusters: Vec<_> = inner.clusters.borrow().values().cloned().collect();
        let now = Instant::now();
        clusters.iter().for_each(|cluster| cluster.sweep(now));
    }
}
