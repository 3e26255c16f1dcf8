// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The resources of the benchmark, in the form in which a relay serves them: two listeners that share one route table, whose virtual
//! hosts come one by one; two clusters with their endpoints; one certificate.

use crate::control::Options;
use gateway_xds_api::pb::envoy::config::cluster::v3::Cluster;
use gateway_xds_api::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, EdsClusterConfig,
};
use gateway_xds_api::pb::envoy::config::core::v3::{
    Address, AggregatedConfigSource, ConfigSource, DataSource, Http2ProtocolOptions, SocketAddress,
    TransportSocket, address, config_source, data_source, socket_address, transport_socket,
};
use gateway_xds_api::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint,
};
use gateway_xds_api::pb::envoy::config::listener::v3::{Filter, FilterChain, Listener, filter};
use gateway_xds_api::pb::envoy::config::route::v3::{
    Route, RouteAction, RouteConfiguration, RouteMatch, Vhds, VirtualHost, route, route_action, route_match,
};
use gateway_xds_api::pb::envoy::extensions::filters::http::router::v3::Router;
use gateway_xds_api::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, Rds, http_connection_manager, http_filter,
};
use gateway_xds_api::pb::envoy::extensions::transport_sockets::tls::v3::{
    CommonTlsContext, DownstreamTlsContext, SdsSecretConfig, Secret, TlsCertificate, secret,
};
use gateway_xds_api::pb::envoy::extensions::upstreams::http::v3::{
    HttpProtocolOptions, http_protocol_options,
};
use gateway_xds_api::pb::envoy::service::discovery::v3::Resource;
use gateway_xds_api::pb::google::protobuf::{Any, BoolValue};
use gateway_xds_api::{ResourceType, pack};
use prost::{Message, Name};
use std::collections::HashMap;
use std::net::SocketAddr;

const TABLE: &str = "routes";
const CERTIFICATE: &str = "gateways/certificate";

/// A resource with its type.
pub(crate) type Typed = (ResourceType, Resource);

/// Everything but the virtual hosts.
pub(crate) fn fixed(options: &Options, certificate: (String, String)) -> Vec<Typed> {
    let mut all = vec![
        listener("listener/plain", options.plain, false),
        listener("listener/tls", options.tls, true),
        route_table(),
        secret(certificate),
    ];
    let upstreams = [("up", options.upstream, false), ("grpc", options.grpc_upstream, true)];
    for (name, address, http2) in upstreams {
        all.extend([cluster(name, http2), endpoints(name, address)]);
    }
    all
}

/// The virtual host of a domain; with `grpc`, paths of that service go to its own cluster.
pub(crate) fn virtual_host(domain: &str, grpc: bool) -> Typed {
    let paths = grpc.then_some(("/bench.Bench/", "grpc")).into_iter().chain([("/", "up")]);
    let routes = paths.map(|(prefix, cluster)| Route {
        name: format!("httproute/bench/{cluster}/0/0"),
        r#match: Some(RouteMatch {
            path_specifier: Some(route_match::PathSpecifier::Prefix(prefix.into())),
            ..RouteMatch::default()
        }),
        action: Some(route::Action::Route(RouteAction {
            cluster_specifier: Some(route_action::ClusterSpecifier::Cluster(cluster.into())),
            upgrade_configs: vec![route_action::UpgradeConfig {
                upgrade_type: "websocket".into(),
                ..route_action::UpgradeConfig::default()
            }],
            ..RouteAction::default()
        })),
        ..Route::default()
    });
    let name = format!("{TABLE}/{domain}");
    let message = VirtualHost {
        name: name.clone(),
        domains: vec![domain.to_owned()],
        routes: routes.collect(),
        ..VirtualHost::default()
    };
    resource(ResourceType::VirtualHost, &name, &message)
}

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

fn resource<M: Message>(kind: ResourceType, name: &str, message: &M) -> Typed {
    let packed = pack(kind, name, message, "");
    let body = Any { type_url: kind.type_url().to_owned(), value: packed.value.to_vec() };
    (
        kind,
        Resource { name: packed.name, version: packed.version, resource: Some(body), ..Resource::default() },
    )
}

