// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Ports that a gateway opens and what happens to a connection there.

use crate::{HostPattern, Origin};
use serde::{Deserialize, Serialize};
use std::fmt;

/// One port of a gateway. Listeners that users declared on the same port share it, each as a filter chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// The port that users declared (the Service's port).
    pub port: u16,
    /// Filter chains; the first whose server names match the connection's SNI best (exact, longest wildcard, any) takes
    /// it. A plain-text listener has one chain with [`HostPattern::Any`].
    pub chains: Vec<FilterChain>,
}

/// What serves a connection once its SNI is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterChain {
    /// Unique within the gateway, stable over changes.
    pub name: String,
    /// SNI names that this chain takes.
    pub server_names: Vec<HostPattern>,
    /// Ends TLS here where set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsTermination>,
    /// What speaks on the connection.
    pub application: Application,
    /// Plugins on every request of this chain, in order; names from [`crate::GatewayConfig::plugins`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plugins: Vec<String>,
    /// The listener of the user's Gateway or fleet.
    pub origin: Origin,
}

/// The protocol above the transport.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Application {
    /// HTTP/1.1 and HTTP/2 (ALPN under TLS, prior knowledge in plain text), routed by a table.
    Http {
        /// The virtual hosts that serve this chain.
        route_table: RouteTableId,
    },
}

/// Certificates to answer a TLS handshake with; the keys join in the relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsTermination {
    /// At least one; several may differ in key type.
    pub certificates: Vec<SecretId>,
}

/// Names a Secret of type kubernetes.io/tls that lives in each member cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SecretId {
    /// Namespace of the Secret.
    pub namespace: String,
    /// Name of the Secret.
    pub name: String,
}

impl fmt::Display for SecretId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Names the set of virtual hosts that one or more filter chains route by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RouteTableId(pub String);

impl fmt::Display for RouteTableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
