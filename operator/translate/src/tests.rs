// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The translator from outside: what resources a configuration gives, and what a change costs.

use crate::{BackendState, BindOptions, Certificate, LiveEndpoint, PluginModule, Translator};
use gateway_xds_api::pb::envoy::config::cluster::v3::Cluster;
use gateway_xds_api::pb::envoy::config::listener::v3 as pb_listener;
use gateway_xds_api::pb::envoy::config::route::v3 as pb;
use gateway_xds_api::{Difference, ResourceType};
use operator_ir::*;
use prost::Message;
use std::collections::BTreeMap;
use std::sync::Arc;

fn bind() -> BindOptions {
    BindOptions {
        address: "0.0.0.0".parse().unwrap(),
        privileged_port_offset: 10_000,
        port_offset: 0,
        plugin_source: "https://relay:15012".into(),
    }
}

fn origin(name: &str) -> Origin {
    Origin { object: ObjectRef::new(ObjectKind::HTTPRoute, "shop", name), rule: Some(0) }
}

fn table() -> RouteTableId {
    RouteTableId("http-80".into())
}

fn backend_id(name: &str) -> BackendId {
    BackendId::Service {
        namespace: "shop".into(),
        name: name.into(),
        port: 80,
        protocol: BackendProtocol::Http1,
    }
}

fn host(name: &str, action: Action, path: PathMatch) -> Arc<VirtualHost> {
    let rule = Rule {
        name: format!("httproute/shop/{name}/0/0"),
        origin: origin(name),
        matches: RequestMatch { path, method: Some("GET".into()), headers: vec![], query: vec![] },
        action,
        filters: RuleFilters::default(),
    };
    let id = VirtualHostId { route_table: table(), host: HostPattern::parse(name) };
    Arc::new(VirtualHost { id, rules: vec![rule] })
}

fn forward(backends: &[(Option<&str>, u32)], rewrite: Option<Rewrite>) -> Action {
    let destinations = backends.iter().map(|(name, weight)| Destination {
        backend: name.map(backend_id),
        weight: *weight,
        request_headers: HeaderMutation::default(),
        response_headers: HeaderMutation::default(),
    });
    Action::Forward(Forward {
        destinations: destinations.collect(),
        timeouts: Timeouts::default(),
        retry: None,
        rewrite,
        mirrors: vec![],
    })
}

fn config(hosts: impl IntoIterator<Item = Arc<VirtualHost>>, backends: &[&str]) -> GatewayConfig {
    let chain = FilterChain {
        name: "http".into(),
        server_names: vec![HostPattern::Any],
        tls: None,
        application: Application::Http { route_table: table() },
        plugins: vec![],
        origin: origin("listener"),
    };
    let backends = backends.iter().map(|name| {
        let backend = Backend { id: backend_id(name), connect_timeout_ms: 5000, origin: origin(name) };
        (backend.id.clone(), Arc::new(backend))
    });
    GatewayConfig {
        listeners: BTreeMap::from([(80, Arc::new(Listener { port: 80, chains: vec![chain] }))]),
        virtual_hosts: hosts.into_iter().map(|h| (h.id.clone(), h)).collect(),
        backends: backends.collect(),
        plugins: BTreeMap::new(),
    }
}

fn translated(config: GatewayConfig) -> Translator {
    let mut translator = Translator::new(bind());
    translator.set_config(Arc::new(config));
    translator
}

fn decode<M: Message + Default>(translator: &Translator, kind: ResourceType, name: &str) -> M {
    M::decode(
        translator.resources().get(kind, name).unwrap_or_else(|| panic!("no {kind} {name}")).value.clone(),
    )
    .unwrap()
}

