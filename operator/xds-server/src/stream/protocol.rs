// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What the two ADS methods differ in.

use crate::delta::{Answer, Violation};
use crate::snapshot::Interest;
use crate::{DeltaState, Form, Limits, Snapshot, SotwState, wire};
use gateway_xds_api::ResourceType;
use gateway_xds_api::pb::envoy::config::core::v3::Node;
use gateway_xds_api::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use std::sync::Arc;

/// A response ready for the wire.
pub(crate) struct Outgoing<M> {
    pub(crate) kind: ResourceType,
    pub(crate) nonce: String,
    /// Resources and removals in it.
    pub(crate) count: usize,
    pub(crate) message: M,
}

/// One of the two ADS methods.
pub(crate) trait Protocol: Send + 'static {
    type Request: Send + Sync + 'static;
    type Response: prost::Message + 'static;

    fn new(form: Form, limits: Limits) -> Self;
    fn form(user_agent: &str) -> Form;
    fn node(request: &Self::Request) -> Option<&Node>;
    fn type_url(request: &Self::Request) -> &str;
    /// Whether the request may change what the stream wants.
    fn subscribes(request: &Self::Request) -> bool;
    fn on_request(&mut self, kind: ResourceType, request: &Self::Request) -> Result<Answer, Violation>;
    fn on_snapshot(&mut self, snapshot: Arc<Snapshot>);
    fn sequence(&self) -> Option<u64>;
    fn next_response(&mut self) -> Option<Outgoing<Self::Response>>;
    fn settled(&self) -> bool;
    fn interest(&self, kind: ResourceType) -> Option<Interest>;
}

/// `DeltaAggregatedResources`.
pub(crate) struct Delta(DeltaState);

impl Protocol for Delta {
    type Request = DeltaDiscoveryRequest;
    type Response = wire::DeltaDiscoveryResponse;

    fn new(form: Form, limits: Limits) -> Self {
        Self(DeltaState::new(form, limits))
    }

    fn form(user_agent: &str) -> Form {
        Form::of_user_agent(user_agent)
    }

    fn node(request: &Self::Request) -> Option<&Node> {
        request.node.as_ref()
    }

    fn type_url(request: &Self::Request) -> &str {
        &request.type_url
    }

    fn subscribes(request: &Self::Request) -> bool {
        // A request without a nonce is the first of its type, which may be a wildcard without a name.
        request.response_nonce.is_empty()
            || !request.resource_names_subscribe.is_empty()
            || !request.resource_names_unsubscribe.is_empty()
    }

    fn on_request(&mut self, kind: ResourceType, request: &Self::Request) -> Result<Answer, Violation> {
        self.0.on_request(kind, request)
    }

    fn on_snapshot(&mut self, snapshot: Arc<Snapshot>) {
        self.0.on_snapshot(snapshot);
    }

    fn sequence(&self) -> Option<u64> {
        self.0.snapshot().map(|s| s.sequence)
    }

    fn next_response(&mut self) -> Option<Outgoing<Self::Response>> {
        let response = self.0.next_response()?;
        Some(Outgoing {
            kind: response.kind,
            count: response.resources.len() + response.removed.len(),
            message: response.to_wire(),
            nonce: response.nonce,
        })
    }

    fn settled(&self) -> bool {
        self.0.settled()
    }

    fn interest(&self, kind: ResourceType) -> Option<Interest> {
        self.0.interest(kind)
    }
}

/// `StreamAggregatedResources`.
pub(crate) struct Sotw(SotwState);

impl Protocol for Sotw {
    type Request = DiscoveryRequest;
    type Response = wire::DiscoveryResponse;

    fn new(_: Form, limits: Limits) -> Self {
        Self(SotwState::new(limits))
    }

    fn form(_: &str) -> Form {
        // Virtual hosts of their own exist in the incremental form alone.
        Form::Envoy
    }

    fn node(request: &Self::Request) -> Option<&Node> {
        request.node.as_ref()
    }

    fn type_url(request: &Self::Request) -> &str {
        &request.type_url
    }

    fn subscribes(_: &Self::Request) -> bool {
        true
    }

    fn on_request(&mut self, kind: ResourceType, request: &Self::Request) -> Result<Answer, Violation> {
        self.0.on_request(kind, request)
    }

    fn on_snapshot(&mut self, snapshot: Arc<Snapshot>) {
        self.0.on_snapshot(snapshot);
    }

    fn sequence(&self) -> Option<u64> {
        self.0.snapshot().map(|s| s.sequence)
    }

    fn next_response(&mut self) -> Option<Outgoing<Self::Response>> {
        let response = self.0.next_response()?;
        Some(Outgoing {
            kind: response.kind,
            count: response.resources.len(),
            message: response.to_wire(),
            nonce: response.nonce,
        })
    }

    fn settled(&self) -> bool {
        self.0.settled()
    }

    fn interest(&self, kind: ResourceType) -> Option<Interest> {
        self.0.interest(kind)
    }
}
