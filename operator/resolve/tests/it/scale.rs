// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The cost of one change does not grow with the number of routes.

use crate::input;
use operator_ir::GatewayId;
use operator_resolve::{Change, Resolver, ResolverOptions};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn route(number: usize, backend: &str) -> Value {
    json!({
        "kind": "HTTPRoute", "metadata": {"namespace": "shop", "name": format!("route-{number}")},
        "spec": {
            "parentRefs": [{"name": "web"}],
            "hostnames": [format!("host-{number}.example.com")],
            "rules": [{"backendRefs": [{"name": backend, "port": 8080}]}],
        },
    })
}

fn filled(routes: usize) -> Resolver {
    let (_, objects) = input::read(include_str!("../data/base.yaml"));
    let mut resolver = Resolver::new(ResolverOptions::default());
    input::upserts(objects).for_each(|change| resolver.apply(change));
    for number in 0..routes {
        resolver.apply(Change::Upsert(input::object(route(number, "v1"))));
    }
    resolver.settle();
    resolver
}

/// Median time to apply and settle a change of one route.
fn change(resolver: &mut Resolver) -> Duration {
    let mut times = Vec::new();
    for round in 0..101 {
        let changed = input::object(route(7, if round % 2 == 0 { "v2" } else { "v3" }));
        let start = Instant::now();
        resolver.apply(Change::Upsert(changed));
        let settled = resolver.settle();
        times.push(start.elapsed());
        assert_eq!(settled.parts.values().map(|parts| parts.virtual_hosts.len()).sum::<usize>(), 1);
    }
    times.sort();
    times[times.len() / 2]
}

#[test]
fn one_of_ten_thousand_routes_costs_as_much_as_one_of_a_hundred() {
    let few = change(&mut filled(100));
    let mut resolver = filled(10_000);
    let gateway = GatewayId::for_object("shop", "web");
    let before = resolver.gateway(&gateway).expect("the gateway is there").clone();
    let many = change(&mut resolver);
    println!("one changed route: {few:?} of 100, {many:?} of 10,000 (this build)");
    let after = resolver.gateway(&gateway).expect("the gateway is there");
    let kept =
        before.virtual_hosts.iter().filter(|(id, host)| Arc::ptr_eq(&after.virtual_hosts[*id], host)).count();
    assert_eq!((kept, after.virtual_hosts.len()), (9_999, 10_000));
    // A scan over the routes costs some hundred times more; trees grow by a fifth; the rest is for a busy machine.
    assert!(many < few * 8, "{few:?} of 100, {many:?} of 10,000");
}

#[test]
fn status_writes_that_come_back_touch_nothing() {
    let mut resolver = filled(10);
    let mut same = route(3, "v1");
    same["metadata"]["resourceVersion"] = "77".into();
    same["status"] = json!({"parents": []});
    resolver.apply(Change::Upsert(input::object(same)));
    let settled = resolver.settle();
    assert!(settled.changed.is_empty() && settled.statuses.is_empty(), "{settled:?}");
}

#[test]
fn a_new_generation_is_observed() {
    let mut resolver = filled(3);
    let mut newer = route(1, "v1");
    newer["metadata"]["generation"] = 2.into();
    resolver.apply(Change::Upsert(input::object(newer)));
    let settled = resolver.settle();
    assert!(settled.changed.is_empty());
    assert_eq!(settled.statuses.iter().map(|change| change.generation).collect::<Vec<_>>(), [2]);
}
