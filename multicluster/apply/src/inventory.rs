// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Which objects we manage in a cluster.

use kube::core::DynamicObject;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// Names an object within a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectKey {
    /// Group and version, as `apps/v1`.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Namespace; empty for cluster-scoped kinds.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl ObjectKey {
    /// The key of an object.
    #[must_use]
    pub fn of(object: &DynamicObject) -> Self {
        let types = object.types.clone().unwrap_or_default();
        Self {
            api_version: types.api_version,
            kind: types.kind,
            namespace: object.metadata.namespace.clone().unwrap_or_default(),
            name: object.metadata.name.clone().unwrap_or_default(),
        }
    }

    /// The same object, whatever the version of its API.
    fn identity(&self) -> (&str, &str, &str, &str) {
        let group = self.api_version.split_once('/').map_or("", |(group, _)| group);
        (group, &self.kind, &self.namespace, &self.name)
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.as_str() {
            "" => write!(f, "{} {}", self.kind, self.name),
            namespace => write!(f, "{} {namespace}/{}", self.kind, self.name),
        }
    }
}

/// Everything that we manage for one fleet in one cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory(pub BTreeSet<ObjectKey>);

impl Inventory {
    /// What `now` no longer holds: to be pruned, in the reverse of the order in which objects are applied.
    #[must_use]
    pub fn surplus(&self, now: &Self) -> Vec<ObjectKey> {
        let kept: BTreeSet<_> = now.0.iter().map(ObjectKey::identity).collect();
        let mut surplus: Vec<_> =
            self.0.iter().filter(|key| !kept.contains(&key.identity())).cloned().collect();
        surplus.sort_by_key(|key| std::cmp::Reverse(crate::order::rank(&key.kind)));
        surplus
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(api_version: &str, kind: &str, name: &str) -> ObjectKey {
        ObjectKey {
            api_version: api_version.into(),
            kind: kind.into(),
            namespace: "n".into(),
            name: name.into(),
        }
    }

    #[test]
    fn surplus_is_what_is_gone_last_applied_first() {
        let before = Inventory(
            [key("v1", "Service", "a"), key("v1", "ServiceAccount", "a"), key("apps/v1", "Deployment", "a")]
                .into(),
        );
        let now = Inventory([key("v1", "Service", "a")].into());
        let kinds: Vec<_> = before.surplus(&now).into_iter().map(|k| k.kind).collect();
        assert_eq!(kinds, ["Deployment", "ServiceAccount"]);
        assert!(before.surplus(&before).is_empty());
    }

    #[test]
    fn a_new_version_of_an_api_is_the_same_object() {
        let before = Inventory([key("autoscaling/v1", "HorizontalPodAutoscaler", "a")].into());
        let now = Inventory([key("autoscaling/v2", "HorizontalPodAutoscaler", "a")].into());
        assert!(before.surplus(&now).is_empty());
    }
}
