// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A cluster at one state of the configuration: its hosts and TLS, built once and shared by all workers.

use crate::host::{CheckFlags, HostHealth, HostState};
use crate::metrics::ClusterMetrics;
use crate::registry::ClusterState;
use crate::tls::{self, TlsSettings};
use gateway_config::{
    Cluster, EndpointCheck, EndpointHealth, Endpoints, LbMetadata, Secret, SecretSource, Snapshot,
};
use std::sync::Arc;

/// A cluster at one state of the configuration.
#[derive(Debug)]
pub(crate) struct ClusterView {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) endpoints: Option<Arc<Endpoints>>,
    roots: Option<Arc<Secret>>,
    certificate: Option<Arc<Secret>>,
    generation: u64,
    /// None for plain text.
    pub(crate) tls: Option<Arc<TlsSettings>>,
    /// In the order of the endpoints.
    pub(crate) hosts: Vec<ViewHost>,
}

/// A host in its place.
#[derive(Debug)]
pub(crate) struct ViewHost {
    pub(crate) state: Arc<HostState>,
    pub(crate) hostname: Option<Box<str>>,
    pub(crate) priority: u32,
    pub(crate) weight: u32,
    told: EndpointHealth,
    /// Position in the endpoints' localities.
    pub(crate) locality: usize,
    metadata: LbMetadata,
    check: EndpointCheck,
}

impl ViewHost {
    /// How active checks reach it.
    pub(crate) fn check(&self) -> &EndpointCheck {
        &self.check
    }

    /// Whether it may take requests now.
    pub(crate) fn health(&self) -> HostHealth {
        self.state.health(self.told)
    }

    pub(crate) fn metadata(&self) -> &LbMetadata {
        &self.metadata
    }

    /// What consistent hashing places it by.
    pub(crate) fn hash_key(&self, by_hostname: bool) -> String {
        let told = self.metadata.get("hash_key").and_then(|value| value.as_str());
        match (told, &self.hostname) {
            (Some(key), _) if !key.is_empty() => key.to_owned(),
            (_, Some(name)) if by_hostname => name.to_string(),
            _ => self.state.address().to_string(),
        }
    }
}

impl ClusterView {
    /// Percent that healthy capacity counts.
    pub(crate) fn overprovisioning(&self) -> u32 {
        self.endpoints.as_ref().map_or(140, |endpoints| endpoints.overprovisioning.max(100))
    }

    /// How many hosts take requests now, and how many only in need.
    pub(crate) fn count_healthy(&self, metrics: &ClusterMetrics) {
        let count =
            |health: HostHealth| self.hosts.iter().filter(|host| host.health() == health).count() as u64;
        metrics.membership_healthy.set(count(HostHealth::Healthy));
        metrics.membership_degraded.set(count(HostHealth::Degraded));
        metrics.membership_excluded.set(count(HostHealth::Excluded));
        if !self.cluster.health_checks.is_empty() {
            let flags = || self.hosts.iter().map(|host| host.state.checks());
            let good = flags().filter(|flags| !flags.has(CheckFlags::FAILED)).count();
            metrics.health_check_healthy.set(good as u64);
            let worse = flags().filter(|flags| flags.has(CheckFlags::DEGRADED)).count();
            metrics.health_check_degraded.set(worse as u64);
        }
    }

    /// Whether the view is what the snapshot says.
    pub(crate) fn is_current(
        &self,
        snapshot: &Snapshot,
        cluster: &Arc<Cluster>,
        endpoints: Option<&Arc<Endpoints>>,
    ) -> bool {
        Arc::ptr_eq(&self.cluster, cluster)
            && same(self.endpoints.as_ref(), endpoints)
            && same(self.roots.as_ref(), roots(snapshot, cluster))
            && same(self.certificate.as_ref(), certificate(snapshot, cluster))
    }

