// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Incremental xDS of one stream, without I/O: requests and snapshots in, responses out.
//!
//! Order (make before break): responses of a type wait for those of the types that it refers to, see
//! [`DeltaState::next_response`]. Within a type one response is in flight; what changes meanwhile is sent as one
//! difference once the proxy has answered.

mod subscription;

use crate::snapshot::Interest;
use crate::wire;
use crate::{Form, Limits, Nack, Snapshot};
use gateway_xds_api::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use gateway_xds_api::{PackedResource, ResourceMap, ResourceType};
use std::collections::BTreeMap;
use std::sync::Arc;
use subscription::{Pending, Subscription};

/// Additions wait for these, where the proxy asked for them.
const ROUTING: [ResourceType; 3] =
    [ResourceType::Listener, ResourceType::RouteConfiguration, ResourceType::VirtualHost];

/// Types that nothing else refers to by the time they go, or whose end takes their references along.
const REMOVED_AT_ONCE: [ResourceType; 2] = [ResourceType::Listener, ResourceType::VirtualHost];

/// The other removals, in this order, once everything else was taken.
const REMOVED_LAST: [ResourceType; 4] = [
    ResourceType::RouteConfiguration,
    ResourceType::Cluster,
    ResourceType::ClusterLoadAssignment,
    ResourceType::Secret,
];

/// A proxy broke a limit or the protocol; its stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// It subscribes to more than it may.
    #[error("more than {0} resource names on one stream")]
    TooManyNames(usize),
}

/// What a request said of the response in flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing: it only changes subscriptions, or its nonce is stale.
    None,
    /// The proxy took it.
    Taken,
    /// The proxy refused it.
    Refused(Nack),
}

/// One response to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeltaResponse {
    /// Its type.
    pub kind: ResourceType,
    /// Its nonce.
    pub nonce: String,
    /// The version of the set that it brings the proxy towards.
    pub version: Arc<str>,
    /// New or changed.
    pub resources: Vec<Arc<PackedResource>>,
    /// Gone or never there.
    pub removed: Vec<String>,
}

impl DeltaResponse {
    pub(crate) fn to_wire(&self) -> wire::DeltaDiscoveryResponse {
        let type_url = self.kind.type_url();
        let resource = |r: &Arc<PackedResource>| wire::Resource {
            name: r.name.clone(),
            version: r.version.clone(),
            resource: Some(wire::any(type_url, r)),
        };
        wire::DeltaDiscoveryResponse {
            system_version_info: self.version.to_string(),
            resources: self.resources.iter().map(resource).collect(),
            type_url: type_url.to_owned(),
            removed_resources: self.removed.clone(),
            nonce: self.nonce.clone(),
        }
    }
}

/// The state of one delta stream.
#[derive(Debug)]
pub struct DeltaState {
    required: &'static [ResourceType],
    limits: Limits,
    snapshot: Option<Arc<Snapshot>>,
    types: BTreeMap<ResourceType, Subscription>,
    nonces: u64,
}

impl DeltaState {
    /// A stream that nothing was asked on yet.
    #[must_use]
    pub fn new(form: Form, limits: Limits) -> Self {
        let required: &[ResourceType] = match form {
            Form::Gateway => &[ResourceType::Cluster, ResourceType::Listener, ResourceType::VirtualHost],
            Form::Envoy => &[ResourceType::Cluster, ResourceType::Listener],
        };
        Self { required, limits, snapshot: None, types: BTreeMap::new(), nonces: 0 }
    }

    /// Takes a request for a type: an answer to the response in flight, changed subscriptions, or both.
    ///
    /// # Errors
    /// Where the request breaks a limit.
    pub fn on_request(
        &mut self,
        kind: ResourceType,
        request: &DeltaDiscoveryRequest,
    ) -> Result<Answer, Violation> {
        let names: usize = self.types.values().map(Subscription::names).sum();
        let asked = request.resource_names_subscribe.len() + request.initial_resource_versions.len();
        if names + asked > self.limits.names {
            return Err(Violation::TooManyNames(self.limits.names));
        }
        let current = self.snapshot.as_ref().map(|s| s.resources.map(kind)).unwrap_or_default();
        let Some(subscription) = self.types.get_mut(&kind) else {
            self.types.insert(kind, Subscription::first(kind, request, current));
            return Ok(Answer::None);
        };
        let error = request.error_detail.as_ref().map(|status| status.message.as_str());
        let answer = subscription.answer(kind, &request.response_nonce, error);
        subscription.change(request);
        Ok(answer)
    }

