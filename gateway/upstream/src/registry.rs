// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Clusters that were used, with the state that all workers share.

use crate::host::{CheckFlags, HostState, Outcome};
use crate::metrics::{ClusterMetrics, HighPriority, Limited};
use crate::outlier::{Cause, outliers};
use crate::plan::Plan;
use crate::upkeep::Upkeep;
use crate::view::ClusterView;
use arc_swap::{ArcSwapOption, Guard};
use gateway_config::{CircuitBreakers, Cluster, EndpointAddress, Endpoints, OutlierDetection, Snapshot};
use parking_lot::{Mutex, RwLock};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::Instant;

/// All clusters that were used since the start; one for the process.
#[derive(Debug)]
pub struct UpstreamRegistry {
    clusters: RwLock<HashMap<Box<str>, Arc<ClusterState>>>,
    started: Instant,
    upkeep: Upkeep,
}

/// What workers share about one cluster. Lives as long as the cluster is configured, also while its settings change.
#[derive(Debug)]
pub struct ClusterState {
    name: Box<str>,
    started: Instant,
    /// The numbers.
    pub metrics: ClusterMetrics,
    /// The part of them that important requests have.
    pub(crate) high: HighPriority,
    /// Goes up when a host's health changes.
    health_epoch: AtomicU64,
    /// When the next ejection ends, milliseconds on the clock; `u64::MAX`: none.
    next_return: AtomicU64,
    /// Endpoints with the addresses of their names, once those were asked for.
    resolved: ArcSwapOption<Endpoints>,
    hosts: Mutex<HashMap<EndpointAddress, Arc<HostState>>>,
    pub(crate) view: Mutex<Option<Arc<ClusterView>>>,
    /// The plan made last, with the view that it was made for.
    plan: Mutex<Option<(Arc<ClusterView>, Arc<Plan>)>>,
}

impl UpstreamRegistry {
    /// An empty registry; call it inside a tokio runtime or outside, its clock is tokio's.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self { clusters: RwLock::default(), started: Instant::now(), upkeep: Upkeep::default() })
    }

    /// The state of a cluster, made where there is none.
    #[must_use]
    pub fn cluster(&self, name: &str) -> Arc<ClusterState> {
        if let Some(state) = self.clusters.read().get(name) {
            return Arc::clone(state);
        }
        let mut clusters = self.clusters.write();
        let state =
            clusters.entry(name.into()).or_insert_with(|| Arc::new(ClusterState::new(name, self.started)));
        Arc::clone(state)
    }

    /// Keeps up what clusters of the snapshot need apart from requests: active health checks, addresses of names. Call it for each new snapshot before workers
    /// get it; it returns when new clusters were looked at once, at the latest after a second.
    pub async fn keep_up(self: &Arc<Self>, snapshot: &Arc<Snapshot>) {
        self.upkeep.follow(self, snapshot).await;
    }

    /// All clusters that were used, in no particular order; for pages, not for the request path.
    #[must_use]
    pub fn clusters(&self) -> Vec<Arc<ClusterState>> {
        let clusters: Vec<_> = self.clusters.read().values().cloned().collect();
        clusters.iter().for_each(|cluster| cluster.end_ejections());
        clusters
    }

    /// Forgets clusters that are no longer configured.
    pub fn retain(&self, configured: impl Fn(&str) -> bool) {
        if self.clusters.read().keys().any(|name| !configured(name)) {
            self.clusters.write().retain(|name, _| configured(name));
        }
    }
}

impl ClusterState {
    fn new(name: &str, started: Instant) -> Self {
        Self {
            name: name.into(),
            started,
            metrics: ClusterMetrics::default(),
            high: HighPriority::default(),
            health_epoch: AtomicU64::new(0),
            next_return: AtomicU64::new(u64::MAX),
            resolved: ArcSwapOption::empty(),
            hosts: Mutex::default(),
            view: Mutex::default(),
            plan: Mutex::default(),
        }
    }

    /// A state that no registry knows of.
    pub(crate) fn detached(name: &str) -> Self {
        Self::new(name, Instant::now())
    }

