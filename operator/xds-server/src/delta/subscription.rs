// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! One type on one delta stream: what the proxy wants, has, refused, and was told last.

use super::Answer;
use crate::Nack;
use crate::snapshot::Interest;
use gateway_xds_api::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use gateway_xds_api::{Difference, PackedResource, ResourceMap, ResourceType};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Asks for everything of a type.
const WILDCARD: &str = "*";

/// What remains to be sent.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) resources: Vec<Arc<PackedResource>>,
    pub(super) removed: Vec<String>,
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.resources.is_empty() && self.removed.is_empty()
    }
}

/// A response that the proxy has not answered.
#[derive(Debug)]
struct InFlight {
    nonce: String,
    resources: Vec<Arc<PackedResource>>,
    removed: Vec<String>,
    /// Whether it names something that the proxy did not have.
    introduces: bool,
}

#[derive(Debug, Default)]
pub(super) struct Subscription {
    wildcard: bool,
    /// Asked for by name, whether or not there is a wildcard too.
    named: BTreeSet<String>,
    /// What was sent and not removed since; a wildcard's map shares its chunks with the snapshot.
    known: ResourceMap,
    /// Names that the proxy was told do not exist.
    absent: BTreeSet<String>,
    /// Names to look at: changed, newly asked for, or asked for again.
    due: BTreeSet<String>,
    /// Names whose last response was refused; they go along with the next change, as a proxy may have dropped all of it.
    refused: BTreeSet<String>,
    /// The snapshot's resources that `due` has taken into account.
    examined: ResourceMap,
    in_flight: Option<InFlight>,
    /// A wildcard is answered once even by nothing, as proxies wait for it.
    greeted: bool,
}

impl Subscription {
    /// The first request of a type on the stream.
    pub(super) fn first(kind: ResourceType, request: &DeltaDiscoveryRequest, current: ResourceMap) -> Self {
        let known = request.initial_resource_versions.iter().map(|(name, version)| {
            Arc::new(PackedResource {
                name: name.clone(),
                version: version.clone(),
                value: bytes::Bytes::new(),
                origin: String::new(),
            })
        });
        let mut subscription = Self { known: known.collect(), examined: current, ..Self::default() };
        // The legacy wildcard: nothing asked for at first means everything.
        let legacy =
            [ResourceType::Cluster, ResourceType::Listener, ResourceType::VirtualHost].contains(&kind);
        subscription.wildcard = legacy && request.resource_names_subscribe.is_empty();
        let held = subscription.known.clone();
        subscription.change(request);
        // On a new stream a name with a known version is not asked for again.
        subscription.known = held;
        subscription
    }

    /// Takes an answer, if the nonce is that of the response in flight.
    pub(super) fn answer(&mut self, kind: ResourceType, nonce: &str, error: Option<&str>) -> Answer {
        let Some(flight) = self.in_flight.take_if(|flight| flight.nonce == nonce) else {
            return Answer::None;
        };
        let Some(error) = error else { return Answer::Taken };
        let names = flight.resources.iter().map(|r| r.name.clone()).chain(flight.removed);
        self.refused.extend(names);
        Answer::Refused(Nack::read(kind, error, &flight.resources))
    }

    /// Takes names that the proxy begins or ceases to want.
    pub(super) fn change(&mut self, request: &DeltaDiscoveryRequest) {
        for name in &request.resource_names_subscribe {
            if name == WILDCARD {
                self.wildcard = true;
                continue;
            }
            self.named.insert(name.clone());
            // Asking again means that the proxy may have dropped it.
            self.known.remove(name);
            self.absent.remove(name);
            self.due.insert(name.clone());
        }
        for name in &request.resource_names_unsubscribe {
            if name == WILDCARD {
                self.end_wildcard();
                continue;
            }
            self.named.remove(name);
            self.absent.remove(name);
            self.refused.remove(name);
            self.known.remove(name);
            if self.wildcard {
                // The wildcard still covers it: say what it is, or that it is not.
                self.due.insert(name.clone());
            } else {
                self.due.remove(name);
            }
        }
    }

    fn end_wildcard(&mut self) {
        if !std::mem::take(&mut self.wildcard) {
            return;
        }
        self.known = self.known.iter().filter(|r| self.named.contains(&r.name)).cloned().collect();
        self.refused.retain(|name| self.named.contains(name));
        self.due = self.named.clone();
    }