    /// The view for a snapshot: the one that another worker built already, or a new one.
    pub(crate) fn obtain(
        state: &ClusterState,
        snapshot: &Snapshot,
        cluster: &Arc<Cluster>,
        endpoints: Option<&Arc<Endpoints>>,
    ) -> Arc<Self> {
        let mut current = state.view.lock();
        if let Some(view) = current.as_ref().filter(|view| view.is_current(snapshot, cluster, endpoints)) {
            return Arc::clone(view);
        }
        let view = Arc::new(Self::build(state, snapshot, cluster, endpoints, current.as_deref()));
        // A worker that is still behind does not put the others back.
        if current.as_ref().is_none_or(|now| now.generation <= snapshot.generation) {
            *current = Some(Arc::clone(&view));
        }
        view
    }

    fn build(
        state: &ClusterState,
        snapshot: &Snapshot,
        cluster: &Arc<Cluster>,
        endpoints: Option<&Arc<Endpoints>>,
        before: Option<&Self>,
    ) -> Self {
        let roots = roots(snapshot, cluster).cloned();
        let certificate = certificate(snapshot, cluster).cloned();
        let same_tls = before.filter(|view| {
            view.cluster.tls == cluster.tls
                && same(view.roots.as_ref(), roots.as_ref())
                && same(view.certificate.as_ref(), certificate.as_ref())
        });
        let tls = match (&cluster.tls, same_tls) {
            (None, _) => None,
            (Some(_), Some(view)) => view.tls.clone(),
            (Some(tls), None) => {
                Some(Arc::new(tls::settings(tls, cluster.protocol, roots.as_deref(), certificate.as_deref())))
            }
        };
        let placed = || {
            endpoints
                .into_iter()
                .flat_map(|all| all.localities.iter().enumerate())
                .flat_map(|(at, l)| l.endpoints.iter().map(move |e| (l.priority, at, e)))
        };
        let states = state.keep_hosts(placed().map(|(.., endpoint)| &endpoint.address));
        let hosts = placed().zip(states).map(|((priority, locality, endpoint), state)| ViewHost {
            state,
            hostname: endpoint.hostname.clone(),
            priority,
            weight: endpoint.weight.max(1),
            told: endpoint.health,
            locality,
            metadata: endpoint.metadata.clone(),
            check: endpoint.check.clone(),
        });
        let view = Self {
            cluster: Arc::clone(cluster),
            endpoints: endpoints.cloned(),
            roots,
            certificate,
            generation: snapshot.generation,
            tls,
            hosts: hosts.collect(),
        };
        let pending = match cluster.balancing.ignore_until_first_check {
            true => CheckFlags::FAILED.with(CheckFlags::PENDING),
            false => CheckFlags::FAILED,
        };
        for host in &view.hosts {
            host.state.watch(!cluster.health_checks.is_empty() && !host.check.disabled, pending);
        }
        if cluster.outlier_detection.is_none() {
            state.policy_removed();
        }
        state.metrics.membership_change.add(1);
        state.metrics.membership_total.set(view.hosts.len() as u64);
        view
    }
}

fn same<T>(a: Option<&Arc<T>>, b: Option<&Arc<T>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        _ => false,
    }
}

fn roots<'a>(snapshot: &'a Snapshot, cluster: &'a Cluster) -> Option<&'a Arc<Secret>> {
    find(snapshot, cluster.tls.as_ref()?.roots.as_ref()?)
}

fn certificate<'a>(snapshot: &'a Snapshot, cluster: &'a Cluster) -> Option<&'a Arc<Secret>> {
    find(snapshot, cluster.tls.as_ref()?.certificate.as_ref()?)
}

fn find<'a>(snapshot: &'a Snapshot, source: &'a SecretSource) -> Option<&'a Arc<Secret>> {
    match source {
        SecretSource::Named(name) => snapshot.secrets.get(name),
        SecretSource::Inline(secret) => Some(secret),
    }
}
