// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Envoy resources as the control plane sends them to an edge.

use gateway_xds_api::ResourceType;
use gateway_xds_api::pb::envoy::config::cluster::v3::{Cluster, cluster};
use gateway_xds_api::pb::envoy::config::core::v3::http_protocol_options::HeadersWithUnderscoresAction;
use gateway_xds_api::pb::envoy::config::core::v3::{
    Address, AggregatedConfigSource, ConfigSource, HeaderValue, HeaderValueOption, Http2ProtocolOptions,
    HttpProtocolOptions, SocketAddress, TransportSocket, address, config_source, socket_address,
    transport_socket,
};
use gateway_xds_api::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint,
};
use gateway_xds_api::pb::envoy::config::listener::v3::{
    Filter, FilterChain, Listener, ListenerFilter, filter, listener_filter,
};
use gateway_xds_api::pb::envoy::config::route::v3::{
    Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost, route, route_action, route_match,
};
use gateway_xds_api::pb::envoy::extensions::filters::http::router::v3::Router;
use gateway_xds_api::pb::envoy::extensions::filters::listener::proxy_protocol::v3::ProxyProtocol;
use gateway_xds_api::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, Rds, http_connection_manager, http_filter,
};
use gateway_xds_api::pb::envoy::extensions::transport_sockets::tls::v3::{
    CommonTlsContext, DownstreamTlsContext, SdsSecretConfig,
};
use gateway_xds_api::pb::envoy::extensions::upstreams::http::v3::{
    self as upstream, http_protocol_options as protocol,
};
use gateway_xds_api::pb::google::protobuf::{Any, BoolValue, Duration};
use prost::{Message, Name};
use std::net::SocketAddr;

/// A resource with its type and name.
#[derive(Clone, Debug)]
pub(crate) struct Typed {
    pub(crate) kind: ResourceType,
    pub(crate) name: String,
    pub(crate) body: Any,
}

/// A message in its envelope.
pub(crate) fn any<M: Message + Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}

/// How a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// HTTP/1.1 and HTTP/2 by prior knowledge.
    Plain,
    /// HTTP/2 alone, in plain text.
    Http2,
    /// HTTP/1.1 and HTTP/2 over TLS with the certificate of that name.
    Tls(&'static str),
}

/// A listener on a port that the kernel chooses, with the settings of an edge, served by a route table.
pub(crate) fn listener(name: &str, speaks: Speaks, table: &str) -> Typed {
    listener_at(name, ([127, 0, 0, 1], 0).into(), speaks, table)
}

/// The same at an address.
pub(crate) fn listener_at(name: &str, at: SocketAddr, speaks: Speaks, table: &str) -> Typed {
    let chain = chain(speaks, manager(name, speaks, table));
    listener_of(Listener {
        name: name.into(),
        address: socket(at),
        filter_chains: vec![chain],
        ..Listener::default()
    })
}

/// The same with little time for everything that a client can let wait; `proxied`: connections begin with a PROXY protocol header.
pub(crate) fn impatient(
    (name, at): (&str, SocketAddr),
    (speaks, proxied): (Speaks, bool),
    table: &str,
    limit: std::time::Duration,
) -> Typed {
    let duration = |limit: std::time::Duration| {
        let (seconds, nanos) = (limit.as_secs().try_into().ok()?, limit.subsec_nanos().try_into().ok()?);
        Some(Duration { seconds, nanos })
    };
    let (whole, limit) = (duration(limit * 2), duration(limit));
    let http = HttpConnectionManager {
        request_headers_timeout: limit,
        stream_idle_timeout: limit,
        request_timeout: whole,
        ..manager(name, speaks, table)
    };
    let filter = ListenerFilter {
        name: "envoy.filters.listener.proxy_protocol".into(),
        config_type: Some(listener_filter::ConfigType::TypedConfig(any(&ProxyProtocol::default()))),
        ..ListenerFilter::default()
    };
    listener_of(Listener {
        name: name.into(),
        address: socket(at),
        listener_filters: proxied.then_some(filter).into_iter().collect(),
        listener_filters_timeout: limit,
        filter_chains: vec![FilterChain { transport_socket_connect_timeout: limit, ..chain(speaks, http) }],
        ..Listener::default()
    })
}

