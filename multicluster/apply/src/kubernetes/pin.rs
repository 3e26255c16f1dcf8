// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The pin: FleetMember and the chunks of its revision, in the member's own API server. That is the last good store.

use super::call::{Caller, code};
use crate::{ApplyError, MemberKey};
use bytes::Bytes;
use crds::{FleetMember, FleetMemberSpec};
use futures::stream::BoxStream;
use futures::{StreamExt as _, future};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, CustomResourceExt as _, ResourceExt as _};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What a member is pinned to.
#[derive(Clone, Debug)]
pub struct MemberPin {
    /// The member.
    pub member: MemberKey,
    /// Namespace in the member cluster.
    pub namespace: String,
    /// The pin.
    pub spec: FleetMemberSpec,
    /// The manifest of the revision, small: the relay reads it first.
    pub annotations: BTreeMap<String, String>,
    /// Secrets of the revision by name, which is made of their hash, with the bytes that each holds.
    pub chunks: BTreeMap<String, Bytes>,
    /// Key of the bytes in those Secrets.
    pub chunk_key: &'static str,
    /// Type of those Secrets.
    pub chunk_type: &'static str,
    /// Chunks of other revisions that must stay: the last good one.
    pub keep: BTreeSet<String>,
}

/// Makes a namespace where it is missing. One that exists is left alone, and none is ever removed.
///
/// # Errors
/// When the cluster does not answer or refuses.
pub async fn own_namespace(client: &Client, name: &str, timeout: Duration) -> Result<(), ApplyError> {
    super::workload::own_namespace(&Caller::new(client.clone(), timeout), name).await
}

/// Makes the kind FleetMember known to a cluster that lacks it. One that is there is left to whoever installed it.
///
/// # Errors
/// When the cluster does not answer or refuses.
pub async fn ensure_member_kind(client: &Client, timeout: Duration) -> Result<(), ApplyError> {
    let caller = Caller::new(client.clone(), timeout);
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let wanted = FleetMember::crd();
    let name = wanted.name_any();
    match caller.answer("read the kind FleetMember", api.get_metadata_opt(&name)).await? {
        Ok(Some(_)) => return Ok(()),
        // Not allowed to look: whether it is there shows when a member is written.
        Err(error) if code(&error) == 403 => return Ok(()),
        Err(source) => return Err(ApplyError::Refused { what: "read the kind FleetMember", source }),
        Ok(None) => {}
    }
    match caller.answer("create the kind FleetMember", api.create(&PostParams::default(), &wanted)).await? {
        Ok(_) => {}
        Err(error) if code(&error) == 409 => {}
        Err(source) => return Err(ApplyError::Refused { what: "create the kind FleetMember", source }),
    }
    // It serves a moment after it exists.
    let members: Api<FleetMember> = Api::all(client.clone());
    let begun = tokio::time::Instant::now();
    loop {
        match caller.answer("list FleetMembers", members.list(&ListParams::default().limit(1))).await? {
            Ok(_) => return Ok(()),
            Err(error) if code(&error) == 404 && begun.elapsed() < timeout => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(source) => return Err(ApplyError::Refused { what: "list FleetMembers", source }),
        }
    }
}

/// Writes the chunks that are missing, then the pin, then removes chunks that nobody needs any more.
///
/// # Errors
/// When the cluster does not answer or refuses.
pub async fn write_pin(client: &Client, pin: &MemberPin, timeout: Duration) -> Result<(), ApplyError> {
    let caller = Caller::new(client.clone(), timeout);
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &pin.namespace);
    let labels = ListParams::default().labels(&chunk_selector(&pin.member));
    let there: BTreeSet<String> = caller
        .run("list the chunks", secrets.list_metadata(&labels))
        .await?
        .items
        .into_iter()
        .filter(|secret| secret.metadata.deletion_timestamp.is_none())
        .map(|secret| secret.name_any())
        .collect();
    for (name, data) in pin.chunks.iter().filter(|(name, _)| !there.contains(*name)) {
        let answer = caller
            .answer("write a chunk", secrets.create(&PostParams::default(), &chunk(pin, name, data)))
            .await?;
        match answer {
            Ok(_) => {}
            // Named by its hash: what is there is the same.
            Err(error) if code(&error) == 409 => {}
            Err(source) => return Err(ApplyError::Refused { what: "write a chunk", source }),
        }
    }
    write_member(&caller, pin).await?;
    for name in there.iter().filter(|name| !pin.chunks.contains_key(*name) && !pin.keep.contains(*name)) {
        if let Err(error) = caller.answer("remove a chunk", secrets.delete(name, &Default::default())).await?
            && code(&error) != 404
        {
            tracing::debug!(cluster = %pin.member.cluster, chunk = %name, error = %error, "chunk stays");
        }
    }
    Ok(())
}

