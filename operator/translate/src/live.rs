// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Live data of one cluster: never part of a revision, never waiting for a rollout.

use std::net::SocketAddr;

/// What is known of a backend in this cluster. A backend that nothing was said of yet is unknown: its resources stay as
/// they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackendState {
    /// There is no such Service here, or it has no such port.
    Absent,
    /// These addresses serve it; may be none.
    Known(Vec<LiveEndpoint>),
}

/// One address of a backend.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LiveEndpoint {
    /// Where it listens.
    pub address: SocketAddr,
    /// Zone of its node, where known.
    pub zone: Option<String>,
}

/// A certificate with its key, in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Leaf first.
    pub chain_pem: Vec<u8>,
    /// The private key.
    pub key_pem: Vec<u8>,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate").finish_non_exhaustive()
    }
}

/// A plugin's module as the relay holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginModule {
    /// SHA-256 of the wasm bytes, in hex.
    pub sha256: String,
}