    /// Notes which named resources a newer snapshot changes.
    pub(super) fn examine(&mut self, target: &ResourceMap) {
        if !self.named.is_empty() {
            for change in self.examined.diff(target) {
                let name = match change {
                    Difference::Upsert(r) => r.name.as_str(),
                    Difference::Removed(name) => name,
                };
                if self.named.contains(name) {
                    self.due.insert(name.to_owned());
                }
            }
        }
        self.examined = target.clone();
    }

    /// What separates the proxy from `target`.
    pub(super) fn pending(&self, target: &ResourceMap) -> Pending {
        let mut pending = Pending::default();
        if self.wildcard {
            for change in self.known.diff(target) {
                match change {
                    Difference::Upsert(r) => pending.resources.push(r.clone()),
                    Difference::Removed(name) => pending.removed.push(name.to_owned()),
                }
            }
        }
        for name in &self.due {
            match (target.get(name), self.known.get(name)) {
                (Some(new), Some(old)) if old.version == new.version => {}
                // The wildcard's difference has it.
                (Some(_), _) | (None, Some(_)) if self.wildcard => {}
                (Some(new), _) => pending.resources.push(new.clone()),
                (None, Some(_)) => pending.removed.push(name.clone()),
                (None, None) if self.absent.contains(name) => {}
                (None, None) => pending.removed.push(name.clone()),
            }
        }
        if !pending.is_empty() && !self.refused.is_empty() {
            self.add_refused(target, &mut pending);
        }
        pending
    }

    fn add_refused(&self, target: &ResourceMap, pending: &mut Pending) {
        let listed: BTreeSet<&str> = pending
            .resources
            .iter()
            .map(|r| r.name.as_str())
            .chain(pending.removed.iter().map(String::as_str))
            .collect();
        let missing: Vec<&String> =
            self.refused.iter().filter(|name| !listed.contains(name.as_str())).collect();
        for name in missing {
            match target.get(name) {
                Some(resource) => pending.resources.push(resource.clone()),
                None => pending.removed.push(name.clone()),
            }
        }
    }

    /// Marks as sent what fits into one response, and returns it.
    pub(super) fn send(
        &mut self,
        nonce: &str,
        mut pending: Pending,
        target: &ResourceMap,
        limit: usize,
    ) -> (Vec<Arc<PackedResource>>, Vec<String>) {
        let fits = fitting(&pending.resources, limit);
        if fits < pending.resources.len() {
            pending.resources.truncate(fits);
            pending.removed.clear();
        }
        let Pending { resources, removed } = pending;
        let introduces = resources.iter().any(|r| self.known.get(&r.name).is_none());
        for resource in &resources {
            self.due.remove(&resource.name);
            self.absent.remove(&resource.name);
            self.refused.remove(&resource.name);
            self.known.insert(resource.clone());
        }
        for name in &removed {
            self.due.remove(name);
            self.refused.remove(name);
            self.known.remove(name);
            if self.named.contains(name) {
                self.absent.insert(name.clone());
            }
        }
        if self.wildcard && self.known.diff(target).is_empty() {
            self.known = target.clone();
        }
        self.greeted = true;
        let flight = InFlight {
            nonce: nonce.to_owned(),
            resources: resources.clone(),
            removed: removed.clone(),
            introduces,
        };
        self.in_flight = Some(flight);
        (resources, removed)
    }

    /// Whether the proxy holds, or was sent, a resource of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.known.get(name).is_some()
    }

    /// Whether the last response about some resource was refused.
    pub(super) fn refuses(&self) -> bool {
        !self.refused.is_empty()
    }

    pub(super) fn known(&self) -> &ResourceMap {
        &self.known
    }

    pub(super) fn in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Whether something new to the proxy is in flight.
    pub(super) fn introduces(&self) -> bool {
        self.in_flight.as_ref().is_some_and(|flight| flight.introduces)
    }

    pub(super) fn to_greet(&self) -> bool {
        self.wildcard && !self.greeted
    }

    pub(super) fn names(&self) -> usize {
        self.named.len()
    }

    pub(super) fn interest(&self) -> Interest {
        if self.wildcard { Interest::All } else { Interest::Names(self.named.iter().cloned().collect()) }
    }
}

/// How many resources fit into a response of `limit` bytes; at least one.
fn fitting(resources: &[Arc<PackedResource>], limit: usize) -> usize {
    let mut bytes = 0;
    let fits = resources.iter().take_while(|r| {
        bytes += r.value.len() + r.name.len() + r.version.len();
        bytes <= limit
    });
    fits.count().max(1)
}
