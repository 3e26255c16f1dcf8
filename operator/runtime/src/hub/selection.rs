// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Which clusters belong to a fleet, and which have left it. Pure.

use super::{ClusterKey, FleetKey};
use crds::selection::takes;
use crds::{FleetCluster, GatewayFleet};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// FleetClusters by namespace and name.
pub(super) type Clusters = BTreeMap<ClusterKey, Arc<FleetCluster>>;

/// What the selection of a fleet comes to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Selection {
    /// Clusters that the fleet runs in, by name.
    pub(super) members: BTreeMap<String, ClusterKey>,
    /// Names in the spec without a FleetCluster.
    pub(super) unknown: BTreeSet<String>,
    /// Names in the spec whose FleetCluster does not allow fleets of this namespace.
    pub(super) forbidden: BTreeSet<String>,
}

/// The clusters that `fleet` selects.
pub(super) fn select(fleet: &GatewayFleet, clusters: &Clusters) -> Selection {
    let own = fleet.metadata.namespace.as_deref().unwrap_or_default();
    let spec = &fleet.spec.clusters;
    let mut selection = Selection::default();
    // The fleet's own namespace first: where two clusters have one name, the nearer one is meant.
    let (near, far): (Vec<_>, Vec<_>) = clusters.iter().partition(|(key, _)| key.namespace == own);
    for (key, cluster) in near.into_iter().chain(far) {
        let named = spec.names.contains(&key.name);
        let labels = cluster.metadata.labels.clone().unwrap_or_default();
        let tainted = !cluster.spec.taints.is_empty();
        let wanted =
            if tainted { named } else { takes(spec.selector.as_ref(), &spec.names, &key.name, &labels) };
        if !wanted || spec.exclude.contains(&key.name) || selection.members.contains_key(&key.name) {
            continue;
        }
        if cluster.allows_fleets_of(own) {
            selection.members.insert(key.name.clone(), key.clone());
        } else if named {
            selection.forbidden.insert(key.name.clone());
        }
    }
    selection.forbidden.retain(|name| !selection.members.contains_key(name));
    let missing = spec.names.iter().filter(|name| !clusters.keys().any(|key| key.name == **name));
    selection.unknown = missing.filter(|name| !spec.exclude.contains(name)).cloned().collect();
    selection
}

/// Clusters that were members and are no longer selected.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Leavers {
    /// They leave: an explicit cause is known for each.
    pub(super) leaving: BTreeSet<String>,
    /// More would leave at once than `maxShrink` allows: nobody does.
    pub(super) held: BTreeSet<String>,
}

/// Who leaves. A tainted cluster that is a member stays one.
pub(super) fn leavers(
    fleet: &GatewayFleet,
    selection: &Selection,
    before: &BTreeSet<String>,
    already_leaving: &BTreeSet<String>,
) -> Leavers {
    let gone: BTreeSet<String> =
        before.iter().filter(|name| !selection.members.contains_key(*name)).cloned().collect();
    let fresh = gone.difference(already_leaving).count();
    let allowed = fleet.spec.clusters.max_shrink.of_rounded_up(before.len());
    if fresh > allowed {
        let held = gone.difference(already_leaving).cloned().collect();
        return Leavers { leaving: gone.intersection(already_leaving).cloned().collect(), held };
    }
    Leavers { leaving: gone, held: BTreeSet::new() }
}

/// Taints keep a cluster from being selected anew; one that runs the fleet already keeps it.
pub(super) fn keep_tainted(
    fleet: &GatewayFleet,
    clusters: &Clusters,
    before: &BTreeSet<String>,
    selection: &mut Selection,
) {
    let own = fleet.metadata.namespace.as_deref().unwrap_or_default();
    let spec = &fleet.spec.clusters;
    for (key, cluster) in clusters {
        let labels = cluster.metadata.labels.clone().unwrap_or_default();
        let kept = before.contains(&key.name)
            && !cluster.spec.taints.is_empty()
            && !spec.exclude.contains(&key.name)
            && cluster.allows_fleets_of(own)
            && takes(spec.selector.as_ref(), &spec.names, &key.name, &labels);
        if kept {
            selection.members.entry(key.name.clone()).or_insert_with(|| key.clone());
        }
    }
}

