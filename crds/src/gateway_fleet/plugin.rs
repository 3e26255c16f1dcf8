// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! WebAssembly plugins of a fleet.

use crate::schema::{self, ObjectName};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One plugin on every request of the fleet's gateways.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.ref) != has(self.oci)").message("a plugin has exactly one of ref, oci"),
    validation = Rule::new("!(has(self.phase) && self.phase in ['AuthN', 'AuthZ'] && has(self.failurePolicy) && self.failurePolicy == 'FailOpen')")
        .message("plugins of the phases AuthN and AuthZ fail closed").field_path(".failurePolicy")
)]
pub struct FleetPlugin {
    /// Unique within the fleet.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// A GatewayPlugin of the fleet's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "ref")]
    pub reference: Option<ObjectName>,
    /// The artifact itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oci: Option<PluginOci>,
    /// Where it runs among the others.
    #[serde(default)]
    pub phase: PluginPhase,
    /// Higher runs earlier within a phase.
    #[serde(default)]
    #[schemars(range(min = -100_000, max = 100_000))]
    pub priority: i32,
    /// What happens to requests while the plugin cannot run.
    #[serde(default)]
    pub failure_policy: PluginFailurePolicy,
    /// Handed to the plugin as JSON.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schemars(schema_with = "schema::any_object")]
    pub config: Map<String, Value>,
}

/// A plugin as an OCI artifact.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PluginOci {
    /// The artifact, by digest.
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    /// Pull Secret that lives in each cluster; the hub never copies it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub pull_secret: Option<String>,
    /// Whether relays fetch and compile it before a wave opens.
    #[serde(default)]
    pub pre_pull: PrePull,
    /// Signature check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<VerifySignature>,
}

/// Signature check of a plugin.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VerifySignature {
    /// Who signs: `cosign`.
    #[schemars(regex(pattern = "^cosign$"))]
    pub provider: String,
    /// Accepted signers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub identities: Vec<SignatureIdentity>,
}

/// A signer of keyless signatures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignatureIdentity {
    /// The token issuer.
    #[schemars(length(min = 1, max = 512))]
    pub issuer: String,
    /// Regular expression of the subject.
    #[schemars(length(min = 1, max = 512))]
    pub subject: String,
}

/// Order of plugins in the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PluginPhase {
    /// Who is it.
    AuthN,
    /// May they.
    AuthZ,
    /// Counting.
    Stats,
    /// Everything else, last.
    #[default]
    Default,
}

/// What happens to requests while a plugin cannot run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PluginFailurePolicy {
    /// They are answered 503.
    #[default]
    FailClosed,
    /// They go on without it.
    FailOpen,
}

/// Whether relays fetch and compile a plugin before a wave opens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PrePull {
    /// The wave waits for it.
    #[default]
    Required,
    /// Tried, not waited for.
    BestEffort,
    /// Fetched when first needed.
    Never,
}
