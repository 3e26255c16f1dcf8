// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The gateway's bootstrap file: the contract of `docs/architecture.md`.

use crate::{GatewayWorkload, MemberInput, RELAY_SERVER_NAME, RelayPlacement, relay_name};
use serde::{Deserialize, Serialize};

/// What a gateway starts from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bootstrap {
    /// Who the gateway is.
    pub node: BootstrapNode,
    /// Its fleet.
    pub fleet: BootstrapFleet,
    /// Where its configuration comes from.
    pub relay: BootstrapRelay,
    /// File with the roots of the fleet, PEM.
    pub trust_bundle: String,
    /// File with the ServiceAccount token.
    pub token_file: String,
    /// Folder of the last good configuration.
    pub state_dir: String,
    /// Listen address of the admin page.
    pub admin: String,
    /// Listen address of readiness.
    pub readiness: String,
    /// Listen address of metrics.
    pub metrics: String,
    /// How long requests may finish after SIGTERM, in seconds.
    pub drain_seconds: i32,
    /// Worker threads; 0: one for each core.
    pub workers: u32,
}

/// Who the gateway is. The pod's name comes from the environment variable `POD_NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BootstrapNode {
    /// Name of the FleetCluster.
    pub cluster: String,
    /// Namespace of the gateway.
    pub namespace: String,
}

/// The gateway's fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BootstrapFleet {
    /// Namespace of the GatewayFleet.
    pub namespace: String,
    /// Name of the GatewayFleet.
    pub name: String,
}

/// Where a gateway's configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BootstrapRelay {
    /// `host:port` of ADS.
    pub address: String,
    /// `host:port` of certificate issuance.
    pub issuer: String,
    /// Name in the relay's certificate.
    pub server_name: String,
}

impl Bootstrap {
    /// The bootstrap of a gateway's pods.
    #[must_use]
    pub fn new(input: &MemberInput, workload: &GatewayWorkload) -> Self {
        let (address, issuer) = match &input.relay {
            RelayPlacement::Deployment { .. } => {
                let host = format!("{}.{}.svc", relay_name(&input.fleet.name), input.fleet.target_namespace);
                (format!("{host}:15010"), format!("{host}:15012"))
            }
            RelayPlacement::Elsewhere { address, issuer } => (address.clone(), issuer.clone()),
        };
        Self {
            node: BootstrapNode { cluster: input.cluster.clone(), namespace: workload.id.namespace.clone() },
            fleet: BootstrapFleet {
                namespace: input.fleet.namespace.clone(),
                name: input.fleet.name.clone(),
            },
            relay: BootstrapRelay { address, issuer, server_name: RELAY_SERVER_NAME.to_owned() },
            trust_bundle: "/var/run/gatefleet/trust/ca.crt".to_owned(),
            token_file: "/var/run/gatefleet/token/token".to_owned(),
            state_dir: "/var/lib/gatefleet".to_owned(),
            admin: "127.0.0.1:15000".to_owned(),
            readiness: "0.0.0.0:15021".to_owned(),
            metrics: format!("0.0.0.0:{}", input.template.metrics.port),
            drain_seconds: input.template.drain_seconds,
            workers: 0,
        }
    }
}
