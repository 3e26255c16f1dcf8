// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! FleetRevision: an immutable, content-addressed release record.

use crate::schema;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One release of a fleet: the resolved template, plugins by digest and the compiled routes by hash. Written by the hub.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "gatefleet.dev",
    version = "v1alpha1",
    kind = "FleetRevision",
    plural = "fleetrevisions",
    namespaced,
    shortname = "fr",
    category = "gatefleet",
    status = "FleetRevisionStatus",
    derive = "PartialEq",
    doc = "One release of a fleet: the resolved template, plugins by digest and the compiled routes by hash. Written by the hub.",
    selectable = ".spec.fleet",
    printcolumn(name = "Lane", type_ = "string", json_path = ".spec.lane"),
    printcolumn(name = "Author", type_ = "string", json_path = ".spec.author"),
    printcolumn(name = "Verdict", type_ = "string", json_path = ".status.verdict"),
    printcolumn(name = "Clusters", type_ = "integer", json_path = ".status.clusters"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf").message("a revision is immutable"))]
pub struct FleetRevisionSpec {
    /// Name of the GatewayFleet.
    #[schemars(length(min = 1, max = 40))]
    pub fleet: String,
    /// Position in the fleet's history; a later revision has a higher number.
    #[schemars(range(min = 1))]
    pub number: i64,
    /// SHA-256 (hex) over template, plugins and configuration: the same content has the same hash.
    #[schemars(length(min = 1, max = 64))]
    pub hash: String,
    /// What kind of change made it.
    #[serde(default)]
    pub lane: Lane,
    /// Who wrote the change, as far as field managers tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub author: Option<String>,
    /// `spec.template` of the fleet at that time.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schemars(schema_with = "schema::any_object")]
    pub template: Map<String, Value>,
    /// Plugins by digest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub plugins: Vec<PluginDigest>,
    /// SHA-256 (hex) over the compiled configuration.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub config_hash: String,
    /// Version of the configuration, `r<number>.<sequence>-<first 12 digits of configHash>`.
    #[serde(default)]
    #[schemars(length(max = 253))]
    pub config_version: String,
    /// Chunks that hold the configuration, by hash, in order. The bodies are Secrets in each cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4096), inner(length(min = 1, max = 64)))]
    pub chunks: Vec<String>,
    /// What it changes against the revision before, in lines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 1024)))]
    pub diff: Vec<String>,
}

/// A class of change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Lane {
    /// Routes only.
    #[default]
    Routes,
    /// Plugins.
    Plugins,
    /// Image, resources, listeners, service.
    Workload,
}

/// A plugin by digest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PluginDigest {
    /// Name of the plugin in the fleet.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The artifact, by digest.
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
}

/// What became of a revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct FleetRevisionStatus {
    /// Generation that this status speaks of; -1 before the first.
    #[schemars(schema_with = "schema::observed_generation")]
    pub observed_generation: i64,
    /// How it ended.
    pub verdict: Verdict,
    /// Clusters that are pinned to it.
    pub clusters: i32,
    /// When it got its verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_time: Option<Time>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Ready.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// How a revision ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Verdict {
    /// Not decided yet.
    #[default]
    Pending,
    /// Completed its rollout: known good.
    Good,
    /// Failed: quarantined.
    Failed,
    /// A newer one took over before it was decided.
    Superseded,
}

impl Default for FleetRevisionStatus {
    fn default() -> Self {
        Self {
            observed_generation: -1,
            verdict: Verdict::default(),
            clusters: 0,
            decided_time: None,
            message: None,
            conditions: Vec::new(),
        }
    }
}
