// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Whom a resolver works for and what it is able to see.

use crds::gateway_fleet::SourceScope;
use operator_ir::ObjectRef;

/// Settings of a [`crate::Resolver`], fixed for its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolverOptions {
    /// GatewayClasses with this `controllerName` are ours.
    pub controller_name: String,
    /// IngressClasses with this `controller` are ours.
    pub ingress_controller_name: String,
    /// Ingresses of this class are ours also where no IngressClass object exists.
    pub ingress_class_name: String,
    /// Only gateways of this fleet (a relay), or of every fleet that is applied (none; a hub).
    pub fleet: Option<ObjectRef>,
    /// Only config sources of this scope; none: every scope (one cluster that is hub and member).
    pub scope: Option<SourceScope>,
    /// Whether every Service is applied. Otherwise none is missed: backends are kept without a verdict.
    pub services_known: bool,
    /// Whether every Secret is applied. Otherwise none is missed: certificates are kept without a verdict.
    pub secrets_known: bool,
}

impl Default for ResolverOptions {
    fn default() -> Self {
        Self {
            controller_name: "gatefleet.dev/gateway-controller".to_owned(),
            ingress_controller_name: "gatefleet.dev/ingress-controller".to_owned(),
            ingress_class_name: "gatefleet".to_owned(),
            fleet: None,
            scope: None,
            services_known: true,
            secrets_known: true,
        }
    }
}
