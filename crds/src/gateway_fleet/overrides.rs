// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Differences between the clusters of a fleet.

use super::Template;
use crate::schema;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What differs in some clusters.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.selector) || (has(self.names) && size(self.names) > 0)")
    .message("an override needs a selector or names"))]
pub struct Override {
    /// Unique within the fleet; conditions name it.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Labels of FleetClusters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Names of FleetClusters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000), inner(length(min = 1, max = 63)))]
    pub names: Vec<String>,
    /// Fields of `spec.template` to merge: objects field by field, lists of named elements by name, null removes.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schemars(schema_with = "schema::partial::<Template>")]
    pub template: Map<String, Value>,
    /// JSON patches on the objects that the template makes, after the merge.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub patches: Vec<ObjectPatch>,
}

/// One operation of JSON Patch (RFC 6902) on the gateway objects of a kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectPatch {
    /// Kind of the object: Deployment, Service, HorizontalPodAutoscaler, PodDisruptionBudget, ServiceAccount.
    #[schemars(length(min = 1, max = 63))]
    pub target: String,
    /// The operation.
    pub op: PatchOperation,
    /// JSON pointer.
    #[schemars(length(min = 1, max = 1024), regex(pattern = "^/"))]
    pub path: String,
    /// The value for add and replace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any_value")]
    pub value: Option<Value>,
}

/// The operations of JSON Patch that change a document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PatchOperation {
    /// Adds or replaces; missing parents are created.
    #[default]
    Add,
    /// Replaces what exists.
    Replace,
    /// Removes what exists.
    Remove,
}
