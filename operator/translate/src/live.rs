// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What only the cluster knows: endpoints, certificates, plugins, and how pods bind.

use operator_ir::{BackendId, SecretId};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// How the gateway processes of one group listen and log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindOptions {
    /// Address to bind, such as `0.0.0.0` or `::`.
    pub address: String,
    /// Added to ports below 1024; 10000 in pods, 0 where the process may bind them.
    pub privileged_port_offset: u16,
    /// Added to every port; keeps clusters on one machine apart.
    pub port_offset: u16,
    /// Whether requests are logged as JSON on standard output.
    pub access_log: bool,
    /// What answers say in `server`.
    pub server_name: String,
}

impl Default for BindOptions {
    fn default() -> Self {
        Self {
            address: "0.0.0.0".to_owned(),
            privileged_port_offset: 10_000,
            port_offset: 0,
            access_log: true,
            server_name: "gatefleet".to_owned(),
        }
    }
}

impl BindOptions {
    /// The port that the process binds for a declared port.
    #[must_use]
    pub fn bound_port(&self, declared: u16) -> u16 {
        let privileged = if declared < 1024 { self.privileged_port_offset } else { 0 };
        declared.saturating_add(privileged).saturating_add(self.port_offset)
    }
}

/// Live data of one cluster. What a map does not name is unknown.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// By backend.
    pub backends: BTreeMap<BackendId, BackendState>,
    /// By Secret.
    pub certificates: BTreeMap<SecretId, CertificateState>,
    /// By the plugin's image reference.
    pub plugins: BTreeMap<String, Arc<PluginFact>>,
}

/// What is known of a backend.
#[derive(Clone, Debug, Default)]
pub enum BackendState {
    /// Not read yet, or the source failed: what was served before stays.
    #[default]
    Unknown,
    /// The cluster has no such Service or port: its requests answer 500.
    Absent,
    /// Its endpoints; with none ready its requests answer 503.
    Present(Arc<Endpoints>),
}

/// Endpoints of a backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// By zone, in a stable order.
    pub localities: Vec<LocalityEndpoints>,
}

/// Endpoints of a backend in one zone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalityEndpoints {
    /// Region, or empty.
    pub region: String,
    /// Zone, or empty.
    pub zone: String,
    /// In a stable order.
    pub endpoints: Vec<Endpoint>,
}

/// One address of a backend, with the conditions of its EndpointSlice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Address.
    pub address: IpAddr,
    /// Target port.
    pub port: u16,
    /// It takes new work.
    pub ready: bool,
    /// It answers, even if it is ending.
    pub serving: bool,
    /// It is ending.
    pub terminating: bool,
}

/// What is known of a Secret.
#[derive(Clone, Debug, Default)]
pub enum CertificateState {
    /// Not read yet, or the source failed: what was served before stays.
    #[default]
    Unknown,
    /// The cluster has no such Secret, or it holds no usable pair.
    Absent,
    /// Its certificate.
    Present(Arc<Certificate>),
}

/// A certificate with its key. `Debug` hides the key.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Leaf first, PEM.
    pub chain_pem: String,
    /// PEM.
    pub key_pem: String,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("chain_pem", &self.chain_pem).finish_non_exhaustive()
    }
}

/// Where the relay hands a plugin's module out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginFact {
    /// SHA-256 of the module in lower-case hex.
    pub sha256: String,
    /// URL of the module.
    pub uri: String,
}
