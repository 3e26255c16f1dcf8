// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What the resolver is told: objects that appear, change and go.

use crate::SecretFacts;
use crds::GatewayFleet;
use crds::gateway_api::{Gateway, GatewayClass, HttpRoute, ReferenceGrant};
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use operator_ir::ObjectRef;
use std::sync::Arc;

/// One step in the life of an object, or of what is known.
#[derive(Clone, Debug)]
pub enum Change {
    /// The object is there, or differs from before.
    Upsert(Object),
    /// The object is gone.
    Delete(ObjectRef),
    /// Services or Secrets became known or unknown as a whole.
    Known {
        /// Whether every Service of interest is in the store.
        services: bool,
        /// Whether every Secret of interest is in the store.
        secrets: bool,
    },
}

/// An object that routing depends on.
#[derive(Clone, Debug)]
pub enum Object {
    /// gatefleet.dev GatewayFleet.
    Fleet(Arc<GatewayFleet>),
    /// gateway.networking.k8s.io GatewayClass.
    GatewayClass(Arc<GatewayClass>),
    /// gateway.networking.k8s.io Gateway.
    Gateway(Arc<Gateway>),
    /// gateway.networking.k8s.io HTTPRoute.
    HttpRoute(Arc<HttpRoute>),
    /// gateway.networking.k8s.io ReferenceGrant.
    ReferenceGrant(Arc<ReferenceGrant>),
    /// networking.k8s.io Ingress.
    Ingress(Arc<Ingress>),
    /// networking.k8s.io IngressClass.
    IngressClass(Arc<IngressClass>),
    /// core Namespace.
    Namespace(Arc<Namespace>),
    /// core Service.
    Service(Arc<Service>),
    /// core Secret: only what was found out about it, never its keys.
    Secret(Arc<SecretFacts>),
}
