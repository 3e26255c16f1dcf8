// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Every name on the wire.

use operator_ir::{BackendId, RouteTableId, SecretId, VirtualHostId};

/// The cluster of a destination without a backend. No such cluster exists, so its share answers 500.
pub const INVALID_BACKEND: &str = "invalid-backend";
/// The cluster of the relay itself, for stock Envoys that fetch plugins from it. Part of their bootstrap.
pub const RELAY: &str = "gatefleet-relay";
/// The key of our entry in `filter_metadata`.
pub const METADATA: &str = "gatefleet.dev";

/// A listener.
#[must_use]
pub fn listener(port: u16) -> String {
    format!("listener/{port}")
}

/// A route configuration.
#[must_use]
pub fn route_configuration(id: &RouteTableId) -> String {
    id.to_string()
}

/// A virtual host, also its resource.
#[must_use]
pub fn virtual_host(id: &VirtualHostId) -> String {
    id.to_string()
}

/// A cluster, also its load assignment.
#[must_use]
pub fn cluster(id: &BackendId) -> String {
    id.to_string()
}

/// A certificate.
#[must_use]
pub fn secret(id: &SecretId) -> String {
    id.to_string()
}
