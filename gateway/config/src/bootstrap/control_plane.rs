// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A control plane of others: any ADS server, without a fleet, a relay and an issuer.

use super::BootstrapError;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::path::PathBuf;

/// A plain ADS server that the gateway takes its configuration from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ControlPlane {
    /// Host and port of ADS.
    pub address: String,
    /// Which form of ADS is spoken.
    #[serde(default)]
    pub protocol: AdsProtocol,
    /// HTTP/2 without TLS; has to be said.
    #[serde(default)]
    pub plaintext: bool,
    /// TLS to the server.
    #[serde(default)]
    pub tls: Option<ControlPlaneTls>,
    /// Who the gateway says it is (`envoy.config.core.v3.Node`).
    pub node: ControlPlaneNode,
}

/// The two forms of ADS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdsProtocol {
    /// `DeltaAggregatedResources`: what changed.
    #[default]
    Delta,
    /// `StreamAggregatedResources`: the state of the world.
    Sotw,
}

/// How the server is known, and the gateway to it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ControlPlaneTls {
    /// The name in the server's certificate.
    pub server_name: String,
    /// Roots that it must come from, PEM; read anew for each connection.
    pub trust_bundle: PathBuf,
    /// Our certificate chain, PEM; read anew for each connection.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// Its key, PEM.
    #[serde(default)]
    pub key: Option<PathBuf>,
}

/// The node of the stream.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ControlPlaneNode {
    /// `node.id`.
    pub id: String,
    /// `node.cluster`.
    #[serde(default)]
    pub cluster: String,
    /// `node.metadata`.
    #[serde(default)]
    pub metadata: Map<String, Value>,
}

impl ControlPlane {
    pub(super) fn check(&self) -> Result<(), BootstrapError> {
        let fail = |field, message: &str| Err(BootstrapError::Field { field, message: message.to_owned() });
        if !super::is_host_and_port(&self.address) {
            return fail("controlPlane.address", "must be host:port");
        }
        if self.node.id.is_empty() {
            return fail(
                "controlPlane.node.id",
                "must not be empty: the server finds the configuration by it",
            );
        }
        let Some(tls) = &self.tls else {
            return match self.plaintext {
                true => Ok(()),
                false => fail(
                    "controlPlane.tls",
                    "is missing: write serverName and trustBundle, or plaintext: true for a server on this machine or a trusted network",
                ),
            };
        };
        if self.plaintext {
            return fail("controlPlane.plaintext", "and tls exclude each other: remove one");
        }
        if rustls_pki_types::ServerName::try_from(tls.server_name.as_str()).is_err() {
            return fail("controlPlane.tls.serverName", "must be a dns name or an ip address");
        }
        if tls.certificate.is_some() != tls.key.is_some() {
            return fail("controlPlane.tls.certificate", "and key go together: write both or none");
        }
        Ok(())
    }
}
