// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! GatewayFleet: what a platform team writes.

mod clusters;
mod config_source;
mod gates;
mod listener;
mod overrides;
mod plugin;
mod resilience;
mod rollout;
mod status;
mod template;

pub use clusters::{ClusterSelection, OnDeselect};
pub use config_source::{ConfigSource, GatewayApiSource, IngressSource, OciSource, SourceScope};
pub use gates::{ConfigGate, Gates, MetricGate, MetricSignal, MetricSource, OnNoData, WorkloadGate};
pub use listener::{FleetListener, ListenerProtocol, ListenerTls};
pub use overrides::{ObjectPatch, Override, PatchOperation};
pub use plugin::{
    FleetPlugin, PluginFailurePolicy, PluginOci, PluginPhase, PrePull, SignatureIdentity, VerifySignature,
};
pub use resilience::{
    Deletion, DeletionPolicy, Drift, DriftMode, Failover, FailoverMode, OnConflict, OnExisting, Proximity,
};
pub use rollout::{
    Approval, FailureAction, FailureScope, LaneStrategy, Lanes, OnFailure, OnNewRevision, Preflight, Rollout,
    RolloutMode, StrategyKind, Unreachable, UnreachableAction, Wave, WithinCluster,
};
pub use status::{
    AttentionItem, ClusterCounts, Display, GatewayCounts, GatewayFleetStatus, Quarantined, RolloutPause,
    RolloutPhase, RolloutStatus, WaveResult, WaveStatus,
};
pub use template::{
    Autoscaling, Disruption, Metrics, MetricsMonitor, RelayTemplate, ResourceAmounts, ServiceTemplate,
    ServiceType, Template, Topology, TrafficPolicy, WhenUnsatisfiable,
};

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// One declaration of the gateways of many clusters: which clusters, which workload, which routes, and how changes roll out.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "gatefleet.dev",
    version = "v1alpha1",
    kind = "GatewayFleet",
    plural = "gatewayfleets",
    namespaced,
    shortname = "gf",
    category = "gatefleet",
    status = "GatewayFleetStatus",
    derive = "PartialEq",
    doc = "One declaration of the gateways of many clusters: which clusters, which workload, which routes, and how changes roll out.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Wave", type_ = "string", json_path = ".status.rollout.wave"),
    printcolumn(name = "Updated", type_ = "string", json_path = ".status.display.updated"),
    printcolumn(name = "Acked", type_ = "string", json_path = ".status.display.acked"),
    printcolumn(name = "Active", type_ = "string", json_path = ".status.activeRevision"),
    printcolumn(name = "Desired", type_ = "string", json_path = ".status.desiredRevision"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("size(self.metadata.name) <= 40").message("metadata.name must have at most 40 characters"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name must be a DNS label that starts with a letter: it names Services")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.targetNamespace) == has(oldSelf.targetNamespace)")
        .message("targetNamespace cannot be added or removed; make a new fleet instead").field_path(".targetNamespace"),
    validation = Rule::new("(has(self.allowMutableTags) && self.allowMutableTags) || !has(self.template) || ((!has(self.template.image) || self.template.image.contains('@sha256:')) && (!has(self.template.relay) || !has(self.template.relay.image) || self.template.relay.image.contains('@sha256:')))")
        .message("images are given by digest (name@sha256:...); set spec.allowMutableTags to allow tags").field_path(".template.image"),
    validation = Rule::new("(has(self.allowMutableTags) && self.allowMutableTags) || !has(self.plugins) || self.plugins.all(p, !has(p.oci) || p.oci.image.contains('@sha256:'))")
        .message("plugins are given by digest (name@sha256:...); set spec.allowMutableTags to allow tags").field_path(".plugins"),
    validation = Rule::new("(has(self.allowMutableTags) && self.allowMutableTags) || !has(self.configSources) || self.configSources.all(s, !has(s.oci) || s.oci.image.contains('@sha256:'))")
        .message("configuration artifacts are given by digest (name@sha256:...); set spec.allowMutableTags to allow tags").field_path(".configSources")
)]
pub struct GatewayFleetSpec {
    /// The namespace of the fleet's workloads, the same in every cluster. Immutable. Absent: the fleet's own namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("targetNamespace is immutable; make a new fleet instead"))]
    pub target_namespace: Option<String>,
    /// SPIFFE trust domain of the fleet's workload identities. Immutable.
    #[serde(default = "default_trust_domain")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("trustDomain is immutable; make a new fleet instead"))]
    pub trust_domain: String,
    /// Accept images and plugins by tag. A tag can change under a fleet, so revisions lose their meaning; for trying out.
    #[serde(default)]
    pub allow_mutable_tags: bool,
    /// Where the fleet runs. There is no implicit "all".
    pub clusters: ClusterSelection,
    /// The gateway workload of every cluster.
    #[serde(default)]
    pub template: Template,
    /// Differences between clusters, in order; all that match are merged and the result is validated again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub overrides: Vec<Override>,
    /// WebAssembly plugins on every request of the fleet's gateways.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(validation = Rule::new("self.all(p, self.exists_one(q, q.name == p.name))").message("plugins have unique names"))]
    pub plugins: Vec<FleetPlugin>,
    /// Which objects carry the fleet's routes. Absent: the Gateways of every GatewayClass whose parametersRef names this
    /// fleet, and Ingresses of class `gatefleet`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = Rule::new("self.all(s, self.exists_one(t, t.name == s.name))").message("config sources have unique names"))]
    pub config_sources: Vec<ConfigSource>,
    /// How a change reaches the clusters.
    #[serde(default)]
    pub rollout: Rollout,
    /// What a gateway does when its cluster has no healthy endpoint of a service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failover: Option<Failover>,
    /// What happens to managed objects that someone else changed.
    #[serde(default)]
    pub drift: Drift,
    /// What happens to the clusters when the fleet is deleted.
    #[serde(default)]
    pub deletion: Deletion,
}

impl Default for GatewayFleetSpec {
    fn default() -> Self {
        Self {
            target_namespace: None,
            trust_domain: default_trust_domain(),
            allow_mutable_tags: false,
            clusters: ClusterSelection::default(),
            template: Template::default(),
            overrides: Vec::new(),
            plugins: Vec::new(),
            config_sources: Vec::new(),
            rollout: Rollout::default(),
            failover: None,
            drift: Drift::default(),
            deletion: Deletion::default(),
        }
    }
}

fn default_trust_domain() -> String {
    "gatefleet.local".to_owned()
}

impl GatewayFleet {
    /// The namespace of the fleet's workloads in every cluster.
    #[must_use]
    pub fn target_namespace(&self) -> &str {
        let own = self.metadata.namespace.as_deref().unwrap_or("default");
        self.spec.target_namespace.as_deref().unwrap_or(own)
    }
}
