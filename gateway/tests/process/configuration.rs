// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Envoy resources of a small gateway: one listener, one route table, one host, one cluster.

use gateway_xds_api::pb::envoy::config::cluster::v3::Cluster;
use gateway_xds_api::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, EdsClusterConfig,
};
use gateway_xds_api::pb::envoy::config::core::v3::{
    Address, AggregatedConfigSource, AsyncDataSource, ConfigSource, HttpUri, RemoteDataSource, SocketAddress,
    address, async_data_source, config_source, http_uri, socket_address,
};
use gateway_xds_api::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint,
};
use gateway_xds_api::pb::envoy::config::listener::v3::{Filter, FilterChain, Listener, filter};
use gateway_xds_api::pb::envoy::config::route::v3::{
    Route, RouteAction, RouteConfiguration, RouteMatch, Vhds, VirtualHost, route, route_action, route_match,
};
use gateway_xds_api::pb::envoy::extensions::filters::http::router::v3::Router;
use gateway_xds_api::pb::envoy::extensions::filters::http::wasm::v3::Wasm;
use gateway_xds_api::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, Rds, http_connection_manager, http_filter,
};
use gateway_xds_api::pb::envoy::extensions::wasm::v3::{PluginConfig, VmConfig, plugin_config};
use gateway_xds_api::pb::envoy::service::discovery::v3::Resource;
use gateway_xds_api::pb::google::protobuf::{Any, Duration, StringValue};
use gateway_xds_api::{ResourceType, pack};
use prost::{Message, Name};
use std::net::SocketAddr;

pub const CLUSTER: &str = "service/shop/cart/80";
pub const LISTENER: &str = "listener/80";
pub const TABLE: &str = "http-80";

fn ads() -> Option<ConfigSource> {
    let specifier = config_source::ConfigSourceSpecifier::Ads(AggregatedConfigSource {});
    Some(ConfigSource {
        config_source_specifier: Some(specifier),
        resource_api_version: 2,
        ..ConfigSource::default()
    })
}

fn socket(address: SocketAddr) -> Option<Address> {
    let port = socket_address::PortSpecifier::PortValue(u32::from(address.port()));
    let socket = SocketAddress {
        address: address.ip().to_string(),
        port_specifier: Some(port),
        ..SocketAddress::default()
    };
    Some(Address { address: Some(address::Address::SocketAddress(socket)) })
}

fn any<M: Message + Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}

fn resource<M: Message>(kind: ResourceType, name: &str, message: &M) -> Resource {
    let packed = pack(kind, name, message, "");
    let body = Any { type_url: kind.type_url().to_owned(), value: packed.value.to_vec() };
    Resource { name: packed.name, version: packed.version, resource: Some(body), ..Resource::default() }
}

pub fn cluster() -> Resource {
    let eds = EdsClusterConfig { eds_config: ads(), ..EdsClusterConfig::default() };
    let message = Cluster {
        name: CLUSTER.into(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(eds),
        connect_timeout: Some(Duration { seconds: 1, nanos: 0 }),
        ..Cluster::default()
    };
    resource(ResourceType::Cluster, CLUSTER, &message)
}

/// A cluster whose message has another name than its resource.
pub fn bad_cluster() -> Resource {
    resource(ResourceType::Cluster, "bad", &Cluster { name: "other".into(), ..Cluster::default() })
}

pub fn endpoints(backend: SocketAddr) -> Resource {
    let endpoint = Endpoint { address: socket(backend), ..Endpoint::default() };
    let endpoint = LbEndpoint {
        host_identifier: Some(lb_endpoint::HostIdentifier::Endpoint(endpoint)),
        ..LbEndpoint::default()
    };
    let place = LocalityLbEndpoints { lb_endpoints: vec![endpoint], ..LocalityLbEndpoints::default() };
    let message = ClusterLoadAssignment {
        cluster_name: CLUSTER.into(),
        endpoints: vec![place],
        ..ClusterLoadAssignment::default()
    };
    resource(ResourceType::ClusterLoadAssignment, CLUSTER, &message)
}

fn http_filter(name: &str, config: Any) -> HttpFilter {
    HttpFilter {
        name: name.into(),
        config_type: Some(http_filter::ConfigType::TypedConfig(config)),
        ..HttpFilter::default()
    }
}

/// A plugin that sets a header to its configuration.
fn plugin(sha256: &str) -> HttpFilter {
    let remote = RemoteDataSource {
        http_uri: Some(HttpUri {
            uri: format!("https://relay.example/v1/plugins/{sha256}"),
            timeout: Some(Duration { seconds: 5, nanos: 0 }),
            http_upstream_type: Some(http_uri::HttpUpstreamType::Cluster("relay".into())),
        }),
        sha256: sha256.into(),
        ..RemoteDataSource::default()
    };
    let vm = VmConfig {
        runtime: "envoy.wasm.runtime.wasmtime".into(),
        code: Some(AsyncDataSource { specifier: Some(async_data_source::Specifier::Remote(remote)) }),
        ..VmConfig::default()
    };
    let config = PluginConfig {
        name: "stamp".into(),
        configuration: Some(any(&StringValue { value: "stamped".into() })),
        vm: Some(plugin_config::Vm::VmConfig(vm)),
        ..PluginConfig::default()
    };
    http_filter("stamp", any(&Wasm { config: Some(config) }))
}

pub fn listener(address: SocketAddr, plugin_sha256: Option<&str>) -> Resource {
    let router = http_filter("envoy.filters.http.router", any(&Router::default()));
    let manager = HttpConnectionManager {
        stat_prefix: "http".into(),
        http_filters: plugin_sha256.map(plugin).into_iter().chain([router]).collect(),
        route_specifier: Some(http_connection_manager::RouteSpecifier::Rds(Rds {
            config_source: ads(),
            route_config_name: TABLE.into(),
        })),
        ..HttpConnectionManager::default()
    };
    let network = Filter {
        name: "envoy.filters.network.http_connection_manager".into(),
        config_type: Some(filter::ConfigType::TypedConfig(any(&manager))),
    };
    let chain = FilterChain { filters: vec![network], ..FilterChain::default() };
    let message = Listener {
        name: LISTENER.into(),
        address: socket(address),
        filter_chains: vec![chain],
        ..Listener::default()
    };
    resource(ResourceType::Listener, LISTENER, &message)
}

pub fn route_table() -> Resource {
    let message = RouteConfiguration {
        name: TABLE.into(),
        vhds: Some(Vhds { config_source: ads() }),
        ..Default::default()
    };
    resource(ResourceType::RouteConfiguration, TABLE, &message)
}

pub fn virtual_host() -> Resource {
    let action = RouteAction {
        cluster_specifier: Some(route_action::ClusterSpecifier::Cluster(CLUSTER.into())),
        ..RouteAction::default()
    };
    let matches = RouteMatch {
        path_specifier: Some(route_match::PathSpecifier::Prefix("/".into())),
        ..RouteMatch::default()
    };
    let route = Route {
        name: "httproute/shop/cart/0/0".into(),
        r#match: Some(matches),
        action: Some(route::Action::Route(action)),
        ..Route::default()
    };
    let message = VirtualHost {
        name: format!("{TABLE}/shop.example"),
        domains: vec!["shop.example".into()],
        routes: vec![route],
        ..VirtualHost::default()
    };
    resource(ResourceType::VirtualHost, &format!("{TABLE}/shop.example"), &message)
}
