// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! State-of-the-world xDS of one stream, without I/O: the incremental state in another wire form.
//!
//! Listeners and clusters are always sent whole, so that what is missing ends; other types by what changed. A cluster on
//! its way out stays in the whole until the routes that used it were taken.

use crate::delta::{Answer, DeltaResponse, Violation};
use crate::snapshot::Interest;
use crate::wire;
use crate::{DeltaState, Form, Limits, Snapshot};
use gateway_xds_api::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use gateway_xds_api::{PackedResource, ResourceType};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Types that a response states as a whole.
const WHOLE: [ResourceType; 2] = [ResourceType::Cluster, ResourceType::Listener];
const WILDCARD: &str = "*";

/// One response to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SotwResponse {
    /// Its type.
    pub kind: ResourceType,
    /// Its nonce.
    pub nonce: String,
    /// The version of the set that it brings the proxy towards.
    pub version: Arc<str>,
    /// All of the type, or what changed of it.
    pub resources: Vec<Arc<PackedResource>>,
}

impl SotwResponse {
    pub(crate) fn to_wire(&self) -> wire::DiscoveryResponse {
        let type_url = self.kind.type_url();
        wire::DiscoveryResponse {
            version_info: self.version.to_string(),
            resources: self.resources.iter().map(|r| wire::any(type_url, r)).collect(),
            type_url: type_url.to_owned(),
            nonce: self.nonce.clone(),
        }
    }
}

/// The state of one state-of-the-world stream.
#[derive(Debug)]
pub struct SotwState {
    delta: DeltaState,
    names: BTreeMap<ResourceType, BTreeSet<String>>,
    /// The nonce sent last, by type; an older one makes a request stale.
    nonces: BTreeMap<ResourceType, String>,
}

impl SotwState {
    /// A stream that nothing was asked on yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        // A whole cannot be cut in two.
        let limits = Limits { response_bytes: usize::MAX, ..limits };
        Self { delta: DeltaState::new(Form::Envoy, limits), names: BTreeMap::new(), nonces: BTreeMap::new() }
    }

    /// Takes a request for a type: an answer to the response in flight, other names, or both. A stale nonce makes it
    /// void (xDS, "Resource updates": the proxy will send another for the response on its way).
    ///
    /// # Errors
    /// Where the request breaks a limit.
    pub fn on_request(
        &mut self,
        kind: ResourceType,
        request: &DiscoveryRequest,
    ) -> Result<Answer, Violation> {
        let first = !self.delta.subscribes(kind);
        let last = self.nonces.get(&kind).map_or("", String::as_str);
        if !first && request.response_nonce != last {
            return Ok(Answer::None);
        }
        let mut wanted: BTreeSet<String> = request.resource_names.iter().cloned().collect();
        if wanted.is_empty() && WHOLE.contains(&kind) {
            wanted.insert(WILDCARD.to_owned());
        }
        let before = self.names.entry(kind).or_default();
        let translated = DeltaDiscoveryRequest {
            resource_names_subscribe: wanted.difference(before).cloned().collect(),
            resource_names_unsubscribe: before.difference(&wanted).cloned().collect(),
            response_nonce: request.response_nonce.clone(),
            error_detail: request.error_detail.clone(),
            ..DeltaDiscoveryRequest::default()
        };
        *before = wanted;
        self.delta.on_request(kind, &translated)
    }

    /// Takes a newer snapshot of the group.
    pub fn on_snapshot(&mut self, snapshot: Arc<Snapshot>) {
        self.delta.on_snapshot(snapshot);
    }

    /// The snapshot that the stream works towards.
    #[must_use]
    pub fn snapshot(&self) -> Option<&Arc<Snapshot>> {
        self.delta.snapshot()
    }

    /// The next response to send, if one may be sent now; order as in [`DeltaState::next_response`].
    pub fn next_response(&mut self) -> Option<SotwResponse> {
        loop {
            let DeltaResponse { kind, nonce, version, resources, .. } = self.delta.next_response()?;
            let resources = if WHOLE.contains(&kind) {
                self.delta.known(kind).iter().cloned().collect()
            } else if resources.is_empty() {
                // This form has no word for a removal by name: the proxy learns it from the whole that named it.
                self.delta.answer_silently(kind, &nonce);
                continue;
            } else {
                resources
            };
            self.nonces.insert(kind, nonce.clone());
            return Some(SotwResponse { kind, nonce, version, resources });
        }
    }

    /// Whether the proxy asked for all that a gateway needs and answered everything of the current snapshot.
    #[must_use]
    pub fn settled(&self) -> bool {
        self.delta.settled()
    }

    /// What the stream wants of a type, for the publisher.
    pub(crate) fn interest(&self, kind: ResourceType) -> Option<Interest> {
        self.delta.interest(kind)
    }
}
