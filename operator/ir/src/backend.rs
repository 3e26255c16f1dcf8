// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Services that requests go to, by name; their endpoints join in the relay.

use crate::Origin;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Names a backend of a gateway.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum BackendId {
    /// A port of a Kubernetes Service.
    Service {
        /// Namespace of the Service.
        namespace: String,
        /// Name of the Service.
        name: String,
        /// The Service's port (not the target port).
        port: u16,
        /// How to speak to it; part of the name, as two routes may differ.
        protocol: BackendProtocol,
    },
}

impl fmt::Display for BackendId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Service { namespace, name, port, protocol } = self;
        match protocol {
            BackendProtocol::Http1 => write!(f, "service/{namespace}/{name}/{port}"),
            BackendProtocol::Http2 => write!(f, "service/{namespace}/{name}/{port}/h2"),
        }
    }
}

/// How to speak HTTP to a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum BackendProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2, in plain text by prior knowledge.
    Http2,
}

/// How to reach a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// The name that destinations use.
    pub id: BackendId,
    /// Longest wait for a connection, in milliseconds.
    pub connect_timeout_ms: u64,
    /// The Service. Not one of the routes that name it: which of them is first changes, the backend does not.
    pub origin: Origin,
}