/// The same at an address, with another `server` in its answers.
pub(crate) fn listener_with(name: &str, at: SocketAddr, speaks: Speaks, table: &str, server: &str) -> Typed {
    let http = HttpConnectionManager { server_name: server.into(), ..manager(name, speaks, table) };
    listener_of(Listener {
        name: name.into(),
        address: socket(at),
        filter_chains: vec![chain(speaks, http)],
        ..Listener::default()
    })
}

fn listener_of(message: Listener) -> Typed {
    Typed { kind: ResourceType::Listener, name: message.name.clone(), body: any(&message) }
}

fn manager(name: &str, speaks: Speaks, table: &str) -> HttpConnectionManager {
    let router = HttpFilter {
        name: "envoy.filters.http.router".into(),
        config_type: Some(http_filter::ConfigType::TypedConfig(any(&Router::default()))),
        ..HttpFilter::default()
    };
    let upgrade = http_connection_manager::UpgradeConfig {
        upgrade_type: "websocket".into(),
        ..http_connection_manager::UpgradeConfig::default()
    };
    HttpConnectionManager {
        stat_prefix: name.into(),
        codec_type: match speaks {
            Speaks::Http2 => http_connection_manager::CodecType::Http2.into(),
            _ => http_connection_manager::CodecType::Auto.into(),
        },
        common_http_protocol_options: Some(HttpProtocolOptions {
            headers_with_underscores_action: HeadersWithUnderscoresAction::RejectRequest.into(),
            ..HttpProtocolOptions::default()
        }),
        use_remote_address: Some(BoolValue { value: true }),
        normalize_path: Some(BoolValue { value: true }),
        path_with_escaped_slashes_action:
            http_connection_manager::PathWithEscapedSlashesAction::UnescapeAndRedirect.into(),
        http_filters: vec![router],
        upgrade_configs: vec![upgrade],
        route_specifier: Some(http_connection_manager::RouteSpecifier::Rds(Rds {
            config_source: ads(),
            route_config_name: table.into(),
        })),
        ..HttpConnectionManager::default()
    }
}

fn chain(speaks: Speaks, http: HttpConnectionManager) -> FilterChain {
    let network = Filter {
        name: "envoy.filters.network.http_connection_manager".into(),
        config_type: Some(filter::ConfigType::TypedConfig(any(&http))),
    };
    FilterChain {
        filters: vec![network],
        transport_socket: match speaks {
            Speaks::Tls(certificate) => Some(tls(certificate)),
            _ => None,
        },
        ..FilterChain::default()
    }
}

fn tls(certificate: &str) -> TransportSocket {
    let context = DownstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            alpn_protocols: vec!["h2".into(), "http/1.1".into()],
            tls_certificate_sds_secret_configs: vec![SdsSecretConfig {
                name: certificate.into(),
                sds_config: ads(),
            }],
            ..CommonTlsContext::default()
        }),
        ..DownstreamTlsContext::default()
    };
    TransportSocket {
        name: "envoy.transport_sockets.tls".into(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(any(&context))),
    }
}

/// A route table whose hosts all send everything to a cluster by prefix; the longest prefixes first.
pub(crate) fn table(name: &str, to: &[(&str, &str)]) -> Typed {
    Typed { kind: ResourceType::RouteConfiguration, name: name.into(), body: any(&routes(name, to)) }
}

fn routes(name: &str, routes: &[(&str, &str)]) -> RouteConfiguration {
    let routes = routes.iter().map(|(prefix, cluster)| Route {
        name: format!("to {cluster}"),
        r#match: Some(RouteMatch {
            path_specifier: Some(route_match::PathSpecifier::Prefix((*prefix).into())),
            ..RouteMatch::default()
        }),
        action: Some(route::Action::Route(RouteAction {
            cluster_specifier: Some(route_action::ClusterSpecifier::Cluster((*cluster).into())),
            timeout: Some(Duration { seconds: 30, nanos: 0 }),
            ..RouteAction::default()
        })),
        ..Route::default()
    });
    let host = VirtualHost {
        name: "all".into(),
        domains: vec!["*".into()],
        routes: routes.collect(),
        ..VirtualHost::default()
    };
    RouteConfiguration { name: name.into(), virtual_hosts: vec![host], ..RouteConfiguration::default() }
}

