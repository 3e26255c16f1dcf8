// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Failover, drift and deletion.

use crate::{Share, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where requests go when the cluster has no healthy endpoint of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failover {
    /// Whether requests may leave the cluster.
    #[serde(default)]
    pub mode: FailoverMode,
    /// Nearest first.
    #[serde(default = "default_order")]
    #[schemars(length(min = 1, max = 4))]
    pub order: Vec<Proximity>,
    /// Highest share of a service's requests that may leave the cluster.
    #[serde(default = "default_max_remote_share")]
    pub max_remote_share: Share,
    /// Endpoint counts of other clusters older than this count as degraded.
    #[serde(default = "default_endpoint_ttl", rename = "endpointTTL")]
    pub endpoint_ttl: Span,
}

/// Whether requests may leave the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FailoverMode {
    /// Never.
    #[default]
    Disabled,
    /// By distance.
    LocalityPriority,
}

/// How near an endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Proximity {
    /// The same zone.
    Zone,
    /// The same cluster.
    Cluster,
    /// The same region.
    Region,
    /// Anywhere.
    Any,
}

/// What happens to managed objects that someone else changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Drift {
    /// Fields of ours that differ.
    #[serde(default)]
    pub mode: DriftMode,
    /// Fields of ours that another manager owns.
    #[serde(default)]
    pub on_conflict: OnConflict,
    /// Objects of our names that existed before.
    #[serde(default)]
    pub on_existing: OnExisting,
}

/// Fields of ours that differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DriftMode {
    /// Set back.
    #[default]
    Correct,
    /// Only reported.
    Report,
}

/// Fields of ours that another manager owns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnConflict {
    /// Reported and left alone.
    #[default]
    Report,
    /// Taken over.
    Overwrite,
}

/// Objects of our names that existed before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnExisting {
    /// Adopted where they already look as we would make them, reported otherwise.
    #[default]
    AdoptIfIdentical,
    /// Adopted.
    Adopt,
    /// Reported.
    Report,
}

/// What happens to the clusters when the fleet is deleted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Deletion {
    /// What happens to the fleet's objects.
    #[serde(default)]
    pub policy: DeletionPolicy,
    /// How long an unreachable cluster holds up the deletion; after that its member stays as Orphaned.
    #[serde(default = "default_unreachable_grace")]
    pub unreachable_grace: Span,
}

/// What happens to the fleet's objects when the fleet is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// Gateways drain, then everything goes.
    #[default]
    DrainThenDelete,
    /// Everything goes at once.
    Delete,
    /// Everything keeps running, unmanaged.
    Orphan,
}

impl Default for Failover {
    fn default() -> Self {
        Self {
            mode: FailoverMode::default(),
            order: default_order(),
            max_remote_share: default_max_remote_share(),
            endpoint_ttl: default_endpoint_ttl(),
        }
    }
}

impl Default for Deletion {
    fn default() -> Self {
        Self { policy: DeletionPolicy::default(), unreachable_grace: default_unreachable_grace() }
    }
}

fn default_order() -> Vec<Proximity> {
    vec![Proximity::Zone, Proximity::Cluster, Proximity::Region, Proximity::Any]
}

fn default_max_remote_share() -> Share {
    Share::percent(50)
}

fn default_endpoint_ttl() -> Span {
    "60s".into()
}

fn default_unreachable_grace() -> Span {
    "30m".into()
}
