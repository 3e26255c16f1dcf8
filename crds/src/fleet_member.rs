// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! FleetMember: one fleet in one cluster. The spec is the pin, the status all the detail.

mod status;

pub use status::{
    ConfigStatus, Drift, FleetMemberStatus, GateResult, MemberPhase, Nack, PluginStatus, RelayStatus,
    ReplicaStatus,
};

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One fleet in one cluster: which revision it is pinned to, and what it makes of it. Written by the hub.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "gatefleet.dev",
    version = "v1alpha1",
    kind = "FleetMember",
    plural = "fleetmembers",
    namespaced,
    shortname = "fm",
    category = "gatefleet",
    status = "FleetMemberStatus",
    derive = "PartialEq",
    doc = "One fleet in one cluster: which revision it is pinned to, and what it makes of it. Written by the hub.",
    selectable = ".spec.fleet",
    selectable = ".spec.cluster",
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.cluster"),
    printcolumn(name = "Wave", type_ = "string", json_path = ".status.wave"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Revision", type_ = "string", json_path = ".spec.revision"),
    printcolumn(name = "Acked", type_ = "integer", json_path = ".status.config.acked"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Contact", type_ = "date", json_path = ".status.lastContactTime")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.fleet == oldSelf.fleet && self.cluster == oldSelf.cluster")
    .message("fleet and cluster are immutable"))]
pub struct FleetMemberSpec {
    /// Name of the GatewayFleet.
    #[schemars(length(min = 1, max = 40))]
    pub fleet: String,
    /// Namespace of the GatewayFleet on the hub; the member's own namespace may differ in a member cluster.
    #[schemars(length(min = 1, max = 63))]
    pub fleet_namespace: String,
    /// Name of the FleetCluster.
    #[schemars(length(min = 1, max = 63))]
    pub cluster: String,
    /// Name of the FleetRevision that the cluster is pinned to. Absent: none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub revision: Option<String>,
    /// Version of the configuration in that revision for this cluster (`r<revision>.<sequence>-<hash>`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub config_version: Option<String>,
    /// Whether the cluster is part of the fleet.
    #[serde(default)]
    pub state: MemberState,
}

/// Whether a cluster is part of its fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MemberState {
    /// It is.
    #[default]
    Active,
    /// It is leaving: gateways drain.
    Draining,
    /// It left; what runs there is unmanaged.
    Orphaned,
}