/// A route table that sends everything to one cluster and says in its answers which generation it is (`x-generation`).
pub(crate) fn table_saying(name: &str, cluster: &str, generation: &str) -> Typed {
    let said = HeaderValueOption {
        header: Some(HeaderValue {
            key: "x-generation".into(),
            value: generation.into(),
            ..HeaderValue::default()
        }),
        ..HeaderValueOption::default()
    };
    let message =
        RouteConfiguration { response_headers_to_add: vec![said], ..routes(name, &[("/", cluster)]) };
    Typed { kind: ResourceType::RouteConfiguration, name: name.into(), body: any(&message) }
}

/// A cluster that no gateway takes: its policy does not exist.
pub(crate) fn broken_cluster(name: &str, generation: usize) -> Typed {
    let message = Cluster {
        name: name.into(),
        alt_stat_name: generation.to_string(),
        lb_policy: 99,
        ..Cluster::default()
    };
    Typed { kind: ResourceType::Cluster, name: name.into(), body: any(&message) }
}

/// A cluster whose endpoints come by themselves.
pub(crate) fn discovered(name: &str) -> Typed {
    let message = Cluster {
        name: name.into(),
        connect_timeout: Some(Duration { seconds: 2, nanos: 0 }),
        cluster_discovery_type: Some(cluster::ClusterDiscoveryType::Type(cluster::DiscoveryType::Eds.into())),
        eds_cluster_config: Some(cluster::EdsClusterConfig {
            eds_config: ads(),
            service_name: String::new(),
        }),
        ..Cluster::default()
    };
    Typed { kind: ResourceType::Cluster, name: name.into(), body: any(&message) }
}

/// The endpoints of such a cluster.
pub(crate) fn assigned(cluster: &str, at: &[SocketAddr]) -> Typed {
    let body = any(&assignment(cluster, at));
    Typed { kind: ResourceType::ClusterLoadAssignment, name: cluster.into(), body }
}

/// A cluster of fixed endpoints, by HTTP/1.1 or HTTP/2.
pub(crate) fn cluster(name: &str, at: &[SocketAddr], http2: bool) -> Typed {
    let mut message = Cluster {
        name: name.into(),
        connect_timeout: Some(Duration { seconds: 2, nanos: 0 }),
        cluster_discovery_type: Some(cluster::ClusterDiscoveryType::Type(
            cluster::DiscoveryType::Static.into(),
        )),
        load_assignment: Some(assignment(name, at)),
        ..Cluster::default()
    };
    if http2 {
        let config = protocol::explicit_http_config::ProtocolConfig::Http2ProtocolOptions(
            Http2ProtocolOptions::default(),
        );
        let explicit = protocol::ExplicitHttpConfig { protocol_config: Some(config) };
        let options = upstream::HttpProtocolOptions {
            upstream_protocol_options: Some(protocol::UpstreamProtocolOptions::ExplicitHttpConfig(explicit)),
            ..upstream::HttpProtocolOptions::default()
        };
        let key = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions".to_owned();
        message.typed_extension_protocol_options.insert(key, any(&options));
    }
    Typed { kind: ResourceType::Cluster, name: name.into(), body: any(&message) }
}

fn assignment(cluster: &str, at: &[SocketAddr]) -> ClusterLoadAssignment {
    let endpoint = |at: &SocketAddr| LbEndpoint {
        host_identifier: Some(lb_endpoint::HostIdentifier::Endpoint(Endpoint {
            address: socket(*at),
            ..Endpoint::default()
        })),
        ..LbEndpoint::default()
    };
    let place = LocalityLbEndpoints {
        lb_endpoints: at.iter().map(endpoint).collect(),
        ..LocalityLbEndpoints::default()
    };
    ClusterLoadAssignment {
        cluster_name: cluster.into(),
        endpoints: vec![place],
        ..ClusterLoadAssignment::default()
    }
}

fn ads() -> Option<ConfigSource> {
    let specifier = config_source::ConfigSourceSpecifier::Ads(AggregatedConfigSource {});
    Some(ConfigSource {
        config_source_specifier: Some(specifier),
        resource_api_version: 2,
        ..ConfigSource::default()
    })
}

fn socket(at: SocketAddr) -> Option<Address> {
    let socket = SocketAddress {
        address: at.ip().to_string(),
        port_specifier: Some(socket_address::PortSpecifier::PortValue(at.port().into())),
        ..SocketAddress::default()
    };
    Some(Address { address: Some(address::Address::SocketAddress(socket)) })
}
