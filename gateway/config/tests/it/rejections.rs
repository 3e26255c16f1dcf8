// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Bad resources: each is named with its field, and stops nothing else.

use crate::resources::{
    PathSpecifier, certificate, chain, cluster, cluster_message, endpoints, host, listener, manager, prefix,
    route, secret_of, socket, table,
};
use crate::{any as packed, put};
use gateway_config::{ConfigStore, Update};
use gateway_xds_api::pb::envoy::config::cluster::v3::cluster::common_lb_config::ConsistentHashingLbConfig;
use gateway_xds_api::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, CommonLbConfig, DiscoveryType,
};
use gateway_xds_api::pb::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use gateway_xds_api::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use gateway_xds_api::pb::envoy::config::listener::v3::Listener as ListenerMessage;
use gateway_xds_api::pb::envoy::config::route::v3::{
    Route, VirtualHost, WeightedCluster, route, route_action,
};
use gateway_xds_api::pb::envoy::r#type::matcher::v3::RegexMatcher;
use gateway_xds_api::pb::google::protobuf::{Any, Duration};
use gateway_xds_api::{PackedResource, ResourceType, pack};
use proptest::prelude::*;

fn rejection(kind: ResourceType, resource: PackedResource) -> String {
    let mut store = ConfigStore::new();
    let name = resource.name.clone();
    let applied = put(&mut store, kind, [resource]);
    assert!(applied.snapshot.is_none(), "accepted {name}");
    assert_eq!(applied.rejections.len(), 1);
    assert_eq!(applied.rejections[0].name, name);
    applied.rejections[0].message.clone()
}

fn routed(change: impl FnOnce(&mut VirtualHost)) -> String {
    let mut message = host("t/a.com", &["a.com"], vec![prefix("r", "/")]);
    change(&mut message);
    rejection(ResourceType::VirtualHost, pack(ResourceType::VirtualHost, "t/a.com", &message, ""))
}

fn forward(made: &mut Route) -> &mut gateway_xds_api::pb::envoy::config::route::v3::RouteAction {
    match made.action.as_mut().unwrap() {
        route::Action::Route(action) => action,
        _ => unreachable!("made by prefix()"),
    }
}

