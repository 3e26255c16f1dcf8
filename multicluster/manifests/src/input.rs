// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What the objects of a member are made from.

use crds::gateway_fleet::{ObjectPatch, Template};
use std::collections::BTreeMap;
use std::fmt;

/// Everything that decides how the objects of one fleet in one cluster look.
#[derive(Clone, Debug)]
pub struct MemberInput {
    /// The fleet.
    pub fleet: FleetIdentity,
    /// Name of the FleetCluster.
    pub cluster: String,
    /// The template with the overrides of this cluster merged, from [`crate::resolve_template`].
    pub template: Template,
    /// The patches of this cluster's overrides, from [`crate::resolve_template`].
    pub patches: Vec<(String, ObjectPatch)>,
    /// Where the relay runs.
    pub relay: RelayPlacement,
    /// Images for templates that name none.
    pub images: Images,
    /// Roots of the fleet, PEM.
    pub trust_bundle: String,
    /// The gateways of the fleet.
    pub gateways: Vec<GatewayWorkload>,
}

/// The fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetIdentity {
    /// Namespace of the GatewayFleet on the hub.
    pub namespace: String,
    /// Name of the GatewayFleet.
    pub name: String,
    /// uid of the GatewayFleet.
    pub uid: String,
    /// Namespace of the fleet's workloads in the clusters.
    pub target_namespace: String,
}

/// Where the relay runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelayPlacement {
    /// As a Deployment of its own in the cluster.
    Deployment {
        /// More arguments of the relay, after those that [`crate::build`] writes.
        arguments: Vec<String>,
    },
    /// In another process; no objects are made for it.
    Elsewhere {
        /// `host:port` of its ADS.
        address: String,
        /// `host:port` of its certificate issuance.
        issuer: String,
    },
}

/// Images for templates that name none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// Of gateways.
    pub gateway: String,
    /// Of relays.
    pub relay: String,
}

/// Names a gateway: its Deployment, Service and ServiceAccount.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadId {
    /// Namespace.
    pub namespace: String,
    /// Name; at most 63 characters, see [`crate::shortened`].
    pub name: String,
}

impl fmt::Display for WorkloadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// One gateway of the fleet in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayWorkload {
    /// Its name.
    pub id: WorkloadId,
    /// What it was made for.
    pub owner: WorkloadOwner,
    /// Ports that clients use, each once.
    pub ports: Vec<GatewayPort>,
    /// Labels for all objects of the gateway (`spec.infrastructure.labels`).
    pub labels: BTreeMap<String, String>,
    /// Annotations for all objects of the gateway (`spec.infrastructure.annotations`).
    pub annotations: BTreeMap<String, String>,
    /// IP addresses that the Service should get (`spec.addresses`).
    pub addresses: Vec<String>,
}

/// What a gateway was made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkloadOwner {
    /// `template.listeners` of the fleet.
    Fleet,
    /// A Gateway object of that name, in the gateway's namespace.
    Gateway {
        /// Name of the Gateway; the workload's may be shortened.
        name: String,
    },
}

/// A port that clients use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GatewayPort {
    /// The port.
    pub port: u16,
    /// Its transport.
    pub protocol: PortProtocol,
}

/// Transport of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PortProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl PortProtocol {
    /// The word as it stands in a Service.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}
