// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Verdicts: what each object's owner is told, as values; writing them is the runtime's work.

mod condition;
mod finish;
mod write;

pub(crate) use condition::Verdict;
pub use condition::{Condition, ConditionStatus, ConditionType, Reason};
pub use finish::{GatewayFacts, Programmed, finish_gateway};
pub use write::{gateway_class_status, gateway_status, http_route_status, merge_conditions};

use operator_ir::{GatewayId, ObjectRef, Origin};
use serde::Serialize;

/// An object whose status is to be written anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StatusChange {
    /// Whose status.
    pub object: ObjectRef,
    /// The generation that the verdict was found for.
    pub generation: i64,
    /// The whole of what we have to say. None: the object is no longer ours, take back what we wrote.
    pub status: Option<StatusValue>,
}

/// A verdict on one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum StatusValue {
    /// On a GatewayClass.
    GatewayClass(GatewayClassVerdict),
    /// On a Gateway. [`finish_gateway`] completes it with what the proxies report.
    Gateway(GatewayVerdict),
    /// On an HTTPRoute.
    HttpRoute(RouteVerdict),
    /// On an Ingress.
    Ingress(IngressVerdict),
    /// On the listeners and plugins of a GatewayFleet.
    Fleet(FleetVerdict),
}

/// Verdict on a GatewayClass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayClassVerdict {
    /// `Accepted`.
    pub conditions: Vec<Condition>,
    /// Sorted by name; empty where the class is not accepted.
    pub supported_features: Vec<&'static str>,
}

/// Verdict on a Gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayVerdict {
    /// The gateway it becomes, none where it is refused as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewayId>,
    /// `Accepted`, and `Programmed` as far as the specification alone decides.
    pub conditions: Vec<Condition>,
    /// In the order of the specification.
    pub listeners: Vec<ListenerVerdict>,
}

/// Verdict on one listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerVerdict {
    /// Name of the listener.
    pub name: String,
    /// Kinds that may attach, all of group gateway.networking.k8s.io.
    pub supported_kinds: Vec<&'static str>,
    /// Routes with `Accepted` on this listener.
    pub attached_routes: i32,
    /// `Accepted`, `Conflicted`, `Programmed`, `ResolvedRefs`.
    pub conditions: Vec<Condition>,
}

/// Verdict on an HTTPRoute: our parents only, in the order of the specification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RouteVerdict {
    /// One for each of the route's references to a gateway of ours.
    pub parents: Vec<ParentVerdict>,
}

/// Verdict on a route under one parent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentVerdict {
    /// As written in the route, group and kind spelt out.
    pub parent_ref: ParentRef,
    /// `Accepted`, `ResolvedRefs`, and `PartiallyInvalid` where it holds.
    pub conditions: Vec<Condition>,
}

/// A route's reference to its parent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentRef {
    /// API group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace, where written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// Listener, where written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
    /// Port, where written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
}

/// Verdict on an Ingress. `status.loadBalancer` is made of the addresses of `gateways`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IngressVerdict {
    /// The gateways that serve it.
    pub gateways: Vec<GatewayId>,
    /// What is not served, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}

/// Verdict on a fleet's own listeners and its plugins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FleetVerdict {
    /// In the order of the specification.
    pub listeners: Vec<ListenerVerdict>,
    /// What is not served, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}

/// Something of an object that is not served.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// The object and rule.
    pub origin: Origin,
    /// One word.
    pub reason: Reason,
    /// The field, the cause, the remedy.
    pub message: String,
}
