// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! FleetCluster: a place to run gateways in.

mod host;

pub use host::{EnvironmentVariable, HostProcess, HostSpec};

use crate::schema::{self, ObjectName};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A cluster, or a set of local processes, that fleets run in. Its labels are what fleets, waves and overrides select.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "gatefleet.dev",
    version = "v1alpha1",
    kind = "FleetCluster",
    plural = "fleetclusters",
    namespaced,
    shortname = "fc",
    category = "gatefleet",
    status = "FleetClusterStatus",
    derive = "PartialEq",
    doc = "A cluster, or a set of local processes, that fleets run in. Its labels are what fleets, waves and overrides select.",
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reachable", type_ = "string", json_path = ".status.conditions[?(@.type==\"Reachable\")].status"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.kubernetesVersion"),
    printcolumn(name = "Contact", type_ = "date", json_path = ".status.lastContactTime"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("size(self.metadata.name) <= 63").message("metadata.name must have at most 63 characters")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.mode != 'Push' || (has(self.local) && self.local ? 1 : 0) + (has(self.kubeconfigSecret) ? 1 : 0) + (has(self.argocdSecret) ? 1 : 0) == 1")
        .message("mode Push needs exactly one of local: true, kubeconfigSecret, argocdSecret"),
    validation = Rule::new("self.mode == 'Push' || !((has(self.local) && self.local) || has(self.kubeconfigSecret) || has(self.argocdSecret))")
        .message("modes Agent and Host take no credentials"),
    validation = Rule::new("!has(self.host) || self.mode == 'Host'").message("host is for mode Host").field_path(".host")
)]
pub struct FleetClusterSpec {
    /// Who applies the fleet's objects there.
    #[serde(default)]
    pub mode: ClusterMode,
    /// The cluster that the operator runs in.
    #[serde(default)]
    pub local: bool,
    /// A kubeconfig in a Secret of the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeconfig_secret: Option<KubeconfigSecretRef>,
    /// A cluster Secret as Argo CD writes it, in the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub argocd_secret: Option<ArgocdSecretRef>,
    /// Keeps the cluster as it is: nothing is applied, nothing removed.
    #[serde(default)]
    pub paused: bool,
    /// Keeps fleets away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub taints: Vec<Taint>,
    /// Other namespaces whose fleets may select this cluster; `*` for all. The own namespace always may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 63)))]
    pub allowed_fleet_namespaces: Vec<String>,
    /// Accepts credentials that skip the check of the API server's certificate.
    #[serde(default)]
    pub allow_insecure: bool,
    /// The processes of a cluster of mode Host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostSpec>,
}

/// Who applies the fleet's objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ClusterMode {
    /// The hub, over the cluster's API server.
    #[default]
    Push,
    /// The relay in the cluster, which reads the hub's API server.
    Agent,
    /// The hub, as local processes without Kubernetes.
    Host,
}

/// A kubeconfig in a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KubeconfigSecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in the Secret. Absent: `kubeconfig`, then `value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub key: Option<String>,
}

/// A cluster Secret as Argo CD writes it.
pub type ArgocdSecretRef = ObjectName;

/// Keeps fleets away from a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Taint {
    /// What it is about.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
    /// More about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub value: Option<String>,
    /// What it prevents.
    #[serde(default)]
    pub effect: TaintEffect,
}

/// What a taint prevents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TaintEffect {
    /// Selectors pass the cluster over; fleets that name it, and fleets that run there already, are not concerned.
    #[default]
    NoSelect,
}

/// What is known of the cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct FleetClusterStatus {
    /// Generation that this status speaks of; -1 before the first.
    #[schemars(schema_with = "schema::observed_generation")]
    pub observed_generation: i64,
    /// The cluster's own id (property `cluster.clusterset.k8s.io`, else the uid of kube-system); shows double registration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// Version of its API server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes_version: Option<String>,
    /// When it last answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_contact_time: Option<Time>,
    /// What the credentials lack, as `<verb> <resource>.<group>`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing_permissions: Vec<String>,
    /// Reachable, Authorized, Ready.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

impl Default for FleetClusterStatus {
    fn default() -> Self {
        Self {
            observed_generation: -1,
            cluster_id: None,
            kubernetes_version: None,
            last_contact_time: None,
            missing_permissions: Vec::new(),
            conditions: Vec::new(),
        }
    }
}

impl FleetCluster {
    /// Whether fleets of `namespace` may run here.
    #[must_use]
    pub fn allows_fleets_of(&self, namespace: &str) -> bool {
        self.metadata.namespace.as_deref() == Some(namespace)
            || self.spec.allowed_fleet_namespaces.iter().any(|allowed| allowed == "*" || allowed == namespace)
    }

    /// The processes of a cluster of mode Host, with defaults where the spec is silent.
    #[must_use]
    pub fn host(&self) -> HostSpec {
        self.spec.host.clone().unwrap_or_default()
    }
}
