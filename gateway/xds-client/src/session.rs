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
        let kinds = subscriptions.kinds.iter();
        let mut requests: Vec<_> = kinds.filter_map(|(kind, wanted)| session.start(wanted, *kind)).collect();
        if let Some(first) = requests.first_mut() {
            first.node = Some(node);
        }
        (session, requests)
    }

    /// The requests that tell the server which names are wanted and which no longer, one for each type. The subscriptions
    /// must know of them already.
    pub fn tell(
        &mut self,
        subscriptions: &Subscriptions,
        wanted: &[(ResourceType, String)],
        unwanted: &[(ResourceType, String)],
    ) -> Vec<DeltaDiscoveryRequest> {
        let mut changes: BTreeMap<ResourceType, (Vec<String>, Vec<String>)> = BTreeMap::new();
        for (kind, name) in wanted {
            changes.entry(*kind).or_default().0.push(name.clone());
        }
        for (kind, name) in unwanted {
            changes.entry(*kind).or_default().1.push(name.clone());
        }
        changes.into_iter().filter_map(|(kind, names)| self.change(subscriptions, kind, names)).collect()
    }

    fn change(
        &mut self,
        subscriptions: &Subscriptions,
        kind: ResourceType,
        (mut wanted, mut unwanted): (Vec<String>, Vec<String>),
    ) -> Option<DeltaDiscoveryRequest> {
        let subscription = subscriptions.kinds.get(&kind)?;
        let Some(told) = self.told.get_mut(&kind).filter(|_| !subscription.wildcard) else {
            return self.start(subscription, kind);
        };
        wanted.retain(|name| subscription.names.contains(name) && told.insert(name.clone()));
        unwanted.retain(|name| !subscription.names.contains(name) && told.remove(name));
        (!wanted.is_empty() || !unwanted.is_empty()).then(|| DeltaDiscoveryRequest {
            type_url: kind.type_url().to_owned(),
            resource_names_subscribe: wanted,
            resource_names_unsubscribe: unwanted,
            ..DeltaDiscoveryRequest::default()
        })
    }

    /// The first request of a type; none where the stream has it already, or where nothing is wanted: an empty first
    /// subscription would mean all resources (xDS, "wildcard").
    fn start(&mut self, subscription: &Subscription, kind: ResourceType) -> Option<DeltaDiscoveryRequest> {
        let names =
            if subscription.wildcard { BTreeSet::from(["*".to_owned()]) } else { subscription.names.clone() };
        if names.is_empty() || self.told.contains_key(&kind) {
            return None;
        }
        self.told.insert(kind, names.clone());
        let held =
            subscription.held.iter().filter(|(name, _)| subscription.wildcard || names.contains(*name));
        let initial_resource_versions = held.map(|(name, version)| (name.clone(), version.clone())).collect();
        Some(DeltaDiscoveryRequest {
            type_url: kind.type_url().to_owned(),
            resource_names_subscribe: names.into_iter().collect(),
            initial_resource_versions,
            ..DeltaDiscoveryRequest::default()
        })
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

    /// Asks for resources again whatever the server believes this client has (xDS: it must answer names that are subscribed).
    #[must_use]
    pub fn ask_again(kind: ResourceType, names: Vec<String>) -> DeltaDiscoveryRequest {
        DeltaDiscoveryRequest {
            type_url: kind.type_url().to_owned(),
            resource_names_subscribe: names,
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
