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

/// Longest name of a Service, which a gateway's workload shares (RFC 1035 label).
const LONGEST_NAME: usize = 63;

impl GatewayId {
    /// The gateway of an object `namespace/name`. A name that no Service may have (longer than 63 characters, with a dot,
    /// not starting with a letter) is folded and gets a hash of the whole name, so that different names stay different.
    #[must_use]
    pub fn for_object(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: workload_name(name) }
    }
}

fn workload_name(name: &str) -> String {
    let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase());
    if name.len() <= LONGEST_NAME && starts_well && !name.contains('.') {
        return name.to_owned();
    }
    // FNV-1a: stable over releases and platforms, which std's hasher is not.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let letter = if starts_well { "" } else { "g-" };
    let readable: String =
        name.chars().take(44).map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    format!("{letter}{}-{hash:016x}", readable.trim_end_matches('-'))
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

#[cfg(test)]
mod tests {
    use super::GatewayId;

    #[test]
    fn workload_names_are_service_names() {
        let long = "a".repeat(253);
        for name in ["edge", "a.b", "1edge", long.as_str(), "x-.y"] {
            let id = GatewayId::for_object("ns", name);
            assert!(id.name.len() <= 63, "{id}");
            assert!(id.name.starts_with(|c: char| c.is_ascii_lowercase()), "{id}");
            assert!(
                id.name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'),
                "{id}"
            );
        }
        assert_eq!(GatewayId::for_object("ns", "edge").name, "edge");
        assert_ne!(GatewayId::for_object("ns", "a.b"), GatewayId::for_object("ns", "a-b"));
        assert_ne!(GatewayId::for_object("ns", &long), GatewayId::for_object("ns", &"a".repeat(252)));
    }
}
