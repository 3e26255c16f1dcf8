// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A worker's way to all clusters: pick a host, send a request.

use crate::RequestBody;
use crate::body::UpstreamBody;
use crate::connect::Target;
use crate::error::{PickError, SendError};
use crate::host::{HostState, Outcome};
use crate::registry::{ClusterState, UpstreamRegistry};
use crate::send::Counting;
use crate::view::ClusterView;
use crate::worker_cluster::{WorkerCluster, WorkerHost};
use crate::{resolve, send};
use gateway_config::{Cluster, EndpointAddress, LbMetadata, Snapshot};
use http::{Request, Response, StatusCode};
use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};

/// Time between looks for connections that are idle for too long.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

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
}

/// A host that was picked for a request.
pub struct Picked<B: RequestBody> {
    cluster: Rc<WorkerCluster<B>>,
    host: Rc<WorkerHost<B>>,
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
        let host = cluster.pick(context)?;
        Ok(Picked { cluster, host })
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
        let pool = picked.host.pool(request.version());
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
        let pool = picked.host.pool(request.version());
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

    fn cluster(&self, snapshot: &Snapshot, name: &str) -> Option<Rc<WorkerCluster<B>>> {
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
        Self { cluster: Rc::clone(&self.cluster), host: Rc::clone(&self.host) }
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
        self.host.target(&self.cluster.state)
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
        let breakers = &self.cluster.view.cluster.circuit_breakers;
        let limit = breakers.retries(metrics.upstream_rq_active.get());
        if !metrics.upstream_rq_retry_active.add_below(limit) {
            metrics.upstream_rq_retry_overflow.add(1);
            return None;
        }
        metrics.upstream_rq_retry.add(1);
        Some(RetryPermit(Arc::clone(&self.cluster.state)))
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
pub struct RetryPermit(Arc<ClusterState>);

impl Drop for RetryPermit {
    fn drop(&mut self) {
        self.0.metrics.upstream_rq_retry_active.sub(1);
    }
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
