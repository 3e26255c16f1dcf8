// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Which clusters a fleet runs in.

use crate::{Share, Span};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Selects FleetClusters of the fleet's namespace, and of namespaces whose FleetClusters allow it.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.selector) || (has(self.names) && size(self.names) > 0)")
    .message("clusters needs a selector or names; there is no implicit \"all\""))]
pub struct ClusterSelection {
    /// Labels of FleetClusters; a cluster is taken that this selects or `names` lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Names of FleetClusters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000), inner(length(min = 1, max = 63)))]
    pub names: Vec<String>,
    /// Names of FleetClusters that are never taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000), inner(length(min = 1, max = 63)))]
    pub exclude: Vec<String>,
    /// What happens in a cluster that is no longer selected.
    #[serde(default)]
    pub on_deselect: OnDeselect,
    /// How long a deselected cluster is kept as it is before `onDeselect` acts.
    #[serde(default = "default_deselect_grace")]
    pub deselect_grace: Span,
    /// More clusters than this leaving at once stall the fleet instead (reason ShrinkGuard).
    #[serde(default = "default_max_shrink")]
    pub max_shrink: Share,
}

/// What happens in a cluster that a fleet no longer selects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnDeselect {
    /// Everything keeps running there, unmanaged.
    #[default]
    Orphan,
    /// The fleet's objects are deleted at once.
    Delete,
    /// Gateways drain first.
    DrainThenDelete,
}

impl Default for ClusterSelection {
    fn default() -> Self {
        Self {
            selector: None,
            names: Vec::new(),
            exclude: Vec::new(),
            on_deselect: OnDeselect::default(),
            deselect_grace: default_deselect_grace(),
            max_shrink: default_max_shrink(),
        }
    }
}

fn default_deselect_grace() -> Span {
    "1h".into()
}

fn default_max_shrink() -> Share {
    Share::Count(1)
}
