// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The resource types that travel over ADS.

use std::fmt;

/// A resource type, in the order in which additions must reach a proxy (Envoy, "Eventual consistency considerations").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceType {
    /// Certificates and trust bundles (SDS).
    Secret,
    /// Clusters (CDS).
    Cluster,
    /// Endpoints of one cluster (EDS).
    ClusterLoadAssignment,
    /// Listeners (LDS).
    Listener,
    /// Route tables (RDS).
    RouteConfiguration,
    /// Virtual hosts (VHDS).
    VirtualHost,
}

impl ResourceType {
    /// All types, additions first to last.
    pub const ALL: [Self; 6] = [
        Self::Secret,
        Self::Cluster,
        Self::ClusterLoadAssignment,
        Self::Listener,
        Self::RouteConfiguration,
        Self::VirtualHost,
    ];

    /// The type URL on the wire.
    #[must_use]
    pub fn type_url(self) -> &'static str {
        match self {
            Self::Secret => "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::ClusterLoadAssignment => {
                "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
            }
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::RouteConfiguration => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            Self::VirtualHost => "type.googleapis.com/envoy.config.route.v3.VirtualHost",
        }
    }

    /// Reads a type URL; none for a type that we do not speak.
    #[must_use]
    pub fn from_type_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.type_url() == url)
    }
}

impl fmt::Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.type_url().rsplit('.').next().unwrap_or_default())
    }
}
