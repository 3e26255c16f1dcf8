// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What one stream was told: turns [`Subscriptions`] into requests. Pure.

use crate::subscription::Subscription;
use crate::{Received, Rejection, Subscriptions};
use gateway_xds_api::ResourceType;
use gateway_xds_api::pb::envoy::config::core::v3::Node;
use gateway_xds_api::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use gateway_xds_api::pb::google::rpc::Status;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// gRPC's `INVALID_ARGUMENT`.
const INVALID_ARGUMENT: i32 = 3;
/// Longest NACK text; further rejections are counted. gRPC servers commonly take messages of 4 MiB.
const LONGEST_NACK: usize = 64 * 1024;

/// One stream's view of the subscriptions.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// By type: the names told. A type that is absent was not opened yet.
    told: BTreeMap<ResourceType, BTreeSet<String>>,
}

impl Session {
    /// Starts a stream: the requests that open every type, the node in the first. Versions held are replayed, so that the
    /// server sends differences only.
    #[must_use]
    pub fn open(subscriptions: &Subscriptions, node: Node) -> (Self, Vec<DeltaDiscoveryRequest>) {
        let mut session = Self::default();
        let kinds = subscriptions.kinds.keys();
        let mut requests: Vec<_> = kinds.filter_map(|kind| session.sync(subscriptions, *kind)).collect();
        if let Some(first) = requests.first_mut() {
            first.node = Some(node);
        }
        (session, requests)
    }

    /// The request that tells the server what changed in the names of a type, if anything.
    ///
    /// A type without names is never opened: an empty first subscription would mean all resources (xDS, "wildcard").
    pub fn sync(
        &mut self,
        subscriptions: &Subscriptions,
        kind: ResourceType,
    ) -> Option<DeltaDiscoveryRequest> {
        let subscription = subscriptions.kinds.get(&kind)?;
        let Some(told) = self.told.get_mut(&kind) else {
            let names = subscription.told_names();
            if names.is_empty() {
                return None;
            }
            self.told.insert(kind, names.clone());
            return Some(DeltaDiscoveryRequest {
                type_url: kind.type_url().to_owned(),
                resource_names_subscribe: names.into_iter().collect(),
                initial_resource_versions: subscription.held.clone().into_iter().collect(),
                ..DeltaDiscoveryRequest::default()
            });
        };
        let names = subscription.told_names();
        let request = DeltaDiscoveryRequest {
            type_url: kind.type_url().to_owned(),
            resource_names_subscribe: names.difference(told).cloned().collect(),
            resource_names_unsubscribe: told.difference(&names).cloned().collect(),
            ..DeltaDiscoveryRequest::default()
        };
        let nothing =
            request.resource_names_subscribe.is_empty() && request.resource_names_unsubscribe.is_empty();
        *told = names;
        (!nothing).then_some(request)
    }

    /// The answer to a response: an ACK, or a NACK that names every rejected resource and why.
    #[must_use]
    pub fn answer(received: &Received, rejections: &[Rejection]) -> DeltaDiscoveryRequest {
        let all: Vec<_> = received.malformed.iter().chain(rejections).collect();
        let error_detail = (!all.is_empty()).then(|| Status {
            code: INVALID_ARGUMENT,
            message: nack_text(&all),
            details: Vec::new(),
        });
        DeltaDiscoveryRequest {
            type_url: received.update.kind.type_url().to_owned(),
            response_nonce: received.nonce.clone(),
            error_detail,
            ..DeltaDiscoveryRequest::default()
        }
    }

    /// The answer to a response of a type that was never subscribed.
    #[must_use]
    pub fn refuse_type(type_url: String, nonce: String) -> DeltaDiscoveryRequest {
        let message = format!("type {type_url} is not subscribed");
        let error_detail = Some(Status { code: INVALID_ARGUMENT, message, details: Vec::new() });
        DeltaDiscoveryRequest {
            type_url,
            response_nonce: nonce,
            error_detail,
            ..DeltaDiscoveryRequest::default()
        }
    }
}

impl Subscription {
    fn told_names(&self) -> BTreeSet<String> {
        if self.wildcard { BTreeSet::from(["*".to_owned()]) } else { self.names.clone() }
    }
}

/// One line `resource: reason` for each rejection.
fn nack_text(rejections: &[&Rejection]) -> String {
    let mut text = String::new();
    for (index, rejection) in rejections.iter().enumerate() {
        let line = rejection.to_string().replace('\n', " ");
        if text.len() + line.len() > LONGEST_NACK {
            // Writing to a String does not fail.
            let _ = write!(text, "and {} more", rejections.len() - index);
            return text;
        }
        text.push_str(&line);
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text
}
