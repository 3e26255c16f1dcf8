// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Every xDS name is made here.

use operator_ir::{BackendId, RouteTableId, SecretId, VirtualHostId};

/// The cluster of a destination whose reference is invalid; never defined, so that its requests answer 500.
pub const INVALID_BACKEND: &str = "invalid-backend";

/// Key of our entry in `Metadata.filter_metadata`.
pub const METADATA: &str = "gatefleet.dev";

/// Secret with the roots of the fleet.
pub const TRUST_BUNDLE: &str = "trust-bundle";

/// The cluster that plugins are fetched through: the relay's issuance port, defined by the proxy's bootstrap.
pub const PLUGIN_CLUSTER: &str = "gatefleet-relay-plugins";

/// Listener of a declared port.
#[must_use]
pub fn listener(port: u16) -> String {
    format!("listener/{port}")
}

/// RouteConfiguration of a route table.
#[must_use]
pub fn route_configuration(table: &RouteTableId) -> String {
    table.to_string()
}

/// VirtualHost of a host in a route table.
#[must_use]
pub fn virtual_host(id: &VirtualHostId) -> String {
    id.to_string()
}

/// Cluster and ClusterLoadAssignment of a backend.
#[must_use]
pub fn cluster(id: &BackendId) -> String {
    id.to_string()
}

/// Secret of a certificate.
#[must_use]
pub fn secret(id: &SecretId) -> String {
    id.to_string()
}
