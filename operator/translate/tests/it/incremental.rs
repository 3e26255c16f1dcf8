// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What an update costs and what it leaves alone.

use crate::support;
use gateway_xds_api::ResourceType::{
    self, Cluster, ClusterLoadAssignment, Listener, RouteConfiguration, Secret, VirtualHost,
};
use gateway_xds_api::{PackedResource, ResourceSet};
use operator_ir::{
    Action, Backend, BackendId, BackendProtocol, DirectResponse, GatewayConfig, HostPattern, ObjectKind,
    ObjectRef, Origin, PathMatch, RequestMatch, RouteTableId, Rule, RuleFilters, SecretId,
    VirtualHost as Host, VirtualHostId,
};
use operator_translate::{BackendState, BindOptions, CertificateState, Live, Translator};
use std::sync::Arc;
use std::time::Instant;

fn host(n: usize, body: &str) -> (VirtualHostId, Arc<Host>) {
    let id = VirtualHostId {
        route_table: RouteTableId("http-80".into()),
        host: HostPattern::parse(&format!("h{n}.example.com")),
    };
    let rule = Rule {
        name: format!("httproute/shop/r{n}/0/0"),
        origin: Origin {
            object: ObjectRef::new(ObjectKind::HTTPRoute, "shop", format!("r{n}")),
            rule: Some(0),
        },
        matches: RequestMatch {
            path: PathMatch::Prefix("/".into()),
            method: None,
            headers: vec![],
            query: vec![],
        },
        action: Action::Respond(DirectResponse { status: 200, body: body.to_owned() }),
        filters: RuleFilters::default(),
    };
    (id.clone(), Arc::new(Host { id, rules: vec![rule] }))
}

#[test]
fn one_of_ten_thousand_virtual_hosts_costs_one_encoding() {
    let mut config =
        GatewayConfig { virtual_hosts: (0..10_000).map(|n| host(n, "a")).collect(), ..Default::default() };
    let live = Live::default();
    let mut translator = Translator::new(BindOptions::default());
    assert_eq!(translator.update(&config, &live).encoded, 10_001);
    let before = translator.resources();

    let (id, changed) = host(77, "b");
    config.virtual_hosts.insert(id, changed);
    let started = Instant::now();
    let changes = translator.update(&config, &live);
    let took = started.elapsed();
    let after = translator.resources();
    println!("10,000 virtual hosts, one changed: {took:?}");
    assert_eq!(changes.encoded, 1);
    assert_eq!(changes.upserted, [(VirtualHost, "http-80/h77.example.com".to_owned())]);
    assert!(changes.removed.is_empty());
    let kept = before.of(VirtualHost).zip(after.of(VirtualHost)).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
    assert_eq!(kept, 9_999);
    assert_eq!(before.map(VirtualHost).diff(&after.map(VirtualHost)).len(), 1);
    assert_eq!(translator.update(&config, &live).encoded, 0);
}

#[test]
fn route_tables_of_a_stock_envoy_follow() {
    let mut config =
        GatewayConfig { virtual_hosts: (0..3).map(|n| host(n, "a")).collect(), ..Default::default() };
    let live = Live::default();
    let mut translator = Translator::new(BindOptions::default());
    translator.update(&config, &live);
    let table = |set: &ResourceSet| set.get(RouteConfiguration, "http-80").cloned();
    let first = table(&translator.envoy_resources());
    assert_eq!(table(&translator.envoy_resources()), first);
    let (id, changed) = host(1, "b");
    config.virtual_hosts.insert(id.clone(), changed);
    translator.update(&config, &live);
    let second = translator.envoy_resources();
    assert_ne!(table(&second), first);
    assert_eq!(support::inline_hosts(&second), 3);
    config.virtual_hosts.remove(&id);
    translator.update(&config, &live);
    assert_eq!(support::inline_hosts(&translator.envoy_resources()), 2);
    config.virtual_hosts.clear();
    translator.update(&config, &live);
    assert_eq!(table(&translator.envoy_resources()), None);
}

fn get(translator: &Translator, kind: ResourceType, name: &str) -> Option<Arc<PackedResource>> {
    translator.resources().get(kind, name).cloned()
}

#[test]
fn unknown_keeps_what_absent_ends() {
    let mut config = support::config("backends");
    config.listeners = support::config("gateway").listeners;
    let mut live = support::live(&config);
    let mut translator = Translator::new(BindOptions::default());
    translator.update(&config, &live);
    let cart = "service/shop/cart/80";
    let endpoints = get(&translator, ClusterLoadAssignment, cart).unwrap();
    assert!(get(&translator, Cluster, "service/shop/absent/80").is_none());
    assert!(get(&translator, Cluster, "service/shop/unknown/80").is_none());
    assert!(get(&translator, Cluster, "service/shop/empty/80").is_some());
    assert!(get(&translator, ClusterLoadAssignment, "service/shop/empty/80").is_some());
    assert!(get(&translator, Secret, "shop/cert").is_some());

    // The source fails: everything stays.
    let changes = translator.update(&config, &Live::default());
    assert_eq!(changes.removed, []);
    assert_eq!(get(&translator, ClusterLoadAssignment, cart), Some(endpoints));
    assert!(get(&translator, Secret, "shop/cert").is_some());

    // The objects are gone: so are the resources.
    let id = BackendId::Service {
        namespace: "shop".into(),
        name: "cart".into(),
        port: 80,
        protocol: BackendProtocol::Http1,
    };
    live.backends.insert(id, BackendState::Absent);
    live.certificates
        .insert(SecretId { namespace: "shop".into(), name: "cert".into() }, CertificateState::Absent);
    let changes = translator.update(&config, &live);
    let gone = [(Cluster, cart), (ClusterLoadAssignment, cart), (Secret, "shop/cert")];
    assert_eq!(changes.removed, gone.map(|(kind, name)| (kind, name.to_owned())));
    assert!(get(&translator, Listener, "listener/443").is_some());

    // Nothing names them any more.
    config.backends.clear();
    config.listeners.clear();
    translator.update(&config, &live);
    for kind in [Cluster, ClusterLoadAssignment, Secret, Listener] {
        assert_eq!(translator.resources().count(kind), 0, "{kind}");
    }
}

#[test]
fn a_new_allocation_with_the_same_content_changes_nothing() {
    let config = support::config("backends");
    let live = support::live(&config);
    let mut translator = Translator::new(BindOptions::default());
    translator.update(&config, &live);
    let mut copy = config.clone();
    copy.backends = config.backends.iter().map(|(id, b)| (id.clone(), Arc::new(Backend::clone(b)))).collect();
    let changes = translator.update(&copy, &live);
    assert!(changes.is_empty());
    assert!(changes.encoded > 0);
    assert_eq!(translator.update(&copy, &live).encoded, 0, "the new allocation is the known one now");
}
