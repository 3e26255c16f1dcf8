// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Where a fleet's routes come from.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One set of objects that carry routes.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(has(self.gatewayAPI) ? 1 : 0) + (has(self.ingress) ? 1 : 0) + (has(self.oci) ? 1 : 0) == 1")
    .message("a config source has exactly one of gatewayAPI, ingress, oci"))]
pub struct ConfigSource {
    /// Unique within the fleet.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Where the objects live.
    #[serde(default)]
    pub scope: SourceScope,
    /// Gateways of a GatewayClass, with the routes that attach to them.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "gatewayAPI")]
    pub gateway_api: Option<GatewayApiSource>,
    /// Ingresses of an IngressClass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<IngressSource>,
    /// An artifact that holds the objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oci: Option<OciSource>,
}

/// Where the objects of a config source live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SourceScope {
    /// In the hub's cluster: compiled once, rolled out in waves.
    #[default]
    Hub,
    /// In each member cluster: resolved there by the relay.
    Member,
}

/// Gateways of one GatewayClass.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayApiSource {
    /// The GatewayClass.
    #[schemars(length(min = 1, max = 253))]
    pub gateway_class_name: String,
    /// Namespaces by label. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<LabelSelector>,
}

/// Ingresses of one IngressClass.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IngressSource {
    /// The IngressClass.
    #[schemars(length(min = 1, max = 253))]
    pub ingress_class_name: String,
    /// Namespaces by label. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<LabelSelector>,
}

/// An OCI artifact that holds routing objects.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OciSource {
    /// The artifact, by digest.
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    /// Pull Secret in the fleet's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub pull_secret: Option<String>,
}
