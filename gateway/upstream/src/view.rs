// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A cluster at one state of the configuration: its hosts and TLS, built once and shared by all workers.

use crate::host::{CheckFlags, HostHealth, HostState};
use crate::metrics::ClusterMetrics;
use crate::registry::ClusterState;
use crate::tls::{self, Secrets, TlsSettings};
use gateway_config::{
    Cluster, EndpointAddress, EndpointCheck, EndpointHealth, Endpoints, LbMetadata, LocalZone,
    LocalityBalancing, Secret, SecretSource, Snapshot, UpstreamSocket,
};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// A cluster at one state of the configuration.
#[derive(Debug)]
pub(crate) struct ClusterView {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) endpoints: Option<Arc<Endpoints>>,
    generation: u64,
    /// By socket of the cluster.
    pub(crate) sockets: Vec<SocketState>,
    /// In the order of the endpoints.
    pub(crate) hosts: Vec<ViewHost>,
    /// Positions of hosts, where requests may name them.
    by_address: HashMap<EndpointAddress, usize>,
    /// The gateway's own place and the endpoints of its own kind, where they matter.
    pub(crate) local: Option<(Arc<LocalZone>, Arc<Endpoints>)>,
}

/// A socket with its secrets.
#[derive(Debug)]
pub(crate) struct SocketState {
    roots: Option<Arc<Secret>>,
    certificate: Option<Arc<Secret>>,
    /// None for plain text.
    pub(crate) tls: Option<Arc<TlsSettings>>,
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
    /// Position in the cluster's sockets.
    pub(crate) socket: usize,
    /// The proxy that leads to it.
    pub(crate) connect_proxy: Option<SocketAddr>,
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
    /// The position of a host that requests may name.
    pub(crate) fn position_of(&self, address: &EndpointAddress) -> Option<usize> {
        self.by_address.get(address).copied()
    }

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
            && same(
                self.local.as_ref().map(|(_, peers)| peers),
                local(snapshot, cluster).map(|(_, peers)| peers),
            )
            && cluster.sockets().zip(&self.sockets).all(|(socket, state)| state.is_current(snapshot, socket))
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
        let sockets = cluster.sockets().enumerate().map(|(at, socket)| {
            let known = before.filter(|view| {
                view.cluster.protocol == cluster.protocol
                    && view.cluster.request_names == cluster.request_names
                    && view.cluster.sockets().nth(at).is_some_and(|known| known.tls == socket.tls)
            });
            SocketState::build(snapshot, cluster, socket, known.and_then(|view| view.sockets.get(at)))
        });
        let sockets = sockets.collect();
        let placed = || {
            endpoints
                .into_iter()
                .flat_map(|all| all.localities.iter().enumerate())
                .flat_map(|(at, l)| l.endpoints.iter().map(move |e| (l, at, e)))
        };
        let states = state.keep_hosts(placed().map(|(.., endpoint)| &endpoint.address));
        let hosts = placed().zip(states).map(|((place, locality, endpoint), state)| ViewHost {
            state,
            hostname: endpoint.hostname.clone(),
            priority: place.priority,
            weight: endpoint.weight.max(1),
            told: endpoint.health,
            locality,
            metadata: endpoint.metadata.clone(),
            check: endpoint.check.clone(),
            socket: cluster.socket_of(endpoint, place),
            connect_proxy: endpoint.connect_proxy,
        });
        let hosts: Vec<ViewHost> = hosts.collect();
        let by_address = match cluster.balancing.overrides.is_empty() {
            true => HashMap::new(),
            false => (0..).zip(&hosts).map(|(at, host)| (host.state.address().clone(), at)).collect(),
        };
        let view = Self {
            cluster: Arc::clone(cluster),
            endpoints: endpoints.cloned(),
            generation: snapshot.generation,
            sockets,
            hosts,
            by_address,
            local: local(snapshot, cluster).map(|(zone, peers)| (Arc::clone(zone), Arc::clone(peers))),
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

/// The gateway's own place and its peers, for a cluster that looks at them.
fn local<'a>(snapshot: &'a Snapshot, cluster: &Cluster) -> Option<(&'a Arc<LocalZone>, &'a Arc<Endpoints>)> {
    let LocalityBalancing::ZoneAware(_) = cluster.balancing.localities else { return None };
    let zone = snapshot.local.as_ref()?;
    let (_, endpoints) = snapshot.cluster(zone.cluster.as_deref()?)?;
    Some((zone, endpoints?))
}

impl SocketState {
    fn build(snapshot: &Snapshot, cluster: &Cluster, socket: &UpstreamSocket, known: Option<&Self>) -> Self {
        let (roots, certificate) = (roots(snapshot, socket).cloned(), certificate(snapshot, socket).cloned());
        let known = known.filter(|known| {
            same(known.roots.as_ref(), roots.as_ref())
                && same(known.certificate.as_ref(), certificate.as_ref())
        });
        let tls = match (&socket.tls, known) {
            (None, _) => None,
            (Some(_), Some(known)) => known.tls.clone(),
            (Some(tls), None) => {
                let secrets = Secrets { roots: roots.as_deref(), certificate: certificate.as_deref() };
                let verify = cluster.request_names.as_ref().is_some_and(|names| names.verify);
                Some(Arc::new(tls::settings(tls, cluster.protocol, verify, secrets)))
            }
        };
        Self { roots, certificate, tls }
    }

    fn is_current(&self, snapshot: &Snapshot, socket: &UpstreamSocket) -> bool {
        same(self.roots.as_ref(), roots(snapshot, socket))
            && same(self.certificate.as_ref(), certificate(snapshot, socket))
    }
}

fn roots<'a>(snapshot: &'a Snapshot, socket: &'a UpstreamSocket) -> Option<&'a Arc<Secret>> {
    find(snapshot, socket.tls.as_ref()?.roots.as_ref()?)
}

fn certificate<'a>(snapshot: &'a Snapshot, socket: &'a UpstreamSocket) -> Option<&'a Arc<Secret>> {
    find(snapshot, socket.tls.as_ref()?.certificate.as_ref()?)
}

fn find<'a>(snapshot: &'a Snapshot, source: &'a SecretSource) -> Option<&'a Arc<Secret>> {
    match source {
        SecretSource::Named(name) => snapshot.secrets.get(name),
        SecretSource::Inline(secret) => Some(secret),
    }
}
