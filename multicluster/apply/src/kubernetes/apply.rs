// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! One object by server-side apply: created, updated, set back, or left to its other owner.

use super::call::{Answer, Caller, code, message};
use super::drift::Fingerprints;
use super::prune::is_ours;
use super::workload;
use crate::conflict::{FieldConflict, field_conflicts};
use crate::difference::differences;
use crate::{ApplyError, MemberKey, ObjectKey, Outcome, order};
use crds::gateway_fleet::{Drift, DriftMode, OnConflict, OnExisting};
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use kube::core::DynamicObject;
use multicluster_manifests::{Object, Prepared, Resources};
use serde_json::Value;

/// Annotation: hash of what we last applied, to tell our own changes from those of others.
const APPLIED: &str = "gatefleet.dev/applied";

/// What applying one object needs to know.
#[derive(Debug)]
pub(super) struct Step<'a> {
    pub(super) caller: &'a Caller,
    pub(super) member: &'a MemberKey,
    pub(super) drift: &'a Drift,
}

impl Step<'_> {
    /// Applies `object`. `minimum`: replicas to create a Deployment with whose replicas belong to an autoscaler.
    pub(super) async fn apply(
        &self,
        object: &mut DynamicObject,
        minimum: Option<i32>,
        fingerprints: &Fingerprints,
    ) -> Result<Outcome, ApplyError> {
        let key = ObjectKey::of(object);
        let hash = content_hash(object);
        object.annotations_mut().insert(APPLIED.to_owned(), hash.clone());
        let live =
            match self.caller.answer("read an object", self.caller.api(&key).get_opt(&key.name)).await? {
                Ok(live) => live,
                Err(error) => return Ok(refused(&key, &error)),
            };
        let outcome = match live {
            None => self.create(object, minimum, fingerprints).await?,
            Some(live) if live.metadata.deletion_timestamp.is_some() => {
                Outcome::Failed(format!("{key} is being deleted; it is made anew once it is gone"))
            }
            Some(live) if is_ours(self.member, live.labels()) => {
                self.update(object, &live, &hash, fingerprints).await?
            }
            Some(live) => self.adopt(object, &live, fingerprints).await?,
        };
        Ok(outcome)
    }

    async fn create(
        &self,
        object: &DynamicObject,
        minimum: Option<i32>,
        fingerprints: &Fingerprints,
    ) -> Result<Outcome, ApplyError> {
        let key = ObjectKey::of(object);
        if let Some(minimum) = minimum
            && let Err(error) = workload::start(self.caller, object, minimum).await?
        {
            return Ok(refused(&key, &error));
        }
        // The first manager is ours too: defaults that the server filled in for it are no reason to stop.
        match self.patch(object, minimum.is_some(), false).await? {
            Ok(made) => {
                workload::hand_over(self.caller, &made).await?;
                self.keep(&key, &made, fingerprints).await?;
                Ok(Outcome::Created)
            }
            Err(error) => Ok(refused(&key, &error)),
        }
    }

    async fn update(
        &self,
        object: &DynamicObject,
        live: &DynamicObject,
        hash: &str,
        fingerprints: &Fingerprints,
    ) -> Result<Outcome, ApplyError> {
        let key = ObjectKey::of(object);
        let same_wish = live.annotations().get(APPLIED).is_some_and(|applied| applied == hash);
        if same_wish {
            // What we want did not change. So whatever an apply would change, someone else did.
            match self.patch(object, true, true).await? {
                Ok(would) => {
                    let drift = differences(&key.to_string(), &value(&would), &value(live));
                    if drift.is_empty() {
                        workload::hand_over(self.caller, live).await?;
                        fingerprints.keep(&key, &live.metadata);
                        return Ok(Outcome::Unchanged);
                    }
                    if self.drift.mode == DriftMode::Report {
                        fingerprints.keep(&key, &live.metadata);
                        return Ok(Outcome::Drifted(drift));
                    }
                    return self.write(object, fingerprints, Outcome::Corrected(drift)).await;
                }
                Err(error) => return Ok(refused(&key, &error)),
            }
        }
        self.write(object, fingerprints, Outcome::Updated).await
    }

    /// Applies; takes fields from edits, and from declarations only where the fleet says so.
    async fn write(
        &self,
        object: &DynamicObject,
        fingerprints: &Fingerprints,
        done: Outcome,
    ) -> Result<Outcome, ApplyError> {
        let key = ObjectKey::of(object);
        let error = match self.patch(object, false, false).await? {
            Ok(made) => {
                workload::hand_over(self.caller, &made).await?;
                fingerprints.keep(&key, &made.metadata);
                return Ok(done);
            }
            Err(error) => error,
        };
        let conflicts = match error.as_ref() {
            kube::Error::Api(status) => field_conflicts(status),
            _ => Vec::new(),
        };
        if conflicts.is_empty() {
            return Ok(refused(&key, &error));
        }
        if let Some(text) = declared(&key, &conflicts)
            && self.drift.on_conflict == OnConflict::Report
        {
            return Ok(Outcome::Conflict(text));
        }
        match self.patch(object, true, false).await? {
            Ok(made) => {
                fingerprints.keep(&key, &made.metadata);
                Ok(done)
            }
            Err(error) => Ok(refused(&key, &error)),
        }
    }

    /// An object of our name that is not ours.
    async fn adopt(
        &self,
        object: &DynamicObject,
        live: &DynamicObject,
        fingerprints: &Fingerprints,
    ) -> Result<Outcome, ApplyError> {
        let key = ObjectKey::of(object);
        if let Some(fleet) = live.labels().get(crds::LABEL_FLEET) {
            let namespace = live.labels().get(crds::LABEL_FLEET_NAMESPACE).cloned().unwrap_or_default();
            return Ok(Outcome::Conflict(format!(
                "{key} belongs to GatewayFleet {namespace}/{fleet}; give one of the fleets another name or targetNamespace"
            )));
        }
        const REMEDY: &str = "rename or remove it, or set spec.drift.onExisting: Adopt on the GatewayFleet";
        match self.drift.on_existing {
            OnExisting::Report => Ok(Outcome::Conflict(format!("{key} exists and is not ours; {REMEDY}"))),
            OnExisting::Adopt => self.forced(object, fingerprints).await,
            OnExisting::AdoptIfIdentical => match self.patch(object, true, true).await? {
                Ok(would) => {
                    let mut would = value(&would);
                    let live = value(live);
                    // Our labels and annotations are what adoption adds; they are no difference.
                    would["metadata"] = live["metadata"].clone();
                    match differences(&key.to_string(), &would, &live).first() {
                        None => self.forced(object, fingerprints).await,
                        Some(first) => {
                            let path = &first.path;
                            Ok(Outcome::Conflict(format!(
                                "{key} exists, is not ours and differs at {path}; {REMEDY}"
                            )))
                        }
                    }
                }
                Err(error) => Ok(refused(&key, &error)),
            },
        }
    }

    async fn forced(
        &self,
        object: &DynamicObject,
        fingerprints: &Fingerprints,
    ) -> Result<Outcome, ApplyError> {
        let key = ObjectKey::of(object);
        match self.patch(object, true, false).await? {
            Ok(made) => {
                fingerprints.keep(&key, &made.metadata);
                Ok(Outcome::Updated)
            }
            Err(error) => Ok(refused(&key, &error)),
        }
    }

    /// Keeps the look of a fresh object, read again: the hand-over may have changed its managers.
    async fn keep(
        &self,
        key: &ObjectKey,
        made: &DynamicObject,
        fingerprints: &Fingerprints,
    ) -> Result<(), ApplyError> {
        let live = self.caller.answer("read an object", self.caller.api(key).get_opt(&key.name)).await?;
        let metadata = match &live {
            Ok(Some(live)) => &live.metadata,
            _ => &made.metadata,
        };
        fingerprints.keep(key, metadata);
        Ok(())
    }

    async fn patch(
        &self,
        object: &DynamicObject,
        force: bool,
        dry: bool,
    ) -> Result<Answer<DynamicObject>, ApplyError> {
        let key = ObjectKey::of(object);
        let mut params = PatchParams::apply(crds::FIELD_MANAGER);
        params.force = force;
        params.dry_run = dry;
        let api = self.caller.api(&key);
        self.caller.answer("apply an object", api.patch(&key.name, &params, &Patch::Apply(object))).await
    }
}