    /// A host that passed an active check is back in service at once.
    pub(crate) fn reinstate(&self, host: &HostState) {
        if host.reinstate() {
            self.health_changed(&self.hosts.lock());
        }
    }

    /// Endpoints with addresses for names; none before they were asked for.
    pub(crate) fn resolved(&self) -> Guard<Option<Arc<Endpoints>>> {
        self.resolved.load()
    }

    /// The limits in force; none before the cluster was used.
    #[must_use]
    pub fn limits(&self) -> Option<CircuitBreakers> {
        self.view.lock().as_ref().map(|view| view.cluster.limits.default)
    }

    /// Endpoints with addresses for names, for pages; none where the cluster has no names or they were not asked for yet.
    #[must_use]
    pub fn resolved_endpoints(&self) -> Option<Arc<Endpoints>> {
        self.resolved.load_full()
    }

    /// True where that is new.
    pub(crate) fn set_resolved(&self, endpoints: Endpoints) -> bool {
        let new = self.resolved.load().as_deref() != Some(&endpoints);
        if new {
            self.resolved.store(Some(Arc::new(endpoints)));
        }
        new
    }

    /// Takes over what active checks found out about a host.
    pub(crate) fn checked(&self, host: &HostState, flags: CheckFlags) {
        let failed = host.failed_checks();
        if !host.set_checks(flags) {
            return;
        }
        if failed && !flags.has(CheckFlags::FAILED) {
            host.begin_service(self.now());
        }
        self.health_changed(&self.hosts.lock());
    }

    /// The cluster's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its hosts, in no particular order.
    #[must_use]
    pub fn hosts(&self) -> Vec<Arc<HostState>> {
        self.end_ejections();
        self.hosts.lock().values().cloned().collect()
    }

