// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The gateway workload of every cluster.

use super::FleetListener;
use crate::{Share, schema};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

mod defaults;

use defaults::{
    default_cpu_percent, default_drain_seconds, default_max_replicas, default_max_skew,
    default_max_unavailable, default_metrics_port, default_min_replicas, default_relay_replicas,
    default_resources, default_scale_down_seconds, yes,
};

/// The gateway workload of every cluster.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.listeners) || !has(self.metrics) || self.listeners.all(l, l.port != self.metrics.port)")
    .message("a listener has the port of the metrics").field_path(".listeners"))]
pub struct Template {
    /// Image of the gateway, by digest. Absent: the one that belongs to the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// Pull Secrets that live in each cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 253)))]
    pub pull_secrets: Vec<String>,
    /// Of the gateway's container.
    #[serde(default = "default_resources")]
    pub resources: ResourceAmounts,
    /// Number of gateway pods.
    #[serde(default)]
    pub autoscaling: Autoscaling,
    /// PodDisruptionBudget.
    #[serde(default)]
    pub disruption: Disruption,
    /// Spreading over zones and nodes.
    #[serde(default)]
    pub topology: Topology,
    /// The Service; its ports come from the listeners.
    #[serde(default)]
    pub service: ServiceTemplate,
    /// Metrics of the gateways.
    #[serde(default)]
    pub metrics: Metrics,
    /// How long a gateway that ends lets requests finish.
    #[serde(default = "default_drain_seconds")]
    #[schemars(range(min = 0, max = 3600))]
    pub drain_seconds: i32,
    /// Listeners of the fleet's own gateway. Absent: the fleet has only the gateways of Gateway objects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(
        validation = Rule::new("self.all(a, self.exists_one(b, a.port == b.port && a.protocol == b.protocol && (has(a.hostname) ? a.hostname : '') == (has(b.hostname) ? b.hostname : '')))")
            .message("listeners differ in port, protocol or hostname"),
        validation = Rule::new("self.all(a, self.exists_one(b, b.name == a.name))").message("listeners have unique names")
    )]
    pub listeners: Vec<FleetListener>,
    /// Merged over the pod template (`metadata` and `spec`) as a strategic merge: the escape hatch.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schemars(schema_with = "schema::any_object")]
    pub pod_patch: Map<String, Value>,
    /// The relay of each cluster.
    #[serde(default)]
    pub relay: RelayTemplate,
}

/// Requests and limits of a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceAmounts {
    /// What the scheduler reserves.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: BTreeMap<String, Quantity>,
    /// What the container may use.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, Quantity>,
}

/// Number of gateway pods.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.minReplicas <= self.maxReplicas").message("minReplicas must not exceed maxReplicas").field_path(".minReplicas"))]
pub struct Autoscaling {
    /// Whether an HPA sets the number. Otherwise it is `minReplicas`.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Fewest pods.
    #[serde(default = "default_min_replicas")]
    #[schemars(range(min = 1, max = 1000))]
    pub min_replicas: i32,
    /// Most pods.
    #[serde(default = "default_max_replicas")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_replicas: i32,
    /// Average use of the requested CPU that the HPA aims at.
    #[serde(default = "default_cpu_percent")]
    #[schemars(range(min = 1, max = 100))]
    pub cpu_percent: i32,
    /// How long the HPA looks back before it removes pods.
    #[serde(default = "default_scale_down_seconds")]
    #[schemars(range(min = 0, max = 3600))]
    pub scale_down_stabilization_seconds: i32,
}

/// PodDisruptionBudget of the gateways.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Disruption {
    /// Pods that an eviction may take at once.
    #[serde(default = "default_max_unavailable")]
    pub max_unavailable: Share,
}

/// Spreading over zones and nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Topology {
    /// Over zones.
    #[serde(default)]
    pub zone: WhenUnsatisfiable,
    /// Over nodes.
    #[serde(default)]
    pub node: WhenUnsatisfiable,
    /// Highest difference in the number of pods.
    #[serde(default = "default_max_skew")]
    #[schemars(range(min = 1, max = 100))]
    pub max_skew: i32,
}

/// What the scheduler does where an even spread is not possible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WhenUnsatisfiable {
    /// Schedules the pod all the same.
    #[default]
    ScheduleAnyway,
    /// Leaves the pod pending.
    DoNotSchedule,
    /// No spreading is asked for.
    Ignore,
}

/// The Service of the gateways.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceTemplate {
    /// How the Service is reached.
    #[serde(default, rename = "type")]
    pub service_type: ServiceType,
    /// Whether a node passes connections on to other nodes; `Local` keeps the client's address.
    #[serde(default)]
    pub external_traffic_policy: TrafficPolicy,
    /// Which load balancer implements the Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub load_balancer_class: Option<String>,
    /// Annotations of the Service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// How the Service is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceType {
    /// By an address outside the cluster.
    #[default]
    LoadBalancer,
    /// By a port of every node.
    NodePort,
    /// Inside the cluster only.
    ClusterIP,
}

/// Whether a node passes connections on to other nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TrafficPolicy {
    /// Every node serves.
    #[default]
    Cluster,
    /// Only nodes with a gateway pod serve; the client's address is kept.
    Local,
}

/// Metrics of the gateways.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Metrics {
    /// Port of the gateways and of the headless metrics Service.
    #[serde(default = "default_metrics_port")]
    #[schemars(range(min = 1024, max = 65535))]
    pub port: i32,
    /// Object for the Prometheus operator.
    #[serde(default)]
    pub monitor: MetricsMonitor,
}

/// Object for the Prometheus operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MetricsMonitor {
    /// None; the metrics Service carries `prometheus.io` annotations.
    #[default]
    None,
    /// A PodMonitor.
    PodMonitor,
    /// A ServiceMonitor.
    ServiceMonitor,
}

/// The relay of each cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RelayTemplate {
    /// Relay pods.
    #[serde(default = "default_relay_replicas")]
    #[schemars(range(min = 1, max = 16))]
    pub replicas: i32,
    /// Image of the relay, by digest. Absent: the operator's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// Of the relay's container.
    #[serde(default = "default_resources")]
    pub resources: ResourceAmounts,
}
