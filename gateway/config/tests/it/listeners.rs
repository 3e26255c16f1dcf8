// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! When listeners are served, and which chain takes a connection.

use crate::resources::{
    certificate, chain, cluster, listener, manager, packed_host, prefix, table, vhds_table,
};
use crate::{put, remove};
use gateway_config::{ChainFacts, ConfigStore, last_good};
use gateway_xds_api::ResourceType::{
    Cluster, ClusterLoadAssignment, Listener, RouteConfiguration, Secret, VirtualHost,
};

#[test]
fn a_listener_waits_for_its_route_table_hosts_and_secrets() {
    let mut store = ConfigStore::new();
    let secure = listener("listener/443", vec![chain(&["shop.com"], &manager("t"), Some("shop/cert"))]);
    let applied = put(&mut store, Listener, [secure]);
    assert!(applied.snapshot.is_none_or(|snapshot| snapshot.listeners.is_empty()));
    assert_eq!(applied.wanted, [(Secret, "shop/cert".to_owned()), (RouteConfiguration, "t".to_owned())]);

    put(&mut store, RouteConfiguration, [vhds_table("t")]);
    let missing = [(Secret, "shop/cert".to_owned()), (VirtualHost, "t/*".to_owned())];
    assert_eq!(store.waiting()[0].missing, missing);
    put(&mut store, Secret, [certificate("shop/cert", "shop.com")]);
    assert!(store.snapshot().listeners.is_empty());
    let applied = put(&mut store, VirtualHost, [packed_host("t", "shop.com", vec![prefix("r", "/")])]);
    assert!(applied.snapshot.unwrap().listeners.contains_key("listener/443"));
    assert_eq!(store.waiting(), []);
}

#[test]
fn a_table_without_any_host_is_ready_once_the_control_plane_said_so() {
    let mut store = ConfigStore::new();
    put(&mut store, RouteConfiguration, [vhds_table("t")]);
    put(&mut store, Listener, [listener("listener/80", vec![chain(&[], &manager("t"), None)])]);
    assert!(store.snapshot().listeners.is_empty());
    put(&mut store, VirtualHost, []);
    assert!(store.snapshot().listeners.contains_key("listener/80"));
}

/// A connection from elsewhere that says this name.
fn named(server_name: Option<&str>) -> ChainFacts<'_> {
    let remote = "203.0.113.1:40000".parse().unwrap();
    ChainFacts {
        local: "192.0.2.1:443".parse().unwrap(),
        remote,
        direct_remote: remote,
        server_name,
        tls: true,
        application_protocols: &[],
    }
}

#[test]
fn the_version_before_serves_until_the_new_one_is_ready() {
    let mut store = ConfigStore::new();
    put(&mut store, RouteConfiguration, [table("old", Vec::new())]);
    put(&mut store, Listener, [listener("listener/80", vec![chain(&[], &manager("old"), None)])]);
    let applied =
        put(&mut store, Listener, [listener("listener/80", vec![chain(&[], &manager("new"), None)])]);
    assert_eq!(applied.wanted, [(RouteConfiguration, "new".to_owned())]);
    assert_eq!(applied.unwanted, []);
    let served = |store: &ConfigStore| {
        let snapshot = store.snapshot();
        let chain = snapshot.listeners["listener/80"].chains.select(&named(None)).unwrap();
        snapshot.routes_of(chain.http().unwrap()).unwrap().name.to_string()
    };
    // The control plane may already take the old table away.
    remove(&mut store, RouteConfiguration, &["old"]);
    assert_eq!(served(&store), "old");
    let applied = put(&mut store, RouteConfiguration, [table("new", Vec::new())]);
    assert_eq!(applied.unwanted, [(RouteConfiguration, "old".to_owned())]);
    assert_eq!(served(&store), "new");
    assert!(store.snapshot().route_tables.get("old").is_none());
}

#[test]
fn the_chain_is_chosen_by_server_name() {
    let mut store = ConfigStore::new();
    put(&mut store, RouteConfiguration, [table("t", Vec::new())]);
    put(&mut store, Secret, [certificate("cert", "shop.com")]);
    let secure = |names: &[&str]| chain(names, &manager("t"), Some("cert"));
    let chains =
        vec![secure(&["a.shop.com"]), secure(&["*.shop.com"]), secure(&["*.com", "plain.org"]), secure(&[])];
    let applied = put(&mut store, Listener, [listener("listener/443", chains)]);
    assert_eq!(applied.rejections, []);
    let listener = &store.snapshot().listeners["listener/443"];
    assert!(listener.chains.all_use_tls());
    for (name, expected) in [
        (Some("a.shop.com"), "a.shop.com"),
        (Some("b.shop.com"), "*.shop.com"),
        (Some("shop.com"), "*.com,plain.org"),
        (Some("plain.org"), "*.com,plain.org"),
        (Some("com"), ""),
        (None, ""),
    ] {
        assert_eq!(&*listener.chains.select(&named(name)).unwrap().name, expected, "{name:?}");
    }
}

#[test]
fn clusters_ask_for_their_endpoints() {
    let mut store = ConfigStore::new();
    let applied = put(&mut store, Cluster, [cluster("a"), cluster("b")]);
    assert_eq!(
        applied.wanted,
        [(ClusterLoadAssignment, "a".to_owned()), (ClusterLoadAssignment, "b".to_owned())]
    );
    assert_eq!(store.clusters_without_endpoints().len(), 2);
    let applied = remove(&mut store, Cluster, &["a"]);
    assert_eq!(applied.unwanted, [(ClusterLoadAssignment, "a".to_owned())]);
}

#[test]
fn what_was_stored_serves_again_without_secrets() {
    let mut store = ConfigStore::new();
    put(&mut store, Cluster, [cluster("a")]);
    put(&mut store, RouteConfiguration, [vhds_table("t")]);
    put(&mut store, VirtualHost, [packed_host("t", "shop.com", vec![prefix("r", "/")])]);
    put(&mut store, Secret, [certificate("cert", "shop.com")]);
    put(&mut store, Listener, [listener("listener/80", vec![chain(&[], &manager("t"), None)])]);
    let stored = last_good::encode(store.accepted());
    assert!(!stored.windows(11).any(|window| window == b"PRIVATE KEY"));

    let mut again = ConfigStore::new();
    let applied = again.apply_all(last_good::decode(&stored).unwrap());
    assert_eq!(applied.rejections, []);
    let snapshot = again.snapshot();
    assert!(snapshot.listeners.contains_key("listener/80") && snapshot.clusters.get("a").is_some());
    assert_eq!(snapshot.route_tables.get("t").unwrap().domain_count(), 1);
    assert!(snapshot.secrets.is_empty());
}