    pub(crate) fn connections(&self) -> Limited<'_> {
        Limited { all: &self.metrics.upstream_cx_active, high: &self.high.connections }
    }

    pub(crate) fn pending(&self) -> Limited<'_> {
        Limited { all: &self.metrics.upstream_rq_pending_active, high: &self.high.pending }
    }

    pub(crate) fn requests(&self) -> Limited<'_> {
        Limited { all: &self.metrics.upstream_rq_active, high: &self.high.requests }
    }

    pub(crate) fn retries(&self) -> Limited<'_> {
        Limited { all: &self.metrics.upstream_rq_retry_active, high: &self.high.retries }
    }

    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The plan for a view at this moment: the one that another worker made already, or a new one.
    pub(crate) fn plan(&self, view: &Arc<ClusterView>, epoch: u64) -> Arc<Plan> {
        let mut known = self.plan.lock();
        if let Some((_, plan)) =
            known.as_ref().filter(|(of, plan)| Arc::ptr_eq(of, view) && plan.epoch == epoch)
        {
            return Arc::clone(plan);
        }
        let plan = Arc::new(Plan::new(view, epoch));
        view.count_healthy(&self.metrics);
        *known = Some((Arc::clone(view), Arc::clone(&plan)));
        plan
    }

    /// States of these addresses: kept ones where they are known; the others are forgotten.
    pub(crate) fn keep_hosts<'a>(
        &self,
        addresses: impl Iterator<Item = &'a EndpointAddress>,
    ) -> Vec<Arc<HostState>> {
        let mut hosts = self.hosts.lock();
        let mut kept = HashMap::with_capacity(hosts.len());
        let mut list = Vec::new();
        for address in addresses {
            let host = kept.entry(address.clone()).or_insert_with(|| {
                let known = hosts.get(address).cloned();
                known.unwrap_or_else(|| Arc::new(HostState::new(address.clone(), self.now())))
            });
            list.push(Arc::clone(host));
        }
        *hosts = kept;
        let ejected = hosts.values().filter(|host| host.is_ejected()).count();
        self.metrics.outlier_detection_ejections_active.set(ejected as u64);
        list
    }

    /// The epoch of health, after ejections that are over have ended.
    pub(crate) fn health_epoch(&self) -> u64 {
        self.end_ejections();
        self.health_epoch.load(Ordering::Acquire)
    }

    /// Ends what is over. Whoever looks does so, as requests may not come for long.
    fn end_ejections(&self) {
        let next = self.next_return.load(Ordering::Relaxed);
        if next == u64::MAX {
            return;
        }
        let now = self.now();
        if next > now {
            return;
        }
        let hosts = self.hosts.lock();
        let mut next = u64::MAX;
        let mut changed = false;
        for host in hosts.values() {
            match host.return_if_due(now) {
                Ok(returned) => changed |= returned,
                Err(until) => next = next.min(until),
            }
        }
        self.next_return.store(next, Ordering::Relaxed);
        if changed {
            self.health_changed(&hosts);
        }
    }

    fn health_changed(&self, hosts: &HashMap<EndpointAddress, Arc<HostState>>) {
        let ejected = hosts.values().filter(|host| host.is_ejected()).count();
        self.metrics.outlier_detection_ejections_active.set(ejected as u64);
        self.health_epoch.fetch_add(1, Ordering::Release);
    }

    /// Judges a host by the outcome of an attempt.
    pub(crate) fn report(&self, host: &HostState, outcome: Outcome, cluster: &Cluster) {
        let policy = cluster.outlier_detection.as_ref();
        let Some(cause) = host.count(outcome, policy) else { return };
        let Some(policy) = policy.filter(|_| !host.is_ejected()) else { return };
        if rand::random_range(0..100) < policy.enforcing.get(cause).copied().unwrap_or_default() {
            self.eject(host, policy, "consecutive failures");
        }
    }

    /// Takes a host out of service, as far as enough others are in; true where it was.
    pub(crate) fn eject(&self, host: &HostState, policy: &OutlierDetection, cause: &str) -> bool {
        let hosts = self.hosts.lock();
        if !hosts.contains_key(host.address()) {
            return false;
        }
        let ejected = hosts.values().filter(|host| host.is_ejected()).count();
        let few = (ejected + 1) * 100 <= usize::from(policy.max_ejection_percent) * hosts.len();
        let allowed = few || (policy.always_eject_one && ejected == 0);
        if !allowed {
            self.metrics.outlier_detection_ejections_overflow.add(1);
            return false;
        }
        let Some(until) = host.eject(self.now(), policy) else { return false };
        self.metrics.outlier_detection_ejections_enforced_total.add(1);
        self.next_return.fetch_min(until, Ordering::Relaxed);
        self.health_changed(&hosts);
        tracing::warn!(cluster = %self.name, host = %host.address(), cause, "host ejected");
        true
    }

    /// Looks at what hosts did in the interval that ends now.
    pub(crate) fn judge_interval(&self, policy: &OutlierDetection) {
        let hosts: Vec<_> = self.hosts().into_iter().filter(|host| !host.is_ejected()).collect();
        let windows: Vec<_> = hosts.iter().map(|host| host.take_window()).collect();
        for (at, cause) in outliers(&windows, policy) {
            let Some(host) = hosts.get(at) else { continue };
            let metrics = &self.metrics;
            let (enforcing, name, detected, enforced) = match cause {
                Cause::SuccessRate => (
                    policy.rates.success_rate.map(|rule| rule.enforcing),
                    "success rate",
                    &metrics.outlier_detection_ejections_detected_success_rate,
                    &metrics.outlier_detection_ejections_enforced_success_rate,
                ),
                Cause::FailurePercentage => (
                    policy.rates.failure_percentage.map(|rule| rule.enforcing),
                    "failure percentage",
                    &metrics.outlier_detection_ejections_detected_failure_percentage,
                    &metrics.outlier_detection_ejections_enforced_failure_percentage,
                ),
            };
            detected.add(1);
            if rand::random_range(0..100) < enforcing.unwrap_or_default() && self.eject(host, policy, name) {
                enforced.add(1);
            }
        }
    }

    /// Ends all ejections where the policy is gone.
    pub(crate) fn policy_removed(&self) {
        let hosts = self.hosts.lock();
        let mut changed = false;
        for host in hosts.values() {
            changed |= host.reinstate();
        }
        if changed {
            self.next_return.store(u64::MAX, Ordering::Relaxed);
            self.health_changed(&hosts);
        }
    }
}
