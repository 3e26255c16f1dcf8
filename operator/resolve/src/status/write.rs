// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Verdicts as the status types of the APIs: times kept where nothing changed, everything of others left alone.

use super::{
    Condition, ConditionType, GatewayClassVerdict, GatewayFacts, GatewayVerdict, ParentVerdict, RouteVerdict,
    finish_gateway,
};
use crds::gateway_api::{
    GatewayClassStatus, GatewayClassStatusSupportedFeatures, GatewayStatus, GatewayStatusAddresses,
    GatewayStatusListeners, GatewayStatusListenersSupportedKinds, HttpRouteStatus, HttpRouteStatusParents,
    HttpRouteStatusParentsParentRef,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1;
use std::net::IpAddr;

/// Puts our conditions over those that are there: conditions of other types stay, `lastTransitionTime` stays where the
/// status does, and a condition that was found for a later generation is not set back.
#[must_use]
pub fn merge_conditions(
    previous: &[v1::Condition],
    ours: &[Condition],
    now: &v1::Time,
) -> Vec<v1::Condition> {
    // By our vocabulary, not by this verdict: a condition that no longer holds (`PartiallyInvalid`) goes.
    let is_ours =
        |condition: &&v1::Condition| ConditionType::ALL.iter().any(|kind| kind.as_str() == condition.type_);
    let foreign = previous.iter().filter(|condition| !is_ours(condition)).cloned();
    let merged = ours.iter().map(|our| {
        let old = previous.iter().find(|condition| condition.type_ == our.kind.as_str());
        if let Some(old) = old
            && old.observed_generation > Some(our.observed_generation)
        {
            return old.clone();
        }
        let same = old.filter(|old| old.status == our.status.as_str());
        v1::Condition {
            type_: our.kind.as_str().to_owned(),
            status: our.status.as_str().to_owned(),
            observed_generation: Some(our.observed_generation),
            reason: our.reason.as_str().to_owned(),
            message: our.message.clone(),
            last_transition_time: same.map_or_else(|| now.clone(), |old| old.last_transition_time.clone()),
        }
    });
    merged.chain(foreign).collect()
}

/// Status of a GatewayClass.
#[must_use]
pub fn gateway_class_status(
    verdict: &GatewayClassVerdict,
    previous: Option<&GatewayClassStatus>,
    now: &v1::Time,
) -> GatewayClassStatus {
    let conditions = previous.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let features = verdict.supported_features.iter();
    GatewayClassStatus {
        conditions: Some(merge_conditions(conditions, &verdict.conditions, now)),
        supported_features: Some(
            features.map(|name| GatewayClassStatusSupportedFeatures { name: (*name).to_owned() }).collect(),
        ),
    }
}

/// Status of a Gateway, with what its workload reports.
#[must_use]
pub fn gateway_status(
    verdict: &GatewayVerdict,
    facts: &GatewayFacts,
    previous: Option<&GatewayStatus>,
    now: &v1::Time,
) -> GatewayStatus {
    let finished = finish_gateway(verdict, facts);
    let conditions = previous.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let old_listeners = previous.and_then(|status| status.listeners.as_deref()).unwrap_or_default();
    let listeners = finished.listeners.iter().map(|listener| {
        let old = old_listeners.iter().find(|old| old.name == listener.name);
        let old = old.map(|old| old.conditions.as_slice()).unwrap_or_default();
        let kinds = listener.supported_kinds.iter().map(|kind| GatewayStatusListenersSupportedKinds {
            group: Some(crate::gateway_api::GROUP.to_owned()),
            kind: (*kind).to_owned(),
        });
        GatewayStatusListeners {
            attached_routes: listener.attached_routes,
            conditions: merge_conditions(old, &listener.conditions, now),
            name: listener.name.clone(),
            supported_kinds: Some(kinds.collect()),
        }
    });
    let addresses = facts.addresses.iter().map(|address| GatewayStatusAddresses {
        r#type: Some(if address.parse::<IpAddr>().is_ok() { "IPAddress" } else { "Hostname" }.to_owned()),
        value: address.clone(),
    });
    GatewayStatus {
        addresses: Some(addresses.collect()),
        attached_listener_sets: None,
        conditions: Some(merge_conditions(conditions, &finished.conditions, now)),
        listeners: Some(listeners.collect()),
    }
}

/// Status of an HTTPRoute: entries of other controllers stay as they are, ours are those of the verdict. Without a verdict
/// ours go.
#[must_use]
pub fn http_route_status(
    verdict: Option<&RouteVerdict>,
    controller_name: &str,
    previous: Option<&HttpRouteStatus>,
    now: &v1::Time,
) -> HttpRouteStatus {
    let previous = previous.map(|status| status.parents.as_slice()).unwrap_or_default();
    let foreign = previous.iter().filter(|parent| parent.controller_name != controller_name).cloned();
    let ours = verdict.into_iter().flat_map(|verdict| &verdict.parents).map(|parent| {
        let parent_ref = parent_ref(parent);
        let old = previous
            .iter()
            .find(|old| old.controller_name == controller_name && old.parent_ref == parent_ref);
        let old = old.map(|old| old.conditions.as_slice()).unwrap_or_default();
        HttpRouteStatusParents {
            conditions: merge_conditions(old, &parent.conditions, now),
            controller_name: controller_name.to_owned(),
            parent_ref,
        }
    });
    HttpRouteStatus { parents: foreign.chain(ours).collect() }
}

fn parent_ref(parent: &ParentVerdict) -> HttpRouteStatusParentsParentRef {
    let parent = &parent.parent_ref;
    HttpRouteStatusParentsParentRef {
        group: Some(parent.group.clone()),
        kind: Some(parent.kind.clone()),
        name: parent.name.clone(),
        namespace: parent.namespace.clone(),
        port: parent.port,
        section_name: parent.section_name.clone(),
    }
}
