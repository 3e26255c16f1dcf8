// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What a relay tells about its gateways.

use crate::relay::plugins::PluginState;
use crds::Nack as GroupedNack;
use operator_ir::GatewayId;
use operator_xds_server::Nack;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Most rejections that are told.
pub(crate) const NACK_LIMIT: usize = 10;

/// One relay's view of the pinned revision. Every fact is about `revision` and `hash`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelayReport {
    /// Name of the FleetRevision; empty before the first pin.
    pub revision: String,
    /// Content hash of its configuration.
    pub hash: String,
    /// By gateway.
    pub gateways: BTreeMap<GatewayId, GatewayReport>,
    /// By image reference.
    pub plugins: BTreeMap<String, PluginState>,
}

/// One gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewayReport {
    /// Proxies on the line.
    pub connected: usize,
    /// Proxies that serve the revision as a whole.
    pub acked: usize,
    /// Refusals that stand, with the proxy's node id.
    pub nacks: Vec<(Arc<str>, Nack)>,
    /// Backends that this cluster does not have, as `Service namespace/name port number`.
    pub absent_backends: Vec<String>,
    /// Certificates that this cluster does not have, as namespace/name.
    pub missing_certificates: Vec<String>,
}

impl RelayReport {
    /// Proxies on the line, over all gateways.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.gateways.values().map(|g| g.connected).sum()
    }

    /// Backends that this cluster does not have, over all gateways, in order.
    #[must_use]
    pub fn absent_backends(&self) -> BTreeSet<String> {
        self.gateways.values().flat_map(|gateway| gateway.absent_backends.iter().cloned()).collect()
    }

    /// Proxies that serve the revision, over all gateways.
    #[must_use]
    pub fn acked(&self) -> usize {
        self.gateways.values().map(|g| g.acked).sum()
    }

    /// Proxies that refuse a resource, over all gateways.
    #[must_use]
    pub fn nacked(&self) -> usize {
        self.gateways.values().map(GatewayReport::nacked).sum()
    }

    /// What is refused over all gateways, by resource and text, with the number of proxies that say so; at most ten.
    #[must_use]
    pub fn nacks(&self) -> Vec<GroupedNack> {
        let mut found: BTreeMap<(&str, &str), GroupedNack> = BTreeMap::new();
        for (_, nack) in self.gateways.values().flat_map(|gateway| &gateway.nacks) {
            let resource = nack.resource.as_deref().unwrap_or_default();
            let entry = found.entry((resource, &nack.text)).or_insert_with(|| GroupedNack {
                resource: resource.to_owned(),
                source: nack.origin.clone().unwrap_or_default(),
                code: "Rejected".to_owned(),
                pods: 0,
                message: nack.text.clone(),
            });
            entry.pods += 1;
        }
        found.into_values().take(NACK_LIMIT).collect()
    }
}

impl GatewayReport {
    /// Proxies that refuse a resource.
    #[must_use]
    pub fn nacked(&self) -> usize {
        self.nacks.iter().map(|(node, _)| node).collect::<BTreeSet<_>>().len()
    }
}
