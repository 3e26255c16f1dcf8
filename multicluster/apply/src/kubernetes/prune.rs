// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Removes what nothing asks for any more.

use super::call::{Caller, code};
use crate::{ApplyError, MemberKey, ObjectKey};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Preconditions};

/// Deletes these objects, unless they are no longer ours. Returns the ones that are gone, or were never ours to delete.
pub(super) async fn prune(
    caller: &Caller,
    member: &MemberKey,
    surplus: &[ObjectKey],
) -> Result<Vec<ObjectKey>, ApplyError> {
    let mut done = Vec::new();
    for key in surplus {
        if prune_one(caller, member, key).await? {
            done.push(key.clone());
        }
    }
    Ok(done)
}

async fn prune_one(caller: &Caller, member: &MemberKey, key: &ObjectKey) -> Result<bool, ApplyError> {
    let api = caller.api(key);
    let live = match caller.answer("read an object to prune", api.get_opt(&key.name)).await? {
        Ok(Some(live)) => live,
        Ok(None) => return Ok(true),
        // Its kind is gone, and it with it.
        Err(error) if code(&error) == 404 => return Ok(true),
        Err(error) => {
            tracing::warn!(cluster = %member.cluster, object = %key, error = %error, "cannot read an object to prune");
            return Ok(false);
        }
    };
    if !is_ours(member, live.labels()) {
        tracing::warn!(cluster = %member.cluster, object = %key, "not pruned: it lost the fleet's labels");
        return Ok(true);
    }
    if live.metadata.deletion_timestamp.is_some() {
        return Ok(false);
    }
    let mut params = DeleteParams::background();
    params.preconditions = Some(Preconditions { uid: live.metadata.uid.clone(), resource_version: None });
    match caller.answer("prune an object", api.delete(&key.name, &params)).await? {
        Ok(_) => {
            tracing::info!(cluster = %member.cluster, object = %key, "removed");
            // Finalizers may hold it: gone is what reads as gone.
            Ok(live.metadata.finalizers.as_ref().is_none_or(Vec::is_empty))
        }
        Err(error) if code(&error) == 404 => Ok(true),
        Err(error) => {
            tracing::warn!(cluster = %member.cluster, object = %key, error = %error, "cannot prune");
            Ok(false)
        }
    }
}

/// Whether an object carries this fleet's labels.
pub(super) fn is_ours(member: &MemberKey, labels: &std::collections::BTreeMap<String, String>) -> bool {
    let is = |label: &str, value: &str| labels.get(label).is_some_and(|v| v == value);
    is(crds::LABEL_MANAGED_BY, crds::MANAGED_BY)
        && is(crds::LABEL_FLEET, &member.fleet)
        && is(crds::LABEL_FLEET_NAMESPACE, &member.fleet_namespace)
}
