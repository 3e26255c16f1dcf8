// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What the relay may do in its cluster. The hub can only grant what its own credentials hold.

use super::Part;
use crate::names;
use serde_json::{Value, json};

/// Role and ClusterRole with their bindings.
pub(super) fn objects(part: &Part<'_>) -> Vec<Value> {
    let fleet = &part.input.fleet;
    let cluster_wide = names::shortened(&format!("gatefleet-{}-{}-relay", fleet.namespace, fleet.name));
    let mut metadata = part.metadata();
    if let Some(map) = metadata.as_object_mut() {
        map.remove("namespace");
        map.insert("name".to_owned(), json!(cluster_wide));
    }
    let subjects =
        json!([{"kind": "ServiceAccount", "name": part.name, "namespace": fleet.target_namespace}]);
    let reference =
        |kind: &str, name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name});
    let role = |kind: &str, metadata: &Value, rules: Value| json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata, "rules": rules});
    let binding = |kind: &str, metadata: &Value, role: Value| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": kind,
            "metadata": metadata,
            "roleRef": role,
            "subjects": subjects,
        })
    };
    vec![
        role("Role", &part.metadata(), in_namespace()),
        binding("RoleBinding", &part.metadata(), reference("Role", &part.name)),
        role("ClusterRole", &metadata, in_cluster()),
        binding("ClusterRoleBinding", &metadata, reference("ClusterRole", &cluster_wide)),
    ]
}

/// In the fleet's namespace: its pin, and the Leases of relays that share work.
fn in_namespace() -> Value {
    json!([
        {"apiGroups": ["gatefleet.dev"], "resources": ["fleetmembers"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["gatefleet.dev"], "resources": ["fleetmembers/status"], "verbs": ["get", "update", "patch"]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update", "patch"]},
        {"apiGroups": ["", "events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]},
    ])
}

/// Everywhere: endpoints and certificates of routed services, which may live in any namespace, and the attestation of
/// gateway pods.
fn in_cluster() -> Value {
    json!([
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["services", "namespaces"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
    ])
}
