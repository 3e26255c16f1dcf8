// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! All numbers under Envoy's names: the proxy's, and those of the process and its configuration.

use crate::process::Shared;
use gateway_proxy::{Stat, StatScope, StatValue};
use gateway_telemetry::resident_bytes;
use gateway_xds_api::ResourceType::{self, Cluster, Listener};

/// Tells all numbers, family after family.
pub(crate) fn visit(shared: &Shared, visit: &mut dyn FnMut(&Stat<'_>)) {
    shared.proxy.visit_stats(visit);
    let mut part =
        |part, name: &str, value| visit(&Stat { scope: StatScope::Part(part), name, tag: None, value });
    server(shared, &mut |name, value| part("server", name, value));
    let status = shared.client.get().map(|status| status.view()).unwrap_or_default();
    part("control_plane", "connected_state", StatValue::Gauge(status.connected.into()));
    let mut updates = |manager: &'static str, kind: ResourceType, service: &str| {
        let of_type = status.types.get(&kind.to_string()).cloned().unwrap_or_default();
        for (name, value) in [("update_success", of_type.accepted), ("update_rejected", of_type.rejected)] {
            part(manager, &format!("{service}.{name}"), StatValue::Counter(value));
        }
    };
    updates("listener_manager", Listener, "lds");
    updates("cluster_manager", Cluster, "cds");
    managers(shared, &mut part);
}

/// A number of a part of the process.
type Part<'p> = dyn FnMut(&'static str, &str, StatValue<'static>) + 'p;

fn managers(shared: &Shared, part: &mut Part<'_>) {
    let (listeners, clusters) = {
        let ledger = shared.ledger.lock();
        (ledger.counts(Listener), ledger.counts(Cluster))
    };
    for (manager, what, counts) in
        [("listener_manager", "listener", listeners), ("cluster_manager", "cluster", clusters)]
    {
        for (name, value) in
            [("added", counts.added), ("modified", counts.modified), ("removed", counts.removed)]
        {
            part(manager, &format!("{what}_{name}"), StatValue::Counter(value));
        }
    }
    let (waiting, warming, known) = {
        let store = shared.store.lock();
        let known = store.snapshot().clusters.len();
        (store.waiting().len(), store.clusters_without_endpoints().len(), known)
    };
    let gauge = |value: usize| StatValue::Gauge(value as u64);
    part("listener_manager", "total_listeners_active", gauge(shared.proxy.listeners().len()));
    part("listener_manager", "total_listeners_warming", gauge(waiting));
    part("listener_manager", "workers_started", gauge(1));
    part(
        "listener_manager",
        "listener_create_failure",
        StatValue::Counter(shared.proxy.bind_failures().len() as u64),
    );
    part("cluster_manager", "active_clusters", gauge(known.saturating_sub(warming)));
    part("cluster_manager", "warming_clusters", gauge(warming));
}

fn server(shared: &Shared, tell: &mut dyn FnMut(&str, StatValue<'static>)) {
    let state = state(shared);
    let uptime = shared.started.elapsed().unwrap_or_default().as_secs();
    let resident = resident_bytes().unwrap_or_default();
    for (name, value) in [
        ("uptime", uptime),
        ("live", u64::from(state == State::Live)),
        ("state", state as u64),
        ("concurrency", shared.proxy.worker_count() as u64),
        ("total_connections", shared.proxy.connections() as u64),
        ("parent_connections", 0),
        ("hot_restart_epoch", 0),
        ("memory_physical_size", resident),
    ] {
        tell(name, StatValue::Gauge(value));
    }
}

/// The state of the process, with Envoy's numbers (`admin.v3.ServerInfo.State`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Live = 0,
    Draining = 1,
    Initializing = 3,
}

impl State {
    /// Envoy's word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Live => "LIVE",
            Self::Draining => "DRAINING",
            Self::Initializing => "INITIALIZING",
        }
    }
}

/// The state now.
pub(crate) fn state(shared: &Shared) -> State {
    if shared.proxy_is_draining() || shared.fails_health_checks() {
        State::Draining
    } else if shared.readiness.is_ready() {
        State::Live
    } else {
        State::Initializing
    }
}
