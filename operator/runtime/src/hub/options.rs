// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What the hub is started with, and the seam to relays of its own process.

use crate::objects::Objects;
use crate::pin::PinReceiver;
use crate::relay::RelayReport;
use crds::{ClusterMode, HostSpec};
use multicluster_apply::{HostTokens, MemberKey};
use operator_identity::AuthorityPem;
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

/// What the hub is started with.
#[derive(Clone, Debug)]
pub struct HubOptions {
    /// Where its objects are.
    pub objects: Objects,
    /// Namespace of this process; its Lease lives there.
    pub namespace: String,
    /// Name of this process among its replicas.
    pub identity: String,
    /// Image of relays whose fleet names none.
    pub operator_image: String,
    /// Image of gateways whose fleet names none.
    pub gateway_image: String,
    /// More arguments for relays that run as Deployments.
    pub relay_arguments: Vec<String>,
    /// Relays of this process: for clusters of mode Host, and for the cluster that the process itself runs in. None: a
    /// cluster of mode Host is reported, the own cluster gets a relay Deployment like any other.
    pub relays: Option<Arc<dyn RelayHost>>,
    /// For clusters of mode Host.
    pub host: Option<HostPrograms>,
}

/// How processes of this machine are run.
#[derive(Clone, Debug)]
pub struct HostPrograms {
    /// Program of the gateway.
    pub gateway: PathBuf,
    /// This program.
    pub own: PathBuf,
    /// Folder for their state; each member gets its own within.
    pub state_dir: PathBuf,
    /// Tokens that relays of this process accept from them.
    pub tokens: HostTokens,
}

/// Runs relays in this process.
pub trait RelayHost: Send + Sync + Debug {
    /// Starts the relay of a member. Called again with another authority or bundle, it takes those over; everything else
    /// stays as it was at the first call.
    ///
    /// # Errors
    /// Text for the member's status when it cannot be started, such as a taken port.
    fn start(&self, request: RelayRequest) -> Result<RelayEndpoint, String>;

    /// Ends the relay of a member.
    fn stop(&self, member: &MemberKey);
}

/// What a relay of this process serves.
#[derive(Clone, Debug)]
pub struct RelayRequest {
    /// Fleet and cluster.
    pub member: MemberKey,
    /// How the cluster is run: Host, or Push for the cluster that this process runs in.
    pub mode: ClusterMode,
    /// Address and port offset of the processes of a cluster of mode Host.
    pub host: Option<HostSpec>,
    /// Namespace of the fleet's workloads.
    pub target_namespace: String,
    /// SPIFFE trust domain of the fleet.
    pub trust_domain: String,
    /// The cluster's intermediate, with its key.
    pub authority: AuthorityPem,
    /// Roots of the fleet, PEM.
    pub trust_bundle: String,
    /// What it serves; newest wins.
    pub pins: PinReceiver,
}

/// Where gateways reach a relay of this process.
#[derive(Clone, Debug)]
pub struct RelayEndpoint {
    /// `host:port` of ADS.
    pub address: String,
    /// `host:port` of certificate issuance.
    pub issuer: String,
    /// Name in the relay's certificate.
    pub server_name: String,
    /// What its gateways make of what they are pinned to.
    pub reports: watch::Receiver<RelayReport>,
}