    /// Takes a newer snapshot of the group.
    pub fn on_snapshot(&mut self, snapshot: Arc<Snapshot>) {
        for (kind, subscription) in &mut self.types {
            subscription.examine(&snapshot.resources.map(*kind));
        }
        self.snapshot = Some(snapshot);
    }

    /// The snapshot that the stream works towards.
    #[must_use]
    pub fn snapshot(&self) -> Option<&Arc<Snapshot>> {
        self.snapshot.as_ref()
    }

    /// The next response to send, if one may be sent now.
    ///
    /// - A type with a response in flight waits for the answer.
    /// - Listeners, route tables and virtual hosts wait until all clusters were sent and taken, and the endpoints of new
    ///   ones as well: a proxy that warms a cluster would answer errors for routes that already use it.
    /// - Removals of what others refer to come last, when everything else was taken.
    pub fn next_response(&mut self) -> Option<DeltaResponse> {
        let snapshot = self.snapshot.clone()?;
        let mut additions_left = false;
        for kind in ResourceType::ALL {
            let Some(subscription) = self.types.get(&kind) else { continue };
            let mut pending = subscription.pending(&snapshot.resources.map(kind));
            if !REMOVED_AT_ONCE.contains(&kind) {
                pending.removed.retain(|name| !subscription.has(name));
            }
            if pending.is_empty() && !subscription.to_greet() {
                continue;
            }
            let held = ROUTING.contains(&kind) && (additions_left || self.clusters_unsettled());
            if subscription.in_flight() || held {
                additions_left = true;
                continue;
            }
            return self.send(kind, pending, &snapshot);
        }
        // A proxy that has not asked for its routes yet (a reconnect) may hold some that refer to what goes.
        if !self.required.iter().all(|kind| self.types.contains_key(kind)) {
            return None;
        }
        // A refused route table or virtual host means that the proxy still serves by the one before.
        let unsettled = |s: &Subscription| s.in_flight() || s.refuses();
        if additions_left || ROUTING.iter().any(|kind| self.types.get(kind).is_some_and(unsettled)) {
            return None;
        }
        for kind in REMOVED_LAST {
            let Some(subscription) = self.types.get(&kind) else { continue };
            if subscription.in_flight() {
                return None;
            }
            let pending = subscription.pending(&snapshot.resources.map(kind));
            if !pending.is_empty() {
                return self.send(kind, pending, &snapshot);
            }
        }
        None
    }

    /// Whether the proxy asked for all that a gateway needs and answered everything of the current snapshot.
    #[must_use]
    pub fn settled(&self) -> bool {
        let Some(snapshot) = &self.snapshot else { return false };
        self.required.iter().all(|kind| self.types.contains_key(kind))
            && self.types.iter().all(|(kind, subscription)| {
                !subscription.in_flight()
                    && !subscription.to_greet()
                    && subscription.pending(&snapshot.resources.map(*kind)).is_empty()
            })
    }

    /// Counts a response as taken that the wire form cannot say.
    pub(crate) fn answer_silently(&mut self, kind: ResourceType, nonce: &str) {
        if let Some(subscription) = self.types.get_mut(&kind) {
            subscription.answer(kind, nonce, None);
        }
    }

    /// What the proxy was sent of a type and still has.
    pub(crate) fn known(&self, kind: ResourceType) -> ResourceMap {
        self.types.get(&kind).map(|s| s.known().clone()).unwrap_or_default()
    }

    /// Whether the proxy asked for the type.
    pub(crate) fn subscribes(&self, kind: ResourceType) -> bool {
        self.types.contains_key(&kind)
    }

    /// What the stream wants of a type, for the publisher.
    pub(crate) fn interest(&self, kind: ResourceType) -> Option<Interest> {
        self.types.get(&kind).map(Subscription::interest)
    }

    /// Whether clusters, or endpoints of new clusters, are on their way.
    fn clusters_unsettled(&self) -> bool {
        let introduces = |kind| self.types.get(&kind).is_some_and(Subscription::introduces);
        introduces(ResourceType::Cluster) || introduces(ResourceType::ClusterLoadAssignment)
    }

    fn send(&mut self, kind: ResourceType, pending: Pending, snapshot: &Snapshot) -> Option<DeltaResponse> {
        self.nonces += 1;
        let nonce = self.nonces.to_string();
        let subscription = self.types.get_mut(&kind)?;
        let target: ResourceMap = snapshot.resources.map(kind);
        let (resources, removed) = subscription.send(&nonce, pending, &target, self.limits.response_bytes);
        Some(DeltaResponse { kind, nonce, version: snapshot.version.clone(), resources, removed })
    }
}
