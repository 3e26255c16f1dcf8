// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Status of a GatewayFleet: bounded, a summary; the detail is in FleetMembers.

use crate::schema;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the fleet is doing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayFleetStatus {
    /// Generation that this status speaks of; -1 before the first.
    #[schemars(schema_with = "schema::observed_generation")]
    pub observed_generation: i64,
    /// Revision that the spec asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired_revision: Option<String>,
    /// Newest revision that completed its rollout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_revision: Option<String>,
    /// Revisions that failed and are not tried again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub quarantined: Vec<Quarantined>,
    /// Ratios as text: a printer column takes one path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display: Option<Display>,
    /// Clusters by state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clusters: Option<ClusterCounts>,
    /// Gateway pods by state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateways: Option<GatewayCounts>,
    /// The rollout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,
    /// The clusters that need a look, at most 20.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attention: Vec<AttentionItem>,
    /// Available, Ready, Reconciling, Stalled and more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

impl Default for GatewayFleetStatus {
    fn default() -> Self {
        Self {
            observed_generation: -1,
            desired_revision: None,
            active_revision: None,
            quarantined: Vec::new(),
            display: None,
            clusters: None,
            gateways: None,
            rollout: None,
            attention: Vec::new(),
            conditions: Vec::new(),
        }
    }
}

/// A revision that failed and is not tried again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Quarantined {
    /// Name of the FleetRevision.
    pub revision: String,
    /// Its content hash; a re-sync of the same content stays quarantined.
    pub hash: String,
    /// Why it failed.
    pub reason: String,
    /// Where it failed first.
    pub cluster: String,
    /// `spec.rollout.retryToken` at that time; another value lifts the quarantine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_token: Option<String>,
}

/// Ratios as text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Display {
    /// Clusters that passed the desired revision, of all.
    pub updated: String,
    /// Gateways that acknowledged their configuration, of all.
    pub acked: String,
}

/// Clusters by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterCounts {
    /// Selected by the spec.
    pub selected: i32,
    /// Serving what they are pinned to.
    pub ready: i32,
    /// Past the desired revision.
    pub updated: i32,
    /// Failed.
    pub failed: i32,
    /// Not answering.
    pub unreachable: i32,
    /// Left behind by deletion or deselection.
    pub orphaned: i32,
}

/// Gateway pods by state. Unknown counts as neither good nor bad.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayCounts {
    /// Asked for.
    pub desired: i32,
    /// Ready.
    pub ready: i32,
    /// Acknowledged what their cluster is pinned to.
    pub acked: i32,
    /// Rejected it.
    pub nacked: i32,
    /// In clusters that do not answer.
    pub unknown: i32,
}

/// The rollout.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RolloutStatus {
    /// What the rollout is doing.
    pub phase: RolloutPhase,
    /// The wave that is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wave: Option<String>,
    /// All waves, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waves: Vec<WaveStatus>,
    /// The controller's own pauses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pauses: Vec<RolloutPause>,
    /// What happened last, with the object and the remedy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What a rollout is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RolloutPhase {
    /// Preparing in every cluster.
    #[default]
    Preflight,
    /// Moving clusters.
    Progressing,
    /// Watching clusters that moved.
    Soaking,
    /// Waiting for a person.
    AwaitingApproval,
    /// Standing still.
    Paused,
    /// Going back.
    RollingBack,
    /// Back.
    RolledBack,
    /// Done.
    Complete,
}

/// One wave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WaveStatus {
    /// Name of the wave.
    pub name: String,
    /// Clusters in it.
    pub clusters: i32,
    /// Clusters that were moved.
    pub reached: i32,
    /// How it ended.
    pub result: WaveResult,
}

/// How a wave ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WaveResult {
    /// Not open yet.
    #[default]
    Pending,
    /// Open.
    Progressing,
    /// Passed.
    Passed,
    /// Failed.
    Failed,
}

/// A pause of the controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutPause {
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Time,
}

/// A cluster that needs a look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AttentionItem {
    /// The cluster.
    pub cluster: String,
    /// Why.
    pub reason: String,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
}
