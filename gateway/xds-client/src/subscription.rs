// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What is wanted and what is held, across streams: pure, one state for each type.

use crate::{Rejection, Update, Upsert};
use bytes::Bytes;
use gateway_xds_api::ResourceType;
use gateway_xds_api::pb::envoy::service::discovery::v3::{DeltaDiscoveryResponse, Resource};
use std::collections::{BTreeMap, BTreeSet};

/// All subscriptions of a client.
#[derive(Clone, Debug, Default)]
pub struct Subscriptions {
    pub(crate) kinds: BTreeMap<ResourceType, Subscription>,
}

/// One type's subscription.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subscription {
    /// Subscribed as a whole (`*`); then `names` is empty.
    pub(crate) wildcard: bool,
    /// Names wanted.
    pub(crate) names: BTreeSet<String>,
    /// Versions that the consumer applied, by name.
    pub(crate) held: BTreeMap<String, String>,
    /// Wildcard: the first response was applied.
    answered: bool,
    /// Names that the server said something about, held or not.
    known: BTreeSet<String>,
}

/// A response, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// What the consumer has to apply.
    pub update: Update,
    /// What the answer must quote.
    pub nonce: String,
    /// Resources that are not even readable.
    pub malformed: Vec<Rejection>,
}

impl Subscriptions {
    /// Subscriptions to all resources of the given types; further types are subscribed by name.
    #[must_use]
    pub fn new(wildcards: &[ResourceType]) -> Self {
        let whole = |kind: &ResourceType| (*kind, Subscription { wildcard: true, ..Subscription::default() });
        Self { kinds: wildcards.iter().map(whole).collect() }
    }

    /// Notes a resource that the consumer holds already, from a configuration kept on disk. The version must follow from
    /// the content, else a change is missed. A name that is not wanted is not replayed.
    pub fn seed(&mut self, kind: ResourceType, name: impl Into<String>, version: impl Into<String>) {
        self.kinds.entry(kind).or_default().held.insert(name.into(), version.into());
    }

    /// Wants a name. One that was wanted already changes nothing.
    pub fn want(&mut self, kind: ResourceType, name: &str) {
        let subscription = self.kinds.entry(kind).or_default();
        if !subscription.wildcard && !subscription.names.contains(name) {
            subscription.names.insert(name.to_owned());
        }
    }

    /// Wants a name no longer; its version is forgotten.
    pub fn unwant(&mut self, kind: ResourceType, name: &str) {
        let Some(subscription) = self.kinds.get_mut(&kind).filter(|subscription| !subscription.wildcard)
        else {
            return;
        };
        subscription.names.remove(name);
        subscription.held.remove(name);
        subscription.known.remove(name);
    }

    /// Takes a response apart. Resources that are not subscribed (any more) are left out.
    ///
    /// # Errors
    /// Gives the type URL back where it is none of ours.
    pub fn receive(&self, response: DeltaDiscoveryResponse) -> Result<Received, String> {
        let unknown = || response.type_url.clone();
        let kind = ResourceType::from_type_url(&response.type_url).ok_or_else(unknown)?;
        let subscription = self.kinds.get(&kind).ok_or_else(unknown)?;
        let mut upserts = BTreeMap::new();
        let mut malformed = Vec::new();
        for resource in response.resources {
            let name = resource.name.clone();
            match read(kind, resource, &upserts) {
                Ok(Some(upsert)) if subscription.wants(&name) => {
                    upserts.insert(name, upsert);
                }
                Ok(_) => {}
                Err(message) => malformed.push(Rejection::new(name, message)),
            }
        }
        let removed_names = response.removed_resource_names.into_iter().map(|name| name.name);
        let removals = response.removed_resources.into_iter().chain(removed_names);
        let removals = removals.filter(|name| subscription.wants(name)).collect();
        let upserts = upserts.into_values().collect();
        let update = Update { kind, version: response.system_version_info, upserts, removals };
        Ok(Received { update, nonce: response.nonce, malformed })
    }

    /// Notes what the consumer applied: everything received but the rejected.
    pub fn applied(&mut self, received: &Received, rejections: &[Rejection]) {
        let rejected: BTreeSet<&str> = rejections.iter().map(|rejection| rejection.name.as_str()).collect();
        let subscription = self.kinds.entry(received.update.kind).or_default();
        subscription.answered = true;
        for name in &received.update.removals {
            subscription.held.remove(name);
            subscription.note_known(name);
        }
        for upsert in &received.update.upserts {
            subscription.note_known(&upsert.name);
            if !rejected.contains(upsert.name.as_str()) {
                subscription.held.insert(upsert.name.clone(), upsert.version.clone());
            }
        }
        for rejection in &received.malformed {
            subscription.note_known(&rejection.name);
        }
    }

    /// Types that the server said nothing about yet, or not about all of their names.
    #[must_use]
    pub fn unanswered(&self) -> Vec<ResourceType> {
        // What is known is a part of what is wanted, so counting is enough.
        let open = |subscription: &Subscription| match subscription.wildcard {
            true => !subscription.answered,
            false => subscription.known.len() < subscription.names.len(),
        };
        self.kinds.iter().filter(|(_, subscription)| open(subscription)).map(|(kind, _)| *kind).collect()
    }

    /// How many resources of a type are held.
    #[must_use]
    pub fn held_count(&self, kind: ResourceType) -> usize {
        self.kinds.get(&kind).map_or(0, |subscription| subscription.held.len())
    }

    /// The versions held of a type, by name.
    pub fn held(&self, kind: ResourceType) -> impl Iterator<Item = (&str, &str)> {
        let held = self.kinds.get(&kind).into_iter().flat_map(|subscription| &subscription.held);
        held.map(|(name, version)| (name.as_str(), version.as_str()))
    }
}

impl Subscription {
    fn wants(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    /// Wildcards need no memory of names: a whole type is answered at once.
    fn note_known(&mut self, name: &str) {
        if !self.wildcard && self.names.contains(name) {
            self.known.insert(name.to_owned());
        }
    }
}

/// Reads one resource; none for a heartbeat, which carries no body.
fn read(
    kind: ResourceType,
    resource: Resource,
    before: &BTreeMap<String, Upsert>,
) -> Result<Option<Upsert>, &'static str> {
    if resource.name.is_empty() {
        return Err("resource has no name");
    }
    if before.contains_key(&resource.name) {
        return Err("resource is twice in one response");
    }
    let Some(any) = resource.resource else {
        return if resource.ttl.is_some() { Ok(None) } else { Err("resource has no body") };
    };
    if any.type_url != kind.type_url() {
        return Err("resource is not of the response's type");
    }
    Ok(Some(Upsert { name: resource.name, version: resource.version, value: Bytes::from(any.value) }))
}

#[cfg(test)]
mod tests;