async fn write_member(caller: &Caller, pin: &MemberPin) -> Result<(), ApplyError> {
    let api: Api<FleetMember> = Api::namespaced(caller.client().clone(), &pin.namespace);
    let name = member_name(&pin.member);
    let mut member = FleetMember::new(&name, pin.spec.clone());
    member.metadata.namespace = Some(pin.namespace.clone());
    member.metadata.labels = Some(labels(&pin.member, "member"));
    member.metadata.annotations = Some(pin.annotations.clone());
    let params = PatchParams::apply(crds::FIELD_MANAGER).force();
    caller.run("write the FleetMember", api.patch(&name, &params, &Patch::Apply(&member))).await?;
    Ok(())
}

/// Removes the pin and the chunks.
///
/// # Errors
/// When the cluster does not answer or refuses.
pub async fn remove_pin(
    client: &Client,
    member: &MemberKey,
    namespace: &str,
    timeout: Duration,
) -> Result<(), ApplyError> {
    let caller = Caller::new(client.clone(), timeout);
    let members: Api<FleetMember> = Api::namespaced(client.clone(), namespace);
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    match caller
        .answer("remove the FleetMember", members.delete(&member_name(member), &Default::default()))
        .await?
    {
        Ok(_) => {}
        Err(error) if code(&error) == 404 => {}
        Err(source) => return Err(ApplyError::Refused { what: "remove the FleetMember", source }),
    }
    let labels = ListParams::default().labels(&chunk_selector(member));
    for secret in caller.run("list the chunks", secrets.list_metadata(&labels)).await?.items {
        let name = secret.name_any();
        if let Err(source) =
            caller.answer("remove a chunk", secrets.delete(&name, &Default::default())).await?
            && code(&source) != 404
        {
            return Err(ApplyError::Refused { what: "remove a chunk", source });
        }
    }
    Ok(())
}

/// The member as its cluster has it, with the status that the relay writes.
///
/// # Errors
/// When the cluster does not answer or refuses.
pub async fn read_member(
    client: &Client,
    member: &MemberKey,
    namespace: &str,
    timeout: Duration,
) -> Result<Option<FleetMember>, ApplyError> {
    let caller = Caller::new(client.clone(), timeout);
    let api: Api<FleetMember> = Api::namespaced(client.clone(), namespace);
    caller.run("read the FleetMember", api.get_opt(&member_name(member))).await
}

/// Follows the member in its cluster.
#[must_use]
pub fn watch_member(
    client: Client,
    member: &MemberKey,
    namespace: &str,
) -> BoxStream<'static, Option<FleetMember>> {
    let api: Api<FleetMember> = Api::namespaced(client, namespace);
    let config = watcher::Config::default().fields(&format!("metadata.name={}", member_name(member)));
    watcher(api, config)
        .default_backoff()
        .filter_map(|event| {
            future::ready(match event {
                Ok(Event::Apply(member) | Event::InitApply(member)) => Some(Some(member)),
                Ok(Event::Delete(_)) => Some(None),
                Ok(Event::Init | Event::InitDone) | Err(_) => None,
            })
        })
        .boxed()
}

/// Name of the FleetMember, on the hub and in the member cluster alike.
fn member_name(member: &MemberKey) -> String {
    format!("{}-{}", member.fleet, member.cluster)
}

fn chunk(pin: &MemberPin, name: &str, data: &Bytes) -> Secret {
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(pin.namespace.clone()),
        labels: Some(labels(&pin.member, "revision")),
        ..ObjectMeta::default()
    };
    Secret {
        metadata,
        immutable: Some(true),
        type_: Some(pin.chunk_type.to_owned()),
        data: Some(BTreeMap::from([(pin.chunk_key.to_owned(), ByteString(data.to_vec()))])),
        ..Secret::default()
    }
}

fn labels(member: &MemberKey, component: &str) -> BTreeMap<String, String> {
    [
        (crds::LABEL_MANAGED_BY, crds::MANAGED_BY),
        (crds::LABEL_COMPONENT, component),
        (crds::LABEL_FLEET, &member.fleet),
        (crds::LABEL_FLEET_NAMESPACE, &member.fleet_namespace),
        (crds::LABEL_CLUSTER, &member.cluster),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect()
}

fn chunk_selector(member: &MemberKey) -> String {
    format!("{},{}=revision", super::selector(member), crds::LABEL_COMPONENT)
}