/// The objects of a member in the order of application. The anchor is not among them: it is written with a lock.
pub(super) fn ordered(resources: &Resources<Prepared>) -> Vec<Object> {
    let is_anchor =
        |object: &Object| object.object.labels().get(crds::LABEL_COMPONENT).is_some_and(|c| c == "anchor");
    let mut objects: Vec<Object> =
        resources.objects().iter().filter(|object| !is_anchor(object)).cloned().collect();
    objects.sort_by_cached_key(|object| (order::rank(object.kind()), ObjectKey::of(&object.object)));
    objects
}

fn value(object: &DynamicObject) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

/// FNV-1a over the JSON, whose maps are sorted: stable across processes and versions, unlike the standard hasher.
fn content_hash(object: &DynamicObject) -> String {
    let text = value(object).to_string();
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in text.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    format!("{hash:016x}")
}

/// The declared conflicts as text, if there are any.
fn declared(key: &ObjectKey, conflicts: &[FieldConflict]) -> Option<String> {
    let first = conflicts.iter().find(|conflict| conflict.declared)?;
    Some(format!(
        "{key}, field {}: is declared by \"{}\" as well; remove it there, or set spec.drift.onConflict: Overwrite on the GatewayFleet",
        first.field, first.manager
    ))
}

fn refused(key: &ObjectKey, error: &kube::Error) -> Outcome {
    let remedy = match code(error) {
        403 => {
            "; grant the right to the account in the cluster's credentials, or lift the quota or policy that forbids it"
        }
        404 => "; install its kind in the cluster",
        _ => "",
    };
    Outcome::Failed(format!("{key}: {}{remedy}", message(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: Value) -> DynamicObject {
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn the_hash_depends_on_content_not_on_the_order_of_fields() {
        let one = object(
            serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "1", "y": "2"}}),
        );
        let two = object(
            serde_json::json!({"kind": "ConfigMap", "data": {"y": "2", "x": "1"}, "metadata": {"name": "a"}, "apiVersion": "v1"}),
        );
        let other = object(
            serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "1", "y": "3"}}),
        );
        assert_eq!(content_hash(&one), content_hash(&two));
        assert_ne!(content_hash(&one), content_hash(&other));
    }
}
