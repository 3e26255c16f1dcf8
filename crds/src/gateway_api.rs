// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Gateway API v1.7.0, standard channel: types generated from `crds/gateway-api/*.yaml` (`cargo run -p xtask -- gateway-api`).
//!
//! Types are named after kind and field path. Where several kinds or fields share one shape, the later names are aliases
//! of the first, so that one function serves all: [`HttpRouteParentRefs`], [`HttpRouteStatusParents`],
//! [`HttpRouteRulesFilters`], [`TcpRouteRulesBackendRefs`].

mod backendtlspolicies;
mod gatewayclasses;
mod gateways;
mod grpcroutes;
mod httproutes;
mod listenersets;
mod referencegrants;
mod tcproutes;
mod tlsroutes;
mod udproutes;

pub use backendtlspolicies::*;
pub use gatewayclasses::*;
pub use gateways::*;
pub use grpcroutes::*;
pub use httproutes::*;
pub use listenersets::*;
pub use referencegrants::*;
pub use tcproutes::*;
pub use tlsroutes::*;
pub use udproutes::*;

/// The API group.
pub const GROUP: &str = "gateway.networking.k8s.io";
/// The version of the schemas.
pub const BUNDLE_VERSION: &str = "v1.7.0";
