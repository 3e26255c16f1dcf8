// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Envoy's own verdict: every golden as a static configuration, through `envoy --mode validate`.

use crate::support;
use gateway_xds_api::pb::envoy::config::bootstrap::v3::{Bootstrap, bootstrap::StaticResources};
use gateway_xds_api::pb::envoy::config::cluster::v3::Cluster;
use gateway_xds_api::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use gateway_xds_api::pb::envoy::config::core::v3::{Node, transport_socket};
use gateway_xds_api::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use gateway_xds_api::pb::envoy::config::listener::v3::{Listener, filter};
use gateway_xds_api::pb::envoy::config::route::v3::RouteConfiguration;
use gateway_xds_api::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use gateway_xds_api::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use gateway_xds_api::pb::envoy::extensions::transport_sockets::tls::v3::DownstreamTlsContext;
use gateway_xds_api::pb::google::protobuf::Any;
use gateway_xds_api::{ResourceSet, ResourceType, unpack};
use operator_ir::{Application, FilterChain, GatewayConfig, HostPattern, Listener as Port, ObjectKind, ObjectRef, Origin};
use operator_translate::{BindOptions, Translator};
use prost::{Message, Name};
use std::process::Command;
use std::sync::Arc;

/// A port for each route table that no listener names, so that Envoy reads all of them.
fn with_ports(mut config: GatewayConfig) -> GatewayConfig {
    let named: Vec<_> =
        config.listeners.values().flat_map(|l| &l.chains).map(|c| c.application.clone()).collect();
    let tables: std::collections::BTreeSet<_> =
        config.virtual_hosts.keys().map(|id| id.route_table.clone()).collect();
    for (port, route_table) in (20_000..).zip(tables) {
        let application = Application::Http { route_table };
        if named.contains(&application) {
            continue;
        }
        let chain = FilterChain {
            name: format!("port-{port}"),
            server_names: vec![HostPattern::Any],
            tls: None,
            application,
            plugins: vec![],
            origin: Origin { object: ObjectRef::new(ObjectKind::Gateway, "test", "edge"), rule: None },
        };
        config.listeners.insert(port, Arc::new(Port { port, chains: vec![chain] }));
    }
    config
}

/// What comes over ADS, written where it is named.
fn bootstrap(set: &ResourceSet) -> Bootstrap {
    let listeners =
        set.of(ResourceType::Listener).map(|r| listener(Listener::decode(r.value.clone()).unwrap(), set));
    let clusters = set.of(ResourceType::Cluster).map(|r| {
        let mut cluster = Cluster::decode(r.value.clone()).unwrap();
        let assignment =
            set.get(ResourceType::ClusterLoadAssignment, &r.name).expect("endpoints of each cluster");
        cluster.cluster_discovery_type = Some(ClusterDiscoveryType::Type(DiscoveryType::Static.into()));
        cluster.eds_cluster_config = None;
        cluster.load_assignment = Some(ClusterLoadAssignment::decode(assignment.value.clone()).unwrap());
        cluster
    });
    let resources = StaticResources {
        listeners: listeners.collect(),
        clusters: clusters.collect(),
        ..StaticResources::default()
    };
    Bootstrap {
        node: Some(Node { id: "one".into(), cluster: "one".into(), ..Node::default() }),
        static_resources: Some(resources),
        ..Bootstrap::default()
    }
}

fn listener(mut listener: Listener, set: &ResourceSet) -> Listener {
    for chain in &mut listener.filter_chains {
        for filter in &mut chain.filters {
            let Some(filter::ConfigType::TypedConfig(config)) = &mut filter.config_type else { continue };
            let mut manager: HttpConnectionManager = unpack(config).unwrap();
            let Some(RouteSpecifier::Rds(rds)) = &manager.route_specifier else { panic!("no rds") };
            let table = set.get(ResourceType::RouteConfiguration, &rds.route_config_name).expect("its table");
            let table = RouteConfiguration::decode(table.value.clone()).unwrap();
            manager.route_specifier = Some(RouteSpecifier::RouteConfig(table));
            // Modules come from the relay.
            manager.http_filters.retain(|filter| !filter.name.starts_with("gatefleet.wasm."));
            *config = packed(&manager);
        }
        let Some(socket) = &mut chain.transport_socket else { continue };
        let Some(transport_socket::ConfigType::TypedConfig(config)) = &mut socket.config_type else {
            continue;
        };
        let mut tls: DownstreamTlsContext = unpack(config).unwrap();
        let common = tls.common_tls_context.as_mut().unwrap();
        assert!(!common.tls_certificate_sds_secret_configs.is_empty());
        // Made-up certificates would not load; the handshake is tested with real ones elsewhere.
        common.tls_certificate_sds_secret_configs.clear();
        chain.transport_socket = None;
    }
    listener
}

fn packed<M: Message + Name>(message: &M) -> Any {
    Any { type_url: format!("type.googleapis.com/{}", M::full_name()), value: message.encode_to_vec() }
}

#[test]
#[ignore = "needs the path of Envoy in GATEFLEET_ENVOY"]
fn envoy_takes_every_golden() {
    let envoy = std::env::var("GATEFLEET_ENVOY").expect("GATEFLEET_ENVOY names Envoy's binary");
    let folder = std::env::temp_dir().join(format!("gatefleet-validate-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for case in ["gateway", "backends", "matching", "filters"] {
        let config = with_ports(support::config(case));
        let mut translator = Translator::new(BindOptions::default());
        translator.update(&config, &support::live(&config));
        let file = folder.join(format!("{case}.pb"));
        std::fs::write(&file, bootstrap(&translator.envoy_resources()).encode_to_vec()).unwrap();
        let output = Command::new(&envoy)
            .args(["--mode", "validate", "-l", "warning", "-c"])
            .arg(&file)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{case}: {text}");
        println!("{case}: {}", text.lines().last().unwrap_or("valid"));
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
