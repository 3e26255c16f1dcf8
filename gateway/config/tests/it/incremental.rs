// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Changes one by one give what all at once gives, and cost what they touch.

use crate::resources::{
    chain, cluster, endpoints, host, listener, manager, packed_host, prefix, table, vhds_table,
};
use crate::{any as packed, put};
use gateway_config::{ConfigStore, Snapshot, Update};
use gateway_xds_api::pb::google::protobuf::Any;
use gateway_xds_api::{PackedResource, ResourceType, pack};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A snapshot as text, independent of the order in which it came about.
fn text(snapshot: &Snapshot) -> String {
    let mut lines = Vec::new();
    for (name, listener) in &snapshot.listeners {
        lines.push(format!(
            "listener {name} {} {:?}",
            listener.address,
            listener.chains.all().iter().map(|c| &c.http().unwrap().routes).collect::<Vec<_>>()
        ));
    }
    for (name, table) in snapshot.route_tables.iter() {
        lines.push(format!("table {name} {:?}", table.settings));
        lines.extend(
            table
                .domains()
                .map(|(domain, host)| format!("table {name} {domain} {} {:?}", host.name, host.routes())),
        );
    }
    lines.extend(snapshot.clusters.iter().map(|(name, cluster)| format!("cluster {name} {cluster:?}")));
    lines
        .extend(snapshot.endpoints.iter().map(|(name, endpoints)| format!("endpoints {name} {endpoints:?}")));
    lines.sort();
    lines.into_iter().fold(String::new(), |mut all, line| {
        let _ = writeln!(all, "{line}");
        all
    })
}

/// Some resource; `variant` 3 is a bad one.
fn resource(kind: ResourceType, which: usize, variant: usize) -> PackedResource {
    let path = format!("/{variant}");
    let (a, b) = (["t", "u"][which % 2], ["a.com", "*.com", "*", "b.com"][which % 4]);
    match kind {
        ResourceType::VirtualHost if variant == 3 => {
            pack(kind, format!("{a}/{b}"), &host("bad", &[], Vec::new()), "")
        }
        // Two resources may claim one domain.
        ResourceType::VirtualHost if variant == 2 => {
            pack(kind, format!("{a}/{b}"), &host("two", &[b, "both.com"], vec![prefix("r", "/")]), "")
        }
        ResourceType::VirtualHost => packed_host(a, b, vec![prefix("r", &path)]),
        ResourceType::RouteConfiguration if variant == 0 => vhds_table(a),
        ResourceType::RouteConfiguration => {
            table(a, vec![host("inline", &["b.com", "in.com"], vec![prefix("i", &path)])])
        }
        ResourceType::Cluster => cluster(a),
        ResourceType::ClusterLoadAssignment => {
            endpoints(a, &["10.0.0.1", "10.0.0.2", ""][variant % 3..][..1])
        }
        _ => listener(a, vec![chain(&[], &manager(["t", "u"][variant % 2]), None)]),
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(usize, usize, usize),
    Remove(usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0_usize..5, 0_usize..4, 0_usize..4).prop_map(|(kind, which, variant)| Step::Put(kind, which, variant)),
        1 => (0_usize..5, 0_usize..4).prop_map(|(kind, which)| Step::Remove(kind, which)),
    ]
}

const KINDS: [ResourceType; 5] = [
    ResourceType::VirtualHost,
    ResourceType::RouteConfiguration,
    ResourceType::Cluster,
    ResourceType::ClusterLoadAssignment,
    ResourceType::Listener,
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn step_by_step_equals_all_at_once(steps in proptest::collection::vec(step(), 1..60)) {
        let mut store = ConfigStore::new();
        store.apply(Update { kind: ResourceType::VirtualHost, upserts: Vec::new(), removals: Vec::new() });
        let mut wanted = BTreeSet::new();
        for step in steps {
            let update = match step {
                Step::Put(kind, which, variant) => {
                    let resource = resource(KINDS[kind], which, variant);
                    Update { kind: KINDS[kind], upserts: vec![(resource.name.clone(), packed(KINDS[kind], &resource))], removals: Vec::new() }
                }
                Step::Remove(kind, which) => {
                    Update { kind: KINDS[kind], upserts: Vec::new(), removals: vec![resource(KINDS[kind], which, 0).name] }
                }
            };
            let applied = store.apply(update);
            wanted.extend(applied.wanted);
            wanted.retain(|key| !applied.unwanted.contains(key));
        }
        prop_assert_eq!(wanted.into_iter().collect::<Vec<_>>(), store.wanted());
        let mut scratch = ConfigStore::new();
        let everything: Vec<_> = store.accepted().map(|(kind, name, value)| {
            let any = Any { type_url: kind.type_url().to_owned(), value: value.to_vec() };
            Update { kind, upserts: vec![(name.to_owned(), any)], removals: Vec::new() }
        }).collect();
        scratch.apply_all([Update { kind: ResourceType::VirtualHost, upserts: Vec::new(), removals: Vec::new() }]);
        prop_assert_eq!(scratch.apply_all(everything).rejections, Vec::new());
        if store.waiting().is_empty() {
            prop_assert_eq!(text(store.snapshot()), text(scratch.snapshot()));
        }
    }
}

#[test]
fn one_virtual_host_of_ten_thousand_changes_alone() {
    const COUNT: usize = 10_000;
    const CHANGES: u32 = 200;
    let name = |at: usize| format!("host-{at}.example.com");
    let mut store = ConfigStore::new();
    put(&mut store, ResourceType::RouteConfiguration, [vhds_table("t")]);
    let started = Instant::now();
    put(
        &mut store,
        ResourceType::VirtualHost,
        (0..COUNT).map(|at| packed_host("t", &name(at), vec![prefix("r", "/")])),
    );
    let all = started.elapsed();
    let before = Arc::clone(store.snapshot());
    assert_eq!(before.route_tables.get("t").unwrap().domain_count(), COUNT);

    let mut worst = Duration::ZERO;
    let mut total = Duration::ZERO;
    for change in 0..CHANGES {
        let changed = packed_host("t", &name(change as usize * 7), vec![prefix("r", &format!("/{change}"))]);
        let update = Update {
            kind: ResourceType::VirtualHost,
            upserts: vec![(changed.name.clone(), packed(ResourceType::VirtualHost, &changed))],
            removals: Vec::new(),
        };
        let started = Instant::now();
        let applied = store.apply(update);
        worst = worst.max(started.elapsed());
        total += started.elapsed();
        assert!(applied.snapshot.is_some());
    }
    println!("10,000 virtual hosts at once {all:?}; one change: mean {:?}, worst {worst:?}", total / CHANGES);
    let (old, new) = (before.route_tables.get("t").unwrap(), store.snapshot().route_tables.get("t").unwrap());
    let same =
        |at: usize| Arc::ptr_eq(old.virtual_host(&name(at)).unwrap(), new.virtual_host(&name(at)).unwrap());
    assert!(!same(7) && same(8) && same(9_999));
    // Far above what is measured: only a change that touches everything takes so long.
    assert!(total / CHANGES < all / 50, "one change took {:?} of {all:?}", total / CHANGES);
}

#[test]
fn the_same_bytes_again_change_nothing() {
    let mut store = ConfigStore::new();
    assert!(put(&mut store, ResourceType::Cluster, [cluster("a")]).snapshot.is_some());
    assert!(put(&mut store, ResourceType::Cluster, [cluster("a")]).snapshot.is_none());
}
