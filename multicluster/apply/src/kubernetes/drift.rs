// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Watches what we manage, and tells an edit from the cluster's own bookkeeping.

use crate::{Change, ObjectKey};
use futures::stream::{BoxStream, SelectAll};
use futures::{StreamExt as _, future};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind, ObjectMeta, PartialObjectMeta};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

/// Kinds that we watch. Few, and metadata only.
const KINDS: [(&str, &str, &str); 8] = [
    ("apps", "v1", "Deployment"),
    ("", "v1", "Service"),
    ("autoscaling", "v2", "HorizontalPodAutoscaler"),
    ("policy", "v1", "PodDisruptionBudget"),
    ("", "v1", "ServiceAccount"),
    ("", "v1", "ConfigMap"),
    ("rbac.authorization.k8s.io", "v1", "Role"),
    ("rbac.authorization.k8s.io", "v1", "RoleBinding"),
];

/// How each object looked when we last applied it.
#[derive(Debug, Default)]
pub(super) struct Fingerprints(Mutex<HashMap<(String, String, String), u64>>);

impl Fingerprints {
    pub(super) fn keep(&self, key: &ObjectKey, metadata: &ObjectMeta) {
        self.0.lock().insert(id(key), fingerprint(metadata));
    }

    pub(super) fn forget(&self, key: &ObjectKey) {
        self.0.lock().remove(&id(key));
    }

    /// Whether we applied the object before, and it looks different now.
    pub(super) fn differs(&self, key: &ObjectKey, metadata: &ObjectMeta) -> Option<bool> {
        self.0.lock().get(&id(key)).map(|kept| *kept != fingerprint(metadata))
    }
}

fn id(key: &ObjectKey) -> (String, String, String) {
    (key.kind.clone(), key.namespace.clone(), key.name.clone())
}

/// Who holds which fields, but for status and scale: those belong to the cluster's controllers and change all the time.
fn fingerprint(metadata: &ObjectMeta) -> u64 {
    let entries = metadata.managed_fields.as_deref().unwrap_or_default();
    let mut own: Vec<&ManagedFieldsEntry> =
        entries.iter().filter(|entry| entry.subresource.as_deref().unwrap_or_default().is_empty()).collect();
    own.sort_by(|a, b| {
        (&a.manager, &a.operation, &a.api_version).cmp(&(&b.manager, &b.operation, &b.api_version))
    });
    let mut hasher = DefaultHasher::new();
    for entry in own {
        (&entry.manager, &entry.operation, &entry.api_version).hash(&mut hasher);
        entry.time.as_ref().map(|time| time.0.as_nanosecond()).hash(&mut hasher);
        entry.fields_v1.as_ref().map(|fields| fields.0.to_string()).hash(&mut hasher);
    }
    (&metadata.labels, metadata.deletion_timestamp.is_some()).hash(&mut hasher);
    hasher.finish()
}

/// Changes of the objects that `selector` takes. Ends when all watches ended.
pub(super) fn changes(
    client: Client,
    selector: &str,
    fingerprints: &Arc<Fingerprints>,
) -> BoxStream<'static, Change> {
    let mut all = SelectAll::new();
    for (group, version, kind) in KINDS {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let api: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(client.clone(), &resource);
        let config = watcher::Config::default().labels(selector);
        let fingerprints = Arc::clone(fingerprints);
        let api_version = resource.api_version.clone();
        let kind = kind.to_owned();
        let stream = watcher(api, config).default_backoff().filter_map(move |event| {
            let change = match event {
                Ok(Event::Apply(object) | Event::InitApply(object)) => Some(judge(
                    &key(&api_version, &kind, &object.metadata),
                    &object.metadata,
                    &fingerprints,
                    false,
                )),
                Ok(Event::Delete(object)) => Some(judge(
                    &key(&api_version, &kind, &object.metadata),
                    &object.metadata,
                    &fingerprints,
                    true,
                )),
                Ok(Event::Init | Event::InitDone) => None,
                Err(error) => {
                    tracing::debug!(kind, error = %error, "watch of managed objects");
                    None
                }
            };
            future::ready(change)
        });
        all.push(stream.boxed());
    }
    all.boxed()
}

fn judge(key: &ObjectKey, metadata: &ObjectMeta, fingerprints: &Fingerprints, deleted: bool) -> Change {
    // Never applied by us in this life: nothing to compare with; the first apply will see to it.
    let Some(differs) = fingerprints.differs(key, metadata) else { return Change::Observe };
    if deleted {
        fingerprints.forget(key);
        return Change::Repair;
    }
    if differs { Change::Repair } else { Change::Observe }
}

fn key(api_version: &str, kind: &str, metadata: &ObjectMeta) -> ObjectKey {
    ObjectKey {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        namespace: metadata.namespace.clone().unwrap_or_default(),
        name: metadata.name.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(entries: serde_json::Value) -> ObjectMeta {
        serde_json::from_value(serde_json::json!({"name": "a", "namespace": "n", "managedFields": entries}))
            .unwrap()
    }

    fn ours() -> serde_json::Value {
        serde_json::json!({"manager": "gatefleet", "operation": "Apply", "apiVersion": "apps/v1", "fieldsV1": {"f:spec": {}}})
    }

    #[test]
    fn an_edit_asks_for_repair_and_a_status_does_not() {
        let prints = Fingerprints::default();
        let key = key("apps/v1", "Deployment", &metadata(serde_json::json!([])));
        assert_eq!(
            judge(&key, &metadata(serde_json::json!([ours()])), &prints, false),
            Change::Observe,
            "never applied"
        );
        prints.keep(&key, &metadata(serde_json::json!([ours()])));
        let status = serde_json::json!({"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "apps/v1",
            "subresource": "status", "time": "2026-08-27T10:03:00Z", "fieldsV1": {"f:status": {}}});
        assert_eq!(
            judge(&key, &metadata(serde_json::json!([ours(), status])), &prints, false),
            Change::Observe
        );
        let scale = serde_json::json!({"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "apps/v1",
            "subresource": "scale", "fieldsV1": {"f:spec": {"f:replicas": {}}}});
        assert_eq!(
            judge(&key, &metadata(serde_json::json!([scale, ours()])), &prints, false),
            Change::Observe
        );
        let edit = serde_json::json!({"manager": "kubectl-edit", "operation": "Update", "apiVersion": "apps/v1",
            "time": "2026-08-27T10:03:00Z", "fieldsV1": {"f:spec": {"f:template": {}}}});
        assert_eq!(judge(&key, &metadata(serde_json::json!([ours(), edit])), &prints, false), Change::Repair);
        assert_eq!(
            judge(&key, &metadata(serde_json::json!([ours()])), &prints, true),
            Change::Repair,
            "deleted"
        );
    }
}