fn action_of(translator: &Translator, host: &str) -> pb::RouteAction {
    let host: pb::VirtualHost = decode(translator, ResourceType::VirtualHost, &format!("http-80/{host}"));
    match host.routes[0].action.clone() {
        Some(pb::route::Action::Route(action)) => action,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_backend_comes_and_goes_without_touching_its_routes() {
    let id = backend_id("cart");
    let mut translator = translated(config(
        [host("a.com", forward(&[(Some("cart"), 1)], None), PathMatch::Prefix("/".into()))],
        &["cart"],
    ));
    let before = translator.resources().clone();
    assert_eq!(before.of(ResourceType::Cluster).count(), 0);
    let endpoint = LiveEndpoint { address: "10.0.0.1:8080".parse().unwrap(), zone: None };
    translator.set_backend(&id, BackendState::Known(vec![endpoint]));
    let cluster: Cluster = decode(&translator, ResourceType::Cluster, "service/shop/cart/80");
    assert_eq!(cluster.name, "service/shop/cart/80");
    for kind in [ResourceType::VirtualHost, ResourceType::Listener, ResourceType::RouteConfiguration] {
        assert!(before.map(kind).same(&translator.resources().map(kind)), "{kind}");
    }
    translator.set_backend(&id, BackendState::Absent);
    assert_eq!(translator.resources().of(ResourceType::Cluster).count(), 0);
}

#[test]
fn an_invalid_destination_keeps_its_share() {
    let action = forward(&[(Some("cart"), 3), (None, 1), (Some("off"), 0)], None);
    let translator = translated(config([host("a.com", action, PathMatch::Exact("/x".into()))], &["cart"]));
    let action = action_of(&translator, "a.com");
    assert_eq!(action.cluster_not_found_response_code, 2);
    let Some(pb::route_action::ClusterSpecifier::WeightedClusters(weighted)) = action.cluster_specifier
    else {
        panic!()
    };
    let shares: Vec<_> =
        weighted.clusters.iter().map(|c| (c.name.as_str(), c.weight.unwrap().value)).collect();
    assert_eq!(shares, [("service/shop/cart/80", 3), ("invalid-backend", 1)]);
}

#[test]
fn prefix_rewrites_keep_whole_segments() {
    let cases = [("/", "/api", "/api/", ""), ("/foo", "/bar/", "/bar", ""), ("/foo", "/", "", "^\\/foo/*")];
    for (from, to, prefix, pattern) in cases {
        let rewrite = Rewrite { host: None, path: Some(PathRewrite::Prefix(to.into())) };
        let action = forward(&[(Some("cart"), 1)], Some(rewrite));
        let translator =
            translated(config([host("a.com", action, PathMatch::Prefix(from.into()))], &["cart"]));
        let action = action_of(&translator, "a.com");
        assert_eq!(action.prefix_rewrite, prefix, "{from} -> {to}");
        let regex = action.regex_rewrite.and_then(|r| r.pattern).map(|p| p.regex).unwrap_or_default();
        assert_eq!(regex, pattern, "{from} -> {to}");
    }
}

#[test]
fn stock_envoys_get_their_virtual_hosts_inline() {
    let hosts = ["a.com", "b.com"]
        .map(|n| host(n, forward(&[(Some("cart"), 1)], None), PathMatch::Prefix("/".into())));
    let translator = translated(config(hosts, &["cart"]));
    let ours: pb::RouteConfiguration = decode(&translator, ResourceType::RouteConfiguration, "http-80");
    assert!(ours.vhds.is_some() && ours.virtual_hosts.is_empty());
    let set = translator.envoy_resources();
    assert_eq!(set.of(ResourceType::VirtualHost).count(), 0);
    let packed = set.get(ResourceType::RouteConfiguration, "http-80").unwrap();
    let theirs = pb::RouteConfiguration::decode(packed.value.clone()).unwrap();
    assert!(theirs.vhds.is_none());
    assert_eq!(theirs.virtual_hosts.len(), 2);
}

#[test]
fn listeners_bind_unprivileged_ports_and_wait_for_plugins_that_must_run() {
    let mut wanted = config([], &[]);
    let plugin = |policy| Plugin {
        name: "waf".into(),
        image: "r/waf@sha256:00".into(),
        pull_secret: None,
        phase: PluginPhase::AuthZ,
        priority: 0,
        failure_policy: policy,
        config: "{}".into(),
        origin: origin("fleet"),
    };
    let mut listener = wanted.listeners[&80].as_ref().clone();
    listener.chains[0].plugins = vec!["waf".into()];
    wanted.listeners.insert(80, Arc::new(listener));
    wanted.plugins.insert("waf".into(), Arc::new(plugin(FailurePolicy::FailClosed)));
    let mut translator = translated(wanted.clone());
    assert_eq!(translator.resources().of(ResourceType::Listener).count(), 0);
    translator.set_plugin("r/waf@sha256:00", PluginModule { sha256: "ab".into() });
    let listener: pb_listener::Listener = decode(&translator, ResourceType::Listener, "listener/80");
    let text = format!("{:?}", listener.address);
    assert!(text.contains("10080"), "{text}");
    wanted.plugins.insert("waf".into(), Arc::new(plugin(FailurePolicy::FailOpen)));
    assert_eq!(translated(wanted).resources().of(ResourceType::Listener).count(), 1);
}

#[test]
fn a_certificate_that_vanishes_goes_on_being_served() {
    let mut wanted = config([], &[]);
    let id = SecretId { namespace: "shop".into(), name: "tls".into() };
    let mut listener = wanted.listeners[&80].as_ref().clone();
    listener.chains[0].tls = Some(TlsTermination { certificates: vec![id.clone()] });
    wanted.listeners.insert(80, Arc::new(listener));
    let mut translator = translated(wanted);
    assert_eq!(translator.wanted_certificates().into_iter().collect::<Vec<_>>(), [id.clone()]);
    translator.set_certificate(&id, Some(Certificate { chain_pem: b"c".to_vec(), key_pem: b"k".to_vec() }));
    translator.set_certificate(&id, None);
    assert_eq!(translator.resources().of(ResourceType::Secret).count(), 1);
    translator.set_config(Arc::new(config([], &[])));
    assert_eq!(translator.resources().of(ResourceType::Secret).count(), 0);
}

#[test]
fn one_change_among_ten_thousand_touches_one_resource() {
    let make = |i: usize| {
        host(&format!("h{i}.example"), forward(&[(Some("cart"), 1)], None), PathMatch::Prefix("/".into()))
    };
    let first = config((0..10_000).map(make), &["cart"]);
    let mut translator = translated(first.clone());
    let before = translator.resources().clone();
    let mut second = first;
    let changed = host("h42.example", forward(&[(Some("other"), 1)], None), PathMatch::Prefix("/".into()));
    second.virtual_hosts.insert(changed.id.clone(), changed);
    let began = std::time::Instant::now();
    translator.set_config(Arc::new(second.clone()));
    println!("one of 10,000 virtual hosts: {:?}", began.elapsed());
    let (old, new) =
        (before.map(ResourceType::VirtualHost), translator.resources().map(ResourceType::VirtualHost));
    let touched = old.diff(&new);
    assert_eq!(touched.len(), 1);
    assert!(matches!(touched[0], Difference::Upsert(r) if r.name == "http-80/h42.example"));
    let fresh = translated(second);
    assert_eq!(fresh.resources(), translator.resources(), "incremental and fresh differ");
}