#[test]
fn virtual_hosts_name_the_field() {
    let bad_header = HeaderValueOption {
        header: Some(HeaderValue { key: "a b".to_owned(), ..HeaderValue::default() }),
        ..HeaderValueOption::default()
    };
    for (message, expected) in
        [
            (routed(|h| h.domains = vec!["a*b".to_owned()]), "domains[0]: \"a*b\" is no host"),
            (routed(|h| h.domains.clear()), "domains: is empty"),
            (routed(|h| h.routes[0].r#match = None), "routes[0].match: is missing"),
            (routed(|h| h.routes[0].action = None), "routes[0].action: is missing"),
            (
                routed(|h| {
                    h.routes.push(route(
                        "x",
                        PathSpecifier::SafeRegex(RegexMatcher {
                            regex: "(".to_owned(),
                            ..RegexMatcher::default()
                        }),
                    ))
                }),
                "routes[1].match.safe_regex: is not a usable expression",
            ),
            (
                routed(|h| h.routes.push(route("x", PathSpecifier::PathSeparatedPrefix("/a/".to_owned())))),
                "routes[1].match.path_separated_prefix",
            ),
            (
                routed(|h| forward(&mut h.routes[0]).timeout = Some(Duration { seconds: -1, nanos: 0 })),
                "routes[0].route.timeout: is not a duration",
            ),
            (
                routed(|h| {
                    let none = route_action::ClusterSpecifier::WeightedClusters(WeightedCluster::default());
                    forward(&mut h.routes[0]).cluster_specifier = Some(none);
                }),
                "routes[0].route.weighted_clusters: the weights",
            ),
            (
                routed(|h| {
                    forward(&mut h.routes[0]).cluster_specifier =
                        Some(route_action::ClusterSpecifier::ClusterSpecifierPlugin("x".to_owned()))
                }),
                "routes[0].route.cluster_specifier_plugin: is not supported",
            ),
            (
                routed(|h| h.request_headers_to_add.push(bad_header.clone())),
                "request_headers_to_add[0].header.key: \"a b\" is not a header name",
            ),
            (routed(|h| h.require_tls = 9), "require_tls: is unknown"),
            (
                routed(|h| {
                    drop(h.typed_per_filter_config.insert(
                        "f".to_owned(),
                        Any { type_url: "x/unknown.Type".to_owned(), value: Vec::new() },
                    ))
                }),
                "typed_per_filter_config[\"f\"]: unknown.Type is not supported",
            ),
        ]
    {
        assert!(message.starts_with(expected), "{message:?} should start with {expected:?}");
    }
}

#[test]
fn other_resources_name_the_field() {
    let plain = || chain(&[], &manager("t"), None);
    let mut two_names = chain(&["a.com"], &manager("t"), Some("s"));
    two_names.filter_chain_match.as_mut().unwrap().transport_protocol = "quic".to_owned();
    let mut no_router = manager("t");
    no_router.http_filters.clear();
    let mut original = cluster_message("c");
    original.cluster_discovery_type = None;
    original.load_assignment = None;
    original.lb_policy = 6;
    let mut by_name = cluster_message("c");
    by_name.cluster_discovery_type = Some(ClusterDiscoveryType::Type(DiscoveryType::Static as i32));
    by_name.eds_cluster_config = None;
    by_name.load_assignment =
        Some(ClusterLoadAssignment { cluster_name: "c".to_owned(), ..Default::default() });
    let hashing = ConsistentHashingLbConfig { use_hostname_for_hashing: true, ..Default::default() };
    by_name.common_lb_config =
        Some(CommonLbConfig { consistent_hashing_lb_config: Some(hashing), ..Default::default() });
    let unaddressed = ListenerMessage {
        name: "l".to_owned(),
        address: socket("localhost", 80),
        filter_chains: vec![plain()],
        ..Default::default()
    };
    for (message, expected) in [
        (
            rejection(ResourceType::Cluster, pack(ResourceType::Cluster, "c", &by_name, "")),
            "common_lb_config.consistent_hashing_lb_config.use_hostname_for_hashing: needs a cluster",
        ),
        (rejection(ResourceType::Listener, listener("l", Vec::new())), "filter_chains: is empty"),
        (
            rejection(ResourceType::Listener, listener("l", vec![plain(), plain()])),
            "filter_chains[1].filter_chain_match: takes connections that another chain",
        ),
        (
            rejection(ResourceType::Listener, listener("l", vec![two_names])),
            "filter_chains[0].filter_chain_match.transport_protocol: must be",
        ),
        (
            rejection(ResourceType::Listener, listener("l", vec![chain(&[], &no_router, None)])),
            "filter_chains[0].filters[0].http_filters: must end",
        ),
        (
            rejection(ResourceType::Listener, pack(ResourceType::Listener, "l", &unaddressed, "")),
            "address.address: \"localhost\" is not an ip",
        ),
        (
            rejection(ResourceType::Listener, pack(ResourceType::Listener, "other", &unaddressed, "")),
            "the resource is named \"other\"",
        ),
        (
            rejection(ResourceType::Cluster, pack(ResourceType::Cluster, "c", &original, "")),
            "lb_policy: must be",
        ),
        (
            rejection(ResourceType::ClusterLoadAssignment, endpoints("c", &[""])),
            "endpoints[0].lb_endpoints[0].endpoint.address.address: is empty",
        ),
        (
            rejection(ResourceType::Secret, secret_of("s", "nothing", "nothing")),
            "tls_certificate.certificate_chain: has no certificate",
        ),
        (
            rejection(
                ResourceType::RouteConfiguration,
                table("t", vec![host("a", &["x"], Vec::new()), host("b", &["x"], Vec::new())]),
            ),
            "virtual_hosts[1].domains: the domain \"x\" is there twice",
        ),
        (
            rejection(
                ResourceType::VirtualHost,
                pack(ResourceType::VirtualHost, "no-slash", &host("h", &["h"], Vec::new()), ""),
            ),
            "the resource name must be",
        ),
    ] {
        assert!(message.starts_with(expected), "{message:?} should start with {expected:?}");
    }
}

#[test]
fn a_key_of_another_certificate_is_refused_without_showing_it() {
    let (one, other) = (
        rcgen::generate_simple_self_signed(vec!["a".to_owned()]).unwrap(),
        rcgen::KeyPair::generate().unwrap(),
    );
    let key = other.serialize_pem();
    let message = rejection(ResourceType::Secret, secret_of("s", &one.cert.pem(), &key));
    assert_eq!(message, "tls_certificate.private_key: does not belong to the certificate");
    let mut store = ConfigStore::new();
    put(&mut store, ResourceType::Secret, [certificate("s", "a")]);
    assert!(!format!("{:?}", store.snapshot().secrets).contains("PRIVATE"));
}

#[test]
fn a_bad_version_leaves_the_good_one_and_the_others() {
    let mut store = ConfigStore::new();
    put(&mut store, ResourceType::Cluster, [cluster("a")]);
    let mut bad = cluster_message("a");
    bad.lb_policy = 99;
    let applied =
        put(&mut store, ResourceType::Cluster, [pack(ResourceType::Cluster, "a", &bad, ""), cluster("b")]);
    assert_eq!((applied.rejections.len(), applied.rejections[0].name.as_str()), (1, "a"));
    let snapshot = applied.snapshot.unwrap();
    assert!(snapshot.clusters.get("a").is_some() && snapshot.clusters.get("b").is_some());
}

#[test]
fn fields_without_effect_are_named() {
    let mut store = ConfigStore::new();
    let mut message = cluster_message("a");
    message.close_connections_on_host_health_failure = true;
    let applied = put(&mut store, ResourceType::Cluster, [pack(ResourceType::Cluster, "a", &message, "")]);
    let messages: Vec<_> = applied.warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert_eq!(messages, ["close_connections_on_host_health_failure: has no effect in this gateway"]);
}

/// Valid resources of all types, to be damaged.
fn seeds() -> Vec<(ResourceType, PackedResource)> {
    vec![
        (
            ResourceType::Listener,
            listener("x/y", vec![chain(&["a.com", "*.b.com"], &manager("t"), Some("s"))]),
        ),
        (ResourceType::RouteConfiguration, table("x/y", vec![host("h", &["*"], vec![prefix("r", "/a")])])),
        (
            ResourceType::VirtualHost,
            pack(ResourceType::VirtualHost, "x/y", &host("x/y", &["y"], vec![prefix("r", "/a")]), ""),
        ),
        (ResourceType::Cluster, cluster("x/y")),
        (ResourceType::ClusterLoadAssignment, endpoints("x/y", &["10.0.0.1", "10.0.0.2"])),
        (
            ResourceType::Secret,
            secret_of("x/y", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "key"),
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_bytes_never_panic(which in 0_usize..6, value in proptest::collection::vec(any::<u8>(), 0..200)) {
        let kind = ResourceType::ALL[which];
        let upserts = vec![("x/y".to_owned(), Any { type_url: kind.type_url().to_owned(), value })];
        ConfigStore::new().apply(Update { kind, upserts, removals: vec!["x/y".to_owned()] });
    }

    #[test]
    fn damaged_resources_never_panic(which in 0_usize..6, flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let (kind, resource) = seeds().swap_remove(which);
        let mut damaged = packed(kind, &resource);
        for (at, bits) in flips {
            let at = at.index(damaged.value.len());
            damaged.value[at] ^= bits;
        }
        ConfigStore::new().apply(Update { kind, upserts: vec![("x/y".to_owned(), damaged)], removals: Vec::new() });
    }
}
