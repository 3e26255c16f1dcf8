// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Defaults of the workload template, spelt out: the API server fills them in, and rules see them.

use super::{
    Autoscaling, Disruption, Metrics, MetricsMonitor, RelayTemplate, ResourceAmounts, ServiceTemplate,
    Template, Topology, WhenUnsatisfiable,
};
use crate::Share;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::Map;
use std::collections::BTreeMap;

impl Default for Template {
    fn default() -> Self {
        Self {
            image: None,
            pull_secrets: Vec::new(),
            resources: default_resources(),
            autoscaling: Autoscaling::default(),
            disruption: Disruption::default(),
            topology: Topology::default(),
            service: ServiceTemplate::default(),
            metrics: Metrics::default(),
            drain_seconds: default_drain_seconds(),
            listeners: Vec::new(),
            pod_patch: Map::new(),
            relay: RelayTemplate::default(),
        }
    }
}

impl Default for Autoscaling {
    fn default() -> Self {
        Self {
            enabled: true,
            min_replicas: default_min_replicas(),
            max_replicas: default_max_replicas(),
            cpu_percent: default_cpu_percent(),
            scale_down_stabilization_seconds: default_scale_down_seconds(),
        }
    }
}

impl Default for Disruption {
    fn default() -> Self {
        Self { max_unavailable: default_max_unavailable() }
    }
}

impl Default for Topology {
    fn default() -> Self {
        Self {
            zone: WhenUnsatisfiable::default(),
            node: WhenUnsatisfiable::default(),
            max_skew: default_max_skew(),
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self { port: default_metrics_port(), monitor: MetricsMonitor::default() }
    }
}

impl Default for RelayTemplate {
    fn default() -> Self {
        Self { replicas: default_relay_replicas(), image: None, resources: default_resources() }
    }
}

/// 100m CPU and 128Mi are requested; memory is limited, CPU is not, since throttling costs latency.
pub(super) fn default_resources() -> ResourceAmounts {
    let amount = |name: &str, value: &str| (name.to_owned(), Quantity(value.to_owned()));
    ResourceAmounts {
        requests: BTreeMap::from([amount("cpu", "100m"), amount("memory", "128Mi")]),
        limits: BTreeMap::from([amount("memory", "1Gi")]),
    }
}

pub(super) fn yes() -> bool {
    true
}

pub(super) fn default_min_replicas() -> i32 {
    3
}

pub(super) fn default_max_replicas() -> i32 {
    10
}

pub(super) fn default_cpu_percent() -> i32 {
    70
}

pub(super) fn default_scale_down_seconds() -> i32 {
    300
}

pub(super) fn default_max_unavailable() -> Share {
    Share::Count(1)
}

pub(super) fn default_max_skew() -> i32 {
    1
}

pub(super) fn default_metrics_port() -> i32 {
    15090
}

pub(super) fn default_drain_seconds() -> i32 {
    45
}

pub(super) fn default_relay_replicas() -> i32 {
    2
}
