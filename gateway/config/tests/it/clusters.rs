// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Clusters as control planes write them, in protobuf's JSON form: what becomes of their fields.

use crate::put;
use gateway_config::{
    Applied, Balancing, Cluster, ConfigStore, ConnectProxy, Discovery, DnsFamily, Keepalive,
    LocalityBalancing, ProxyHeaderVersion, RequestNames, TcpKeepalive, UpstreamProtocol,
};
use gateway_xds_api::{Descriptors, ResourceType, pack_encoded};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const TYPE: &str = "type.googleapis.com/envoy.";

/// Applies a cluster `c` with these fields.
fn applied(fields: &Value) -> (ConfigStore, Applied) {
    let mut message = json!({"@type": format!("{TYPE}config.cluster.v3.Cluster"), "name": "c"});
    for (name, value) in fields.as_object().unwrap() {
        message[name] = value.clone();
    }
    let any = Descriptors::load().unwrap().from_json(&message).unwrap();
    let mut store = ConfigStore::new();
    let applied =
        put(&mut store, ResourceType::Cluster, [pack_encoded(ResourceType::Cluster, "c", any.value, "")]);
    (store, applied)
}

/// The cluster that these fields make, without a warning.
fn made(fields: &Value) -> Arc<Cluster> {
    let (store, applied) = applied(fields);
    assert_eq!((applied.rejections, applied.warnings), (Vec::new(), Vec::new()), "{fields}");
    Arc::clone(store.snapshot().clusters.get("c").unwrap())
}

fn rejection(fields: &Value) -> String {
    let (_, applied) = applied(fields);
    assert_eq!(applied.rejections.len(), 1, "{fields} is taken");
    applied.rejections[0].message.clone()
}

fn warning(fields: &Value) -> String {
    let (_, applied) = applied(fields);
    assert_eq!(applied.rejections, Vec::new());
    assert_eq!(applied.warnings.len(), 1, "{fields}: {:?}", applied.warnings);
    applied.warnings[0].message.clone()
}

fn tls(fields: Value) -> Value {
    let mut config =
        json!({"@type": format!("{TYPE}extensions.transport_sockets.tls.v3.UpstreamTlsContext")});
    for (name, value) in fields.as_object().unwrap() {
        config[name] = value.clone();
    }
    json!({"name": "tls", "typed_config": config})
}

fn wrapped(name: &str, fields: Value) -> Value {
    let mut config = json!({"@type": format!("{TYPE}extensions.transport_sockets.{name}")});
    for (name, value) in fields.as_object().unwrap() {
        config[name] = value.clone();
    }
    json!({"name": "wrapped", "typed_config": config})
}

fn raw_buffer() -> Value {
    wrapped("raw_buffer.v3.RawBuffer", json!({}))
}

fn address(port: u16) -> Value {
    json!({"socket_address": {"address": "127.0.0.1", "port_value": port}})
}

