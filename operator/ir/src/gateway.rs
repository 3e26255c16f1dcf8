// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A gateway: the unit that proxies are grouped by.

use crate::{Backend, BackendId, Listener, Plugin, VirtualHost, VirtualHostId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Names a gateway: a Gateway object, or a fleet with listeners of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GatewayId {
    /// Namespace of the Gateway or of the fleet's workloads.
    pub namespace: String,
    /// Name of the workload: its Deployment, Service and ServiceAccount.
    pub name: String,
}

impl fmt::Display for GatewayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Everything that the proxies of one gateway serve, but for live data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayConfig {
    /// By port.
    #[serde(with = "entries")]
    pub listeners: BTreeMap<u16, Arc<Listener>>,
    /// By route table and host.
    #[serde(with = "entries")]
    pub virtual_hosts: BTreeMap<VirtualHostId, Arc<VirtualHost>>,
    /// By name.
    #[serde(with = "entries")]
    pub backends: BTreeMap<BackendId, Arc<Backend>>,
    /// By name.
    #[serde(with = "entries")]
    pub plugins: BTreeMap<String, Arc<Plugin>>,
}

/// Maps as lists of pairs, as their keys are structures.
mod entries {
    use serde::de::Deserialize;
    use serde::{Deserializer, Serialize, Serializer};
    use std::collections::BTreeMap;
    use std::sync::Arc;

    pub(super) fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, Arc<V>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map.iter().map(|(k, v)| (k, v.as_ref())))
    }

    pub(super) fn deserialize<'de, K, V, D>(deserializer: D) -> Result<BTreeMap<K, Arc<V>>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        let pairs = Vec::<(K, V)>::deserialize(deserializer)?;
        Ok(pairs.into_iter().map(|(k, v)| (k, Arc::new(v))).collect())
    }
}
