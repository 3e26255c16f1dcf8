// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Active health checks: one task for each host, one result for all workers.

mod grpc;
mod probe;
mod verdict;

use crate::connect::ConnectSettings;
use crate::host::{CheckFlags, HostState};
use crate::registry::ClusterState;
use crate::view::{ClusterView, ViewHost};
use gateway_config::{EndpointAddress, HealthCheck, HealthProbe};
pub(crate) use probe::IMMEDIATE_FAILURE;
use probe::Prober;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use verdict::{Checked, Verdicts};

/// The checks of one cluster.
pub(crate) struct Checks {
    settings: Rc<Settings>,
    /// By socket of the cluster.
    connect: Vec<Rc<ConnectSettings>>,
    hosts: HashMap<EndpointAddress, Running>,
    first: Rc<watch::Sender<usize>>,
}

/// What all checks of a cluster have in common.
struct Settings {
    check: HealthCheck,
    state: Arc<ClusterState>,
    /// Connections of checks are counted here, not among those of requests.
    own: Arc<ClusterState>,
    /// A host that passes a check is no longer ejected.
    unejects: bool,
}

/// A host that is checked.
struct Running {
    host: Arc<HostState>,
    target: Target,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Where a check goes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    address: EndpointAddress,
    /// The name for TLS.
    hostname: Option<Box<str>>,
    /// Position in the cluster's sockets.
    socket: usize,
    /// The proxy that leads to it.
    connect_proxy: Option<SocketAddr>,
    /// What the request asks for.
    authority: Box<str>,
}

impl Checks {
    /// Checks for a cluster, where it has any; `before` goes on where nothing changed for it.
    pub(crate) fn follow(
        before: Option<Self>,
        state: &Arc<ClusterState>,
        view: &ClusterView,
    ) -> Option<Self> {
        let check = view.cluster.health_checks.first()?;
        let connect: Vec<_> = ConnectSettings::all(view).map(Rc::new).collect();
        let unejects = view.cluster.outlier_detection.is_some_and(|policy| policy.uneject_after_check);
        let before = before.filter(|before| before.settings.unejects == unejects);
        let same = before.filter(|before| before.settings.check == *check && before.connect == connect);
        let mut checks = same.unwrap_or_else(|| Self {
            settings: Rc::new(Settings {
                check: check.clone(),
                state: Arc::clone(state),
                own: Arc::new(ClusterState::detached(state.name())),
                unejects,
            }),
            connect,
            hosts: HashMap::new(),
            first: Rc::new(watch::Sender::new(0)),
        });
        checks.hosts_changed(view);
        Some(checks)
    }

    fn hosts_changed(&mut self, view: &ClusterView) {
        let mut known = std::mem::take(&mut self.hosts);
        for host in view.hosts.iter().filter(|host| !host.check().disabled) {
            let target = target_of(host, &self.settings.check, view);
            let address = host.state.address().clone();
            let running = known
                .remove(&address)
                .filter(|known| known.target == target && Arc::ptr_eq(&known.host, &host.state));
            let Some(connect) = self.connect.get(target.socket) else { continue };
            let running =
                running.unwrap_or_else(|| self.begin(Arc::clone(&host.state), target, Rc::clone(connect)));
            self.hosts.insert(address, running);
        }
    }

    fn begin(&self, host: Arc<HostState>, target: Target, connect: Rc<ConnectSettings>) -> Running {
        self.first.send_modify(|waiting| *waiting += 1);
        let job = watch_host(
            Rc::clone(&self.settings),
            Arc::clone(&host),
            (target.clone(), connect),
            First(Some(Rc::clone(&self.first))),
        );
        Running { host, target, task: tokio::task::spawn_local(job).abort_handle() }
    }

    /// Tells when every host was checked once.
    pub(crate) fn first_round(&self) -> watch::Receiver<usize> {
        self.first.subscribe()
    }
}

/// A host's first check; counted as done at the latest when it is dropped.
struct First(Option<Rc<watch::Sender<usize>>>);

impl First {
    fn done(&mut self) {
        if let Some(first) = self.0.take() {
            first.send_modify(|waiting| *waiting = waiting.saturating_sub(1));
        }
    }
}

impl Drop for First {
    fn drop(&mut self) {
        self.done();
    }
}

