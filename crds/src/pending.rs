// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Fields of a GatewayFleet that the schema knows and this version does not act on.

use crate::GatewayFleetSpec;
use crate::gateway_fleet::{Gates, LaneStrategy, Lanes, MetricsMonitor, Rollout, RolloutMode, StrategyKind};

/// Paths of the fields that are set and have no effect yet, for the condition `FieldsNotHonoured`. Fields at their default
/// do not count as set.
#[must_use]
pub fn pending_fields(spec: &GatewayFleetSpec) -> Vec<String> {
    let mut pending = Pending::default();
    plugins(spec, &mut pending);
    config_sources(spec, &mut pending);
    rollout(&spec.rollout, &mut pending);
    gates(&spec.rollout.gates, &mut pending);
    lanes(&spec.rollout.lanes, &mut pending);
    pending.note(spec.template.metrics.monitor != MetricsMonitor::None, "template.metrics.monitor");
    pending.note(spec.failover.is_some(), "failover");
    pending.fields
}

#[derive(Default)]
struct Pending {
    fields: Vec<String>,
}

impl Pending {
    fn note(&mut self, is_set: bool, path: impl Into<String>) {
        if is_set {
            self.fields.push(format!("spec.{}", path.into()));
        }
    }
}

fn plugins(spec: &GatewayFleetSpec, pending: &mut Pending) {
    for plugin in &spec.plugins {
        let path = |field: &str| format!("plugins[{}].{field}", plugin.name);
        pending.note(plugin.reference.is_some(), path("ref"));
        let verify = plugin.oci.as_ref().is_some_and(|oci| oci.verify.is_some());
        pending.note(verify, path("oci.verify"));
    }
}

fn config_sources(spec: &GatewayFleetSpec, pending: &mut Pending) {
    for source in &spec.config_sources {
        pending.note(source.oci.is_some(), format!("configSources[{}].oci", source.name));
    }
}

fn rollout(rollout: &Rollout, pending: &mut Pending) {
    pending.note(rollout.mode == RolloutMode::DryRun, "rollout.mode");
    pending.note(rollout.within_cluster.is_some(), "rollout.withinCluster");
    pending.note(rollout.preflight.is_some(), "rollout.preflight");
}

fn gates(gates: &Gates, pending: &mut Pending) {
    pending.note(!gates.metrics.is_empty(), "rollout.gates.metrics");
    pending.note(gates.config.window != Gates::default().config.window, "rollout.gates.config.window");
}

fn lanes(lanes: &Lanes, pending: &mut Pending) {
    let default = LaneStrategy::default();
    pending.note(lanes.workload != default, "rollout.lanes.workload");
    pending.note(lanes.plugins != default, "rollout.lanes.plugins");
    pending.note(lanes.routes != default, "rollout.lanes.routes");
    pending.note(lanes.secrets.strategy != StrategyKind::Immediate, "rollout.lanes.secrets");
}