fn cluster(name: &str, http2: bool) -> Typed {
    let options = HttpProtocolOptions {
        upstream_protocol_options: Some(http_protocol_options::UpstreamProtocolOptions::ExplicitHttpConfig(
            http_protocol_options::ExplicitHttpConfig {
                protocol_config: Some(
                    http_protocol_options::explicit_http_config::ProtocolConfig::Http2ProtocolOptions(
                        Http2ProtocolOptions::default(),
                    ),
                ),
            },
        )),
        ..HttpProtocolOptions::default()
    };
    let key = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions".to_owned();
    let message = Cluster {
        name: name.into(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(EdsClusterConfig { eds_config: ads(), ..EdsClusterConfig::default() }),
        typed_extension_protocol_options: if http2 {
            HashMap::from([(key, any(&options))])
        } else {
            HashMap::new()
        },
        ..Cluster::default()
    };
    resource(ResourceType::Cluster, name, &message)
}

fn endpoints(cluster: &str, address: SocketAddr) -> Typed {
    let endpoint = Endpoint { address: socket(address), ..Endpoint::default() };
    let endpoint = LbEndpoint {
        host_identifier: Some(lb_endpoint::HostIdentifier::Endpoint(endpoint)),
        ..LbEndpoint::default()
    };
    let place = LocalityLbEndpoints { lb_endpoints: vec![endpoint], ..LocalityLbEndpoints::default() };
    let message = ClusterLoadAssignment {
        cluster_name: cluster.into(),
        endpoints: vec![place],
        ..ClusterLoadAssignment::default()
    };
    resource(ResourceType::ClusterLoadAssignment, cluster, &message)
}

fn listener(name: &str, address: SocketAddr, tls: bool) -> Typed {
    let router = HttpFilter {
        name: "envoy.filters.http.router".into(),
        config_type: Some(http_filter::ConfigType::TypedConfig(any(&Router::default()))),
        ..HttpFilter::default()
    };
    let upgrade = http_connection_manager::UpgradeConfig {
        upgrade_type: "websocket".into(),
        ..http_connection_manager::UpgradeConfig::default()
    };
    let manager = HttpConnectionManager {
        stat_prefix: name.into(),
        http_filters: vec![router],
        // No peer makes ids.
        generate_request_id: Some(BoolValue { value: false }),
        upgrade_configs: vec![upgrade],
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
    let context = DownstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            alpn_protocols: vec!["h2".into(), "http/1.1".into()],
            tls_certificate_sds_secret_configs: vec![SdsSecretConfig {
                name: CERTIFICATE.into(),
                sds_config: ads(),
            }],
            ..CommonTlsContext::default()
        }),
        ..DownstreamTlsContext::default()
    };
    let transport = TransportSocket {
        name: "envoy.transport_sockets.tls".into(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(any(&context))),
    };
    let chain = FilterChain {
        filters: vec![network],
        transport_socket: tls.then_some(transport),
        ..FilterChain::default()
    };
    let message = Listener {
        name: name.into(),
        address: socket(address),
        filter_chains: vec![chain],
        ..Listener::default()
    };
    resource(ResourceType::Listener, name, &message)
}

fn route_table() -> Typed {
    let message = RouteConfiguration {
        name: TABLE.into(),
        vhds: Some(Vhds { config_source: ads() }),
        ..RouteConfiguration::default()
    };
    resource(ResourceType::RouteConfiguration, TABLE, &message)
}

fn secret((chain, key): (String, String)) -> Typed {
    let source = |text| {
        Some(DataSource {
            specifier: Some(data_source::Specifier::InlineString(text)),
            ..DataSource::default()
        })
    };
    let certificate = TlsCertificate {
        certificate_chain: source(chain),
        private_key: source(key),
        ..TlsCertificate::default()
    };
    let message =
        Secret { name: CERTIFICATE.into(), r#type: Some(secret::Type::TlsCertificate(certificate)) };
    resource(ResourceType::Secret, CERTIFICATE, &message)
}