fn target_of(host: &ViewHost, check: &HealthCheck, view: &ClusterView) -> Target {
    let own = host.check();
    let port = own.port.or(check.alt_port);
    let address = match (own.address, host.state.address(), port) {
        (Some(address), ..) => {
            EndpointAddress::Socket(port.map_or(address, |port| SocketAddr::new(address.ip(), port)))
        }
        (None, address, None) => address.clone(),
        (None, EndpointAddress::Socket(address), Some(port)) => {
            EndpointAddress::Socket(SocketAddr::new(address.ip(), port))
        }
        (None, EndpointAddress::Name { host, .. }, Some(port)) => {
            EndpointAddress::Name { host: host.clone(), port }
        }
    };
    let configured = match &check.probe {
        HealthProbe::Http(http) => http.host.as_ref(),
        HealthProbe::Grpc { authority, .. } => authority.as_ref(),
        HealthProbe::Tcp { .. } => None,
    };
    let authority = own.hostname.as_ref().or(configured);
    let authority = authority.cloned().unwrap_or_else(|| cluster_authority(&view.cluster.name));
    let socket = check.socket_metadata.as_ref().map_or(host.socket, |told| view.cluster.socket_for(told));
    Target { address, hostname: host.hostname.clone(), connect_proxy: host.connect_proxy, socket, authority }
}

/// The cluster's name as an authority; a name that cannot be one is not sent.
fn cluster_authority(name: &str) -> Box<str> {
    if name.parse::<http::uri::Authority>().is_ok() { name.into() } else { "health-check".into() }
}

async fn watch_host(
    settings: Rc<Settings>,
    host: Arc<HostState>,
    (target, connect): (Target, Rc<ConnectSettings>),
    mut first: First,
) {
    let check = &settings.check;
    let mut prober = Prober::new(&settings, &target, &connect);
    let mut verdicts = Verdicts::default();
    tokio::time::sleep(up_to(check.times.initial_jitter)).await;
    loop {
        let metrics = &settings.state.metrics;
        metrics.health_check_attempt.add(1);
        let result = match tokio::time::timeout(check.timeout, prober.check()).await {
            Ok(result) => result,
            Err(_) => {
                prober.hang_up();
                Checked::Unreachable("no answer in time".to_owned())
            }
        };
        match &result {
            Checked::Healthy { .. } => metrics.health_check_success.add(1),
            Checked::Unreachable(_) => {
                metrics.health_check_failure.add(1);
                metrics.health_check_network_failure.add(1);
            }
            Checked::Unhealthy { .. } => metrics.health_check_failure.add(1),
        }
        let before = host.checks();
        let after = verdicts.judge(before, &result, check);
        let changed = before.has(CheckFlags::FAILED) != after.has(CheckFlags::FAILED);
        settings.state.checked(&host, after);
        if settings.unejects && host.is_ejected() && matches!(result, Checked::Healthy { .. }) {
            settings.state.reinstate(&host);
        }
        tell(&settings, &host, &result, changed);
        first.done();
        let failed = after.has(CheckFlags::FAILED);
        let no_traffic = metrics.upstream_cx_total.get() == 0;
        tokio::time::sleep(pause(check, failed, changed, no_traffic)).await;
    }
}

/// Time to the next check.
fn pause(check: &HealthCheck, failed: bool, changed: bool, no_traffic: bool) -> Duration {
    let times = &check.times;
    let base = match (no_traffic, failed, changed) {
        (true, false, _) => times.no_traffic_healthy,
        (true, true, _) => times.no_traffic,
        (false, false, false) => times.healthy,
        (false, false, true) => times.healthy_edge,
        (false, true, false) => times.unhealthy,
        (false, true, true) => times.unhealthy_edge,
    };
    let share = base.mul_f64(f64::from(times.jitter_percent.min(100_000)) / 100.0);
    base + up_to(share) + up_to(times.jitter)
}

fn up_to(limit: Duration) -> Duration {
    limit.mul_f64(rand::random::<f64>())
}

fn tell(settings: &Settings, host: &HostState, result: &Checked, changed: bool) {
    let (cluster, host) = (settings.state.name(), host.address());
    match result {
        Checked::Healthy { .. } if changed => tracing::info!(cluster, %host, "host is healthy"),
        Checked::Healthy { .. } if settings.check.log_successes => {
            tracing::info!(cluster, %host, "health check succeeded");
        }
        Checked::Healthy { .. } => {}
        Checked::Unhealthy { why, .. } | Checked::Unreachable(why) if changed => {
            tracing::warn!(cluster, %host, why, "host is unhealthy");
        }
        Checked::Unhealthy { why, .. } | Checked::Unreachable(why) if settings.check.log_failures => {
            tracing::warn!(cluster, %host, why, "health check failed");
        }
        Checked::Unhealthy { why, .. } | Checked::Unreachable(why) => {
            tracing::debug!(cluster, %host, why, "health check failed");
        }
    }
}