/// The fleet's name as a key.
pub(super) fn fleet_key(fleet: &GatewayFleet) -> FleetKey {
    FleetKey {
        namespace: fleet.metadata.namespace.clone().unwrap_or_default(),
        name: fleet.metadata.name.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fleet(clusters: serde_json::Value) -> GatewayFleet {
        serde_json::from_value(json!({"apiVersion": "gatefleet.dev/v1alpha1", "kind": "GatewayFleet",
            "metadata": {"name": "edge", "namespace": "n"}, "spec": {"clusters": clusters}}))
        .unwrap()
    }

    fn clusters(list: &[(&str, &str, serde_json::Value)]) -> Clusters {
        list.iter()
            .map(|(namespace, name, spec)| {
                let cluster: FleetCluster = serde_json::from_value(json!({"apiVersion": "gatefleet.dev/v1alpha1",
                    "kind": "FleetCluster", "metadata": {"name": name, "namespace": namespace, "labels": {"fleet": "edge"}},
                    "spec": spec}))
                .unwrap();
                (ClusterKey { namespace: (*namespace).into(), name: (*name).into() }, Arc::new(cluster))
            })
            .collect()
    }

    fn names(set: &[&str]) -> BTreeSet<String> {
        set.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn names_labels_exclusion_taints_and_permission() {
        let all = clusters(&[
            ("n", "a", json!({})),
            ("n", "b", json!({})),
            ("n", "tainted", json!({"taints": [{"key": "x"}]})),
            ("other", "closed", json!({})),
            ("other", "open", json!({"allowedFleetNamespaces": ["n"]})),
        ]);
        let by_label =
            select(&fleet(json!({"selector": {"matchLabels": {"fleet": "edge"}}, "exclude": ["b"]})), &all);
        assert_eq!(by_label.members.keys().collect::<Vec<_>>(), ["a", "open"]);
        assert!(by_label.forbidden.is_empty(), "a selector passes closed clusters over in silence");
        let by_name = select(&fleet(json!({"names": ["a", "tainted", "closed", "nowhere"]})), &all);
        assert_eq!(by_name.members.keys().collect::<Vec<_>>(), ["a", "tainted"]);
        assert_eq!(by_name.unknown, names(&["nowhere"]));
        assert_eq!(by_name.forbidden, names(&["closed"]));
    }

    #[test]
    fn a_taint_does_not_chase_away_who_is_there() {
        let all = clusters(&[("n", "a", json!({"taints": [{"key": "x"}]}))]);
        let fleet = fleet(json!({"selector": {"matchLabels": {"fleet": "edge"}}}));
        let mut selection = select(&fleet, &all);
        assert!(selection.members.is_empty());
        keep_tainted(&fleet, &all, &names(&["a"]), &mut selection);
        assert!(selection.members.contains_key("a"));
    }

    #[test]
    fn too_many_leavers_at_once_are_held() {
        let fleet = fleet(json!({"names": ["a"], "maxShrink": 1}));
        let mut selection = Selection::default();
        selection.members.insert("a".into(), ClusterKey { namespace: "n".into(), name: "a".into() });
        let one = leavers(&fleet, &selection, &names(&["a", "b"]), &names(&[]));
        assert_eq!((one.leaving, one.held), (names(&["b"]), names(&[])));
        let two = leavers(&fleet, &selection, &names(&["a", "b", "c"]), &names(&[]));
        assert_eq!((two.leaving, two.held), (names(&[]), names(&["b", "c"])));
        // One that is on its way already does not count again.
        let next = leavers(&fleet, &selection, &names(&["a", "b", "c"]), &names(&["b"]));
        assert_eq!((next.leaving, next.held), (names(&["b", "c"]), names(&[])));
    }
}