fn http(fields: Value) -> Value {
    let mut options = json!({"@type": format!("{TYPE}extensions.upstreams.http.v3.HttpProtocolOptions")});
    for (name, value) in fields.as_object().unwrap() {
        options[name] = value.clone();
    }
    json!({"typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options}})
}

#[test]
fn sockets_by_metadata_are_istios() {
    let endpoint = |metadata: Value| json!({"endpoint": {"address": address(80)}, "metadata": metadata});
    let mesh = json!({"filter_metadata": {"envoy.transport_socket_match": {"tlsMode": "istio"}}});
    let cluster = made(&json!({
        "transport_socket_matches": [
            {"name": "tlsMode-istio", "match": {"tlsMode": "istio"}, "transport_socket": tls(json!({"sni": "a.b"}))},
            {"name": "tlsMode-disabled", "match": {}, "transport_socket": raw_buffer()},
        ],
        "load_assignment": {"cluster_name": "c", "endpoints": [
            {"lb_endpoints": [endpoint(mesh.clone()), endpoint(json!({}))]},
            {"lb_endpoints": [endpoint(json!({}))], "metadata": mesh},
        ]},
    }));
    let Discovery::Static(endpoints) = &cluster.discovery else { panic!("{:?}", cluster.discovery) };
    let places =
        endpoints.localities.iter().flat_map(|place| place.endpoints.iter().map(move |e| (e, place)));
    let sockets: Vec<usize> = places.map(|(endpoint, place)| cluster.socket_of(endpoint, place)).collect();
    // An empty match takes what comes to it.
    assert_eq!(sockets, [1, 2, 2]);
    assert!(cluster.sockets().nth(1).unwrap().tls.is_some() && cluster.socket.tls.is_none());
    let matcher = json!({"transport_socket_matcher": {"on_no_match": {"action": {"name": "x"}}}});
    assert!(rejection(&matcher).starts_with("transport_socket_matcher: is not supported"));
}

#[test]
fn wrappers_of_sockets() {
    let header = |version: &str, inner: Value| {
        let config = json!({"version": version, "added_tlvs": [{"type": 224, "value": "YWI="}]});
        let name = "proxy_protocol.v3.ProxyProtocolUpstreamTransport";
        json!({"transport_socket": wrapped(name, json!({"config": config, "transport_socket": inner}))})
    };
    let cluster = made(&header("V2", tls(json!({"sni": "a.b"}))));
    let told = cluster.socket.proxy_protocol.as_ref().unwrap();
    assert_eq!((told.version, &told.tlvs[0].1[..]), (ProxyHeaderVersion::V2, &b"ab"[..]));
    assert!(cluster.socket.tls.is_some());
    assert!(made(&header("V1", raw_buffer())).socket.tls.is_none());

    let through = |inner: Value| {
        let fields = json!({"transport_socket": inner, "default_proxy_address": address(3128)});
        json!({"transport_socket": wrapped("http_11_proxy.v3.Http11ProxyUpstreamTransport", fields)})
    };
    let cluster = made(&through(tls(json!({}))));
    let default = Some(([127, 0, 0, 1], 3128).into());
    assert_eq!(cluster.socket.connect_proxy, Some(ConnectProxy { default }));
    let internal = wrapped("internal_upstream.v3.InternalUpstreamTransport", json!({}));
    for (fields, expected) in [
        (through(raw_buffer()), "transport_socket.transport_socket: must be tls"),
        (header("V2", internal.clone()), "is not supported here; use raw_buffer or tls"),
        (json!({"transport_socket": internal}), "there are no internal listeners here"),
        (
            json!({"transport_socket": tls(json!({"allow_renegotiation": true}))}),
            "transport_socket.allow_renegotiation: is not supported",
        ),
        (
            json!({"transport_socket": tls(json!({"auto_sni_san_validation": true}))}),
            "transport_socket.auto_sni_san_validation: needs a validation context",
        ),
        (
            json!({"load_assignment": {"endpoints": [{"lb_endpoints": [
                {"endpoint": {"address": {"envoy_internal_address": {"server_listener_name": "x"}}}}]}]}}),
            "there are no internal listeners here",
        ),
    ] {
        let message = rejection(&fields);
        assert!(message.contains(expected), "{message}");
    }
    let named_only = made(&json!({"transport_socket": {"name": "envoy.transport_sockets.raw_buffer"}}));
    assert!(named_only.socket.tls.is_none());
}

#[test]
fn names_follow_requests() {
    let names = |header: &str, verify: bool| {
        http(json!({
            "explicit_http_config": {"http_protocol_options": {}},
            "upstream_http_protocol_options":
                {"auto_sni": true, "auto_san_validation": verify, "override_auto_sni_header": header},
        }))
    };
    for (header, verify, expected) in [
        ("", true, RequestNames { header: None, verify: true }),
        (":authority", false, RequestNames { header: None, verify: false }),
        ("X-Name", false, RequestNames { header: Some("x-name".parse().unwrap()), verify: false }),
    ] {
        assert_eq!(made(&names(header, verify)).request_names, Some(expected));
    }
    let lone = http(json!({
        "explicit_http_config": {"http_protocol_options": {}},
        "upstream_http_protocol_options": {"auto_san_validation": true},
    }));
    assert!(rejection(&lone).contains("upstream_http_protocol_options.auto_san_validation: needs auto_sni"));
}

#[test]
fn connections_have_settings() {
    let cluster = made(&{
        let mut fields = http(json!({
            "common_http_protocol_options": {
                "idle_timeout": "30s", "max_connection_duration": "60s", "max_requests_per_connection": 7,
                "max_response_headers_kb": 96, "max_headers_count": 50,
            },
            "explicit_http_config": {"http2_protocol_options": {
                "max_concurrent_streams": 9, "initial_stream_window_size": 65536,
                "connection_keepalive": {"interval": "10s", "timeout": "2s"},
            }},
        }));
        fields["upstream_connection_options"] =
            json!({"tcp_keepalive": {"keepalive_time": 60, "keepalive_interval": 5, "keepalive_probes": 3}});
        fields["upstream_bind_config"] = json!({
            "source_address": {"address": "127.0.0.2", "port_value": 0},
            "extra_source_addresses": [{"address": {"address": "::1", "port_value": 0}}],
        });
        fields["connection_pool_per_downstream_connection"] = json!(true);
        fields
    });
    let settings = &cluster.connection;
    assert_eq!((cluster.protocol, cluster.own_connections), (UpstreamProtocol::Http2, true));
    assert_eq!(
        (settings.max_head, settings.max_headers, settings.max_requests),
        (Some(96 << 10), Some(50), Some(7))
    );
    let second = Duration::from_secs(1);
    assert_eq!(
        settings.keepalive,
        Some(Keepalive { interval: 10 * second, timeout: 2 * second, jitter: 15 })
    );
    let keepalive = TcpKeepalive { time: Some(60 * second), interval: Some(5 * second), probes: Some(3) };
    assert_eq!(settings.tcp_keepalive, Some(keepalive));
    let sources: Vec<String> = cluster.source_addresses.iter().map(ToString::to_string).collect();
    assert_eq!(sources, ["127.0.0.2:0", "[::1]:0"]);
    let bind = json!({"upstream_bind_config": {"freebind": true}});
    assert!(rejection(&bind).contains("upstream_bind_config.freebind: is not supported"));
    assert!(
        warning(&json!({"preconnect_policy": {"per_upstream_preconnect_ratio": 1.5}}))
            .contains("preconnect_policy")
    );
}

#[test]
fn kinds_of_clusters_that_are_extensions() {
    let kind = |name: &str, mut fields: Value| {
        fields["@type"] = json!(format!("{TYPE}extensions.clusters.{name}"));
        json!({"cluster_type": {"name": "kind", "typed_config": fields}})
    };
    let named = json!({"cluster_name": "c", "endpoints": [{"lb_endpoints": [
        {"endpoint": {"address": {"socket_address": {"address": "a.test", "port_value": 80}}}}]}]});
    for (one, expected_logical) in [(false, false), (true, true)] {
        let mut fields = kind(
            "dns.v3.DnsCluster",
            json!({
                "dns_refresh_rate": "7s", "dns_lookup_family": "V4_ONLY", "all_addresses_in_single_endpoint": one,
                "dns_failure_refresh_rate": {"base_interval": "1s", "max_interval": "3s"},
            }),
        );
        fields["load_assignment"] = named.clone();
        let cluster = made(&fields);
        let (logical, dns) = match &cluster.discovery {
            Discovery::LogicalDns(_, dns) => (true, dns),
            Discovery::StrictDns(_, dns) => (false, dns),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            (logical, dns.refresh, dns.family),
            (expected_logical, Duration::from_secs(7), DnsFamily::V4)
        );
    }
    let mut among = kind("aggregate.v3.ClusterConfig", json!({"clusters": ["a", "b"]}));
    among["lb_policy"] = json!("CLUSTER_PROVIDED");
    assert_eq!(made(&among).discovery, Discovery::Aggregate(["a".into(), "b".into()].into()));
    for (fields, expected) in [
        (kind("aggregate.v3.ClusterConfig", json!({})), "cluster_type.clusters: is empty"),
        (kind("redis.v3.RedisClusterConfig", json!({})), "RedisClusterConfig is not supported"),
        (json!({"type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED"}), "ORIGINAL_DST is not supported"),
        (json!({"lb_policy": "CLUSTER_PROVIDED"}), "lb_policy: must be ROUND_ROBIN"),
    ] {
        let message = rejection(&fields);
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn policies_that_are_extensions() {
    let policy = |name: &str, mut fields: Value| {
        fields["@type"] = json!(format!("{TYPE}extensions.load_balancing_policies.{name}"));
        json!({"policies": [{"typed_extension_config": {"name": "policy", "typed_config": fields}}]})
    };
    let zones = json!({"zone_aware_lb_config": {
        "min_cluster_size": 2, "routing_enabled": {"value": 50}, "force_local_zone": {"min_size": 3}}});
    let inner = policy("random.v3.Random", json!({"locality_lb_config": zones}));
    let headers = json!([{"header": "x-endpoint"}]);
    let fields = json!({"override_host_sources": headers, "fallback_policy": inner});
    let cluster = made(&json!({"load_balancing_policy": policy("override_host.v3.OverrideHost", fields)}));
    assert_eq!(
        (cluster.balancing.policy, &cluster.balancing.overrides[..]),
        (Balancing::Random, &["x-endpoint".parse().unwrap()][..])
    );
    let LocalityBalancing::ZoneAware(zones) = cluster.balancing.localities else { panic!("not by zone") };
    assert_eq!((zones.routing, zones.min_size, zones.force_local), (50, 2, Some(3)));
    let reports = policy("client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin", json!({}));
    assert!(warning(&json!({"load_balancing_policy": reports})).contains("load reports have no effect"));
    let sources = json!([{"metadata": {"key": "a", "path": [{"key": "b"}]}}]);
    let fields =
        json!({"override_host_sources": sources, "fallback_policy": policy("random.v3.Random", json!({}))});
    let message =
        rejection(&json!({"load_balancing_policy": policy("override_host.v3.OverrideHost", fields)}));
    assert!(message.contains("override_host_sources[0].metadata: is not supported; use header"), "{message}");
}
