// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What Deployments and their namespace need beside a plain apply: replicas belong to the autoscaler.

use super::call::{Answer, Caller, code};
use crate::{ApplyError, ObjectKey};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::core::DynamicObject;
use serde_json::{Value, json};

/// Makes the target namespace where it is missing. One that exists is left alone, and none is ever removed.
pub(super) async fn own_namespace(caller: &Caller, name: &str) -> Result<(), ApplyError> {
    let api: Api<Namespace> = Api::all(caller.client().clone());
    match caller.answer("read the namespace", api.get_opt(name)).await? {
        Ok(Some(_)) => return Ok(()),
        // Not allowed to look: an admin made it, or the objects' own errors will say that it is missing.
        Err(error) if code(&error) == 403 => return Ok(()),
        Err(source) => return Err(ApplyError::Refused { what: "read the namespace", source }),
        Ok(None) => {}
    }
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    let namespace = Namespace { metadata, ..Namespace::default() };
    match caller.answer("create the namespace", api.create(&PostParams::default(), &namespace)).await? {
        Ok(_) => Ok(()),
        Err(error) if code(&error) == 409 => Ok(()),
        Err(source) => Err(ApplyError::Refused { what: "create the namespace", source }),
    }
}

/// Creates an autoscaled Deployment with `minimum` replicas under a manager of its own. The apply that follows says nothing
/// of replicas; so they neither drop to 1 nor are fought over with the autoscaler.
pub(super) async fn start(
    caller: &Caller,
    deployment: &DynamicObject,
    minimum: i32,
) -> Result<Answer<DynamicObject>, ApplyError> {
    let key = ObjectKey::of(deployment);
    let mut first = deployment.clone();
    first.data["spec"]["replicas"] = json!(minimum);
    let params = PatchParams::apply(crds::FIELD_MANAGER_INIT);
    caller
        .answer("create a Deployment", caller.api(&key).patch(&key.name, &params, &Patch::Apply(&first)))
        .await
}

/// Leaves the first manager with `replicas` alone. Otherwise it would hold on to every field of the first template.
pub(super) async fn hand_over(caller: &Caller, live: &DynamicObject) -> Result<(), ApplyError> {
    let Some(replicas) = held_by_init(live) else { return Ok(()) };
    let key = ObjectKey::of(live);
    let body = json!({
        "apiVersion": key.api_version, "kind": key.kind,
        "metadata": {"name": key.name, "namespace": key.namespace},
        "spec": {"replicas": replicas},
    });
    // Forced: the value is the one that is there, at most the autoscaler's newest a moment late; it sets its own again.
    let params = PatchParams::apply(crds::FIELD_MANAGER_INIT).force();
    let patch = Patch::Apply(&body);
    let done =
        caller.answer("hand over a Deployment", caller.api(&key).patch(&key.name, &params, &patch)).await?;
    if let Err(error) = done {
        tracing::debug!(object = %key, error = %error, "hand-over of replicas");
    }
    Ok(())
}

/// The replicas of a Deployment whose template the first manager still holds.
fn held_by_init(live: &DynamicObject) -> Option<i64> {
    let entries = live.metadata.managed_fields.as_deref().unwrap_or_default();
    let held = entries.iter().any(|entry| {
        entry.manager.as_deref() == Some(crds::FIELD_MANAGER_INIT)
            && entry.fields_v1.as_ref().is_some_and(|fields| fields.0.pointer("/f:spec/f:template").is_some())
    });
    if held { live.data.pointer("/spec/replicas").and_then(Value::as_i64) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: Value) -> DynamicObject {
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn the_first_manager_lets_go_of_the_template_only_while_it_holds_it() {
        let with = |fields: Value| {
            object(json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 4},
                "metadata": {"name": "edge", "namespace": "n", "managedFields": [
                    {"manager": "gatefleet-init", "operation": "Apply", "fieldsV1": fields}]}}))
        };
        assert_eq!(held_by_init(&with(json!({"f:spec": {"f:template": {}, "f:replicas": {}}}))), Some(4));
        assert_eq!(held_by_init(&with(json!({"f:spec": {"f:replicas": {}}}))), None);
    }
}
