// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Patches on built objects: the pod patch of the template, and JSON patches of overrides.

use crate::ManifestError;
use crate::resources::{kind_of, label_of};
use crds::gateway_fleet::{ObjectPatch, PatchOperation};
use crds::merge_named;
use json_patch::{Patch, PatchOperation as Operation};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use kube_core::DynamicObject;
use serde_json::{Map, Value, json};

/// The object of a JSON value.
pub(crate) fn object(value: Value) -> Result<DynamicObject, ManifestError> {
    let label = format!("{} {}", value["kind"].as_str().unwrap_or_default(), value["metadata"]["name"]);
    serde_json::from_value(value).map_err(|source| ManifestError::Encode { object: label, source })
}

/// Merges the pod patch over the pod template of a Deployment and checks that the result is one.
pub(crate) fn pod(deployment: &mut Value, patch: &Map<String, Value>) -> Result<(), ManifestError> {
    if patch.is_empty() {
        return Ok(());
    }
    let template = &mut deployment["spec"]["template"];
    let selected = template["metadata"]["labels"].clone();
    merge_named(template, &Value::Object(patch.clone()));
    // The selector rests on our labels; a patch may add others.
    merge_named(&mut template["metadata"]["labels"], &selected);
    serde_json::from_value::<PodTemplateSpec>(template.clone()).map(|_| ()).map_err(|source| {
        let name = deployment["metadata"]["name"].as_str().unwrap_or_default();
        ManifestError::PodPatchInvalid { object: format!("Deployment {name}"), source }
    })
}

/// Applies the patches of overrides, each to every gateway object of its kind.
pub(crate) fn apply_overrides(
    objects: &mut [DynamicObject],
    patches: &[(String, ObjectPatch)],
) -> Result<(), ManifestError> {
    for (name, patch) in patches {
        if patch.op != PatchOperation::Remove && patch.value.is_none() {
            let (target, path) = (patch.target.clone(), patch.path.clone());
            return Err(ManifestError::PatchWithoutValue { name: name.clone(), target, path });
        }
        for object in objects.iter_mut().filter(|object| is_target(object, &patch.target)) {
            let label = label_of(object);
            *object = patched(object, patch).map_err(|problem| match problem {
                Problem::Patch(source) => ManifestError::PatchInvalid {
                    name: name.clone(),
                    target: patch.target.clone(),
                    path: patch.path.clone(),
                    object: label.clone(),
                    source: Box::new(source),
                },
                Problem::Encode(source) => ManifestError::Encode { object: label.clone(), source },
            })?;
        }
    }
    Ok(())
}

/// Patches reach the gateways' objects. Of their Services that is the one for traffic.
fn is_target(object: &DynamicObject, kind: &str) -> bool {
    let label =
        |key: &str| object.metadata.labels.as_ref().and_then(|labels| labels.get(key)).map(String::as_str);
    kind_of(object) == kind
        && label(crds::LABEL_COMPONENT) == Some("gateway")
        && label("gatefleet.dev/service").is_none()
}

enum Problem {
    Patch(json_patch::PatchError),
    Encode(serde_json::Error),
}

fn patched(object: &DynamicObject, patch: &ObjectPatch) -> Result<DynamicObject, Problem> {
    let mut value = serde_json::to_value(object).map_err(Problem::Encode)?;
    if patch.op == PatchOperation::Add {
        create_parents(&mut value, &patch.path);
    }
    let mut operation = json!({"op": patch.op, "path": patch.path});
    if let Some(new) = &patch.value {
        operation["value"] = new.clone();
    }
    let operation: Operation = serde_json::from_value(operation).map_err(Problem::Encode)?;
    json_patch::patch(&mut value, &Patch(vec![operation])).map_err(Problem::Patch)?;
    serde_json::from_value(value).map_err(Problem::Encode)
}

/// Creates the objects that lead to `path`, such as a missing `annotations`; JSON Patch itself would refuse.
fn create_parents(value: &mut Value, path: &str) {
    let mut current = value;
    let segments: Vec<String> =
        path.split('/').skip(1).map(|segment| segment.replace("~1", "/").replace("~0", "~")).collect();
    let parents = segments.len().saturating_sub(1);
    for segment in segments.into_iter().take(parents) {
        current = match current {
            Value::Object(map) => map.entry(segment).or_insert_with(|| json!({})),
            Value::Array(list) => match segment.parse::<usize>().ok().and_then(|index| list.get_mut(index)) {
                Some(element) => element,
                None => return,
            },
            _ => return,
        };
    }
}
