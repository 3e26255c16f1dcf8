// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What a relay serves: the revision that its fleet member is pinned to, opened.

use operator_ir::{GatewayConfig, GatewayId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One fleet on one cluster at one revision.
#[derive(Clone, Debug)]
pub struct Pinned {
    /// Namespace and name of the GatewayFleet.
    pub fleet: (String, String),
    /// Name of the FleetCluster.
    pub cluster: String,
    /// Name of the FleetRevision.
    pub revision: String,
    /// Content hash of the revision's configuration; stamps every fact about it.
    pub hash: String,
    /// The configuration of each gateway; unchanged parts are the same allocation as in the revision before.
    pub gateways: BTreeMap<GatewayId, Arc<GatewayConfig>>,
}

/// Hands a relay its newest pin. `None` until the first one is known.
pub type PinSender = tokio::sync::watch::Sender<Option<Arc<Pinned>>>;
/// The relay's end of [`PinSender`].
pub type PinReceiver = tokio::sync::watch::Receiver<Option<Arc<Pinned>>>;
