// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Status of a FleetMember.

use crate::schema;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What one cluster makes of the fleet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct FleetMemberStatus {
    /// Generation that this status speaks of; -1 before the first.
    #[schemars(schema_with = "schema::observed_generation")]
    pub observed_generation: i64,
    /// The wave that the cluster belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wave: Option<String>,
    /// Where the cluster is in the rollout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<MemberPhase>,
    /// The revision that these facts belong to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_revision: Option<String>,
    /// The revision that the cluster passed last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passed_revision: Option<String>,
    /// The revision that the cluster goes back to if the one that it passed fails elsewhere; the same once that completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_good_revision: Option<String>,
    /// When the cluster last answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_contact_time: Option<Time>,
    /// The last acknowledgement of the observed revision; the soak counts from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soak_start_time: Option<Time>,
    /// Gateway pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<ReplicaStatus>,
    /// Configuration of the gateways.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<ConfigStatus>,
    /// What each relay of the cluster says; every relay writes its own entry, `config` is their sum.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub relays: Vec<RelayStatus>,
    /// Plugins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub plugins: Vec<PluginStatus>,
    /// Addresses of the gateways.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// What the gates said.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<GateResult>,
    /// Fields that someone else changed, at most 20.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<Drift>,
    /// Ready, Reachable, Applied, ConfigAcked, DriftFree.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

impl Default for FleetMemberStatus {
    fn default() -> Self {
        Self {
            observed_generation: -1,
            wave: None,
            phase: None,
            observed_revision: None,
            passed_revision: None,
            last_good_revision: None,
            last_contact_time: None,
            soak_start_time: None,
            replicas: None,
            config: None,
            relays: Vec::new(),
            plugins: Vec::new(),
            addresses: Vec::new(),
            gates: Vec::new(),
            drift: Vec::new(),
            conditions: Vec::new(),
        }
    }
}

/// Where a cluster is in the rollout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum MemberPhase {
    /// Holds a revision; its turn for the next has not come.
    #[default]
    Pinned,
    /// Compiles the next revision without serving it.
    Preparing,
    /// Its objects are being applied.
    Applying,
    /// Its gateways are being asked.
    Acking,
    /// A slice of its pods serves the revision.
    PodCanary,
    /// All of it serves the revision and is watched.
    Soaking,
    /// It passed the revision.
    Passed,
    /// It failed.
    Failed,
    /// It does not answer.
    Unreachable,
    /// It goes back.
    RollingBack,
    /// It went back.
    RolledBack,
    /// The rollout went on without it.
    Skipped,
}

/// Gateway pods of a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaStatus {
    /// Asked for.
    pub desired: i32,
    /// Ready.
    pub ready: i32,
    /// Of the newest template.
    pub updated: i32,
}

/// Configuration of the gateways of a cluster, as its relay counts them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigStatus {
    /// Version that gateways should serve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired: Option<String>,
    /// Newest version that they all confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_good: Option<String>,
    /// Gateways on the line.
    pub connected: i32,
    /// Gateways that compiled the desired version.
    pub prepared: i32,
    /// Gateways that serve the desired version.
    pub acked: i32,
    /// Gateways that rejected it.
    pub nacked: i32,
    /// What they rejected, at most 10.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nacks: Vec<Nack>,
}

/// A part of the configuration that gateways rejected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Nack {
    /// Name of the xDS resource.
    pub resource: String,
    /// The user's object: `<kind> <namespace>/<name> rule <index>`.
    pub source: String,
    /// A stable word for the cause.
    pub code: String,
    /// Gateways that say so.
    pub pods: i32,
    /// What they say.
    pub message: String,
}

/// A plugin in a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PluginStatus {
    /// Name of the plugin in the fleet.
    pub name: String,
    /// Digest in use.
    pub digest: String,
    /// Whether the relay holds it.
    pub cached: bool,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What a gate said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GateResult {
    /// Name of the gate.
    pub name: String,
    /// `Passed`, `Failed`, `Inconclusive` or `Running`.
    pub result: String,
    /// The figures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A field that someone else changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Drift {
    /// `<kind> <namespace>/<name>`.
    pub kind: String,
    /// JSON pointer.
    pub path: String,
    /// What is there.
    pub value_in_cluster: String,
    /// What the fleet wants.
    pub value_in_fleet: String,
}

/// One relay's view of the gateways that are connected to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RelayStatus {
    /// Name of the relay's pod.
    pub name: String,
    /// Name of the revision that it serves; all counts are about it.
    #[serde(default)]
    pub revision: String,
    /// Hash of that revision's configuration.
    #[serde(default)]
    pub config_hash: String,
    /// Gateways connected to it.
    #[serde(default)]
    pub connected: i32,
    /// Those that serve the configuration.
    #[serde(default)]
    pub acked: i32,
    /// Those that rejected it.
    #[serde(default)]
    pub nacked: i32,
    /// What they rejected, at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nacks: Vec<Nack>,
    /// Services that routes send requests to and that the cluster does not have, at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub absent_backends: Vec<String>,
    /// Plugins that it holds or cannot get.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plugins: Vec<PluginStatus>,
    /// When it said so; an entry that is not renewed for 90 s is of a relay that is gone.
    pub time: Time,
}
