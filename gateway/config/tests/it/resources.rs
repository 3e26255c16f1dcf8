// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Resources for tests, as a control plane writes them.

use gateway_xds_api::pb::envoy::config::cluster::v3::{Cluster, cluster};
use gateway_xds_api::pb::envoy::config::core::v3::{
    Address, AggregatedConfigSource, ConfigSource, SocketAddress, address,
    config_source::ConfigSourceSpecifier, socket_address,
};
use gateway_xds_api::pb::envoy::config::core::v3::{
    DataSource, TransportSocket, data_source, transport_socket,
};
use gateway_xds_api::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint,
};
use gateway_xds_api::pb::envoy::config::listener::v3::{
    Filter, FilterChain, FilterChainMatch, Listener, filter,
};
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
use gateway_xds_api::pb::google::protobuf::Any;
use gateway_xds_api::{PackedResource, ResourceType, pack};

pub(crate) use gateway_xds_api::pb::envoy::config::route::v3::route_match::PathSpecifier;

pub(crate) fn ads() -> Option<ConfigSource> {
    let config_source_specifier = Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource::default()));
    Some(ConfigSource { config_source_specifier, ..ConfigSource::default() })
}

/// Packs a part of a resource; `name` is the type's full name.
pub(crate) fn typed(name: &str, value: &[u8]) -> Any {
    Any { type_url: format!("type.googleapis.com/{name}"), value: value.to_vec() }
}

pub(crate) fn route(name: &str, path: PathSpecifier) -> Route {
    let matcher = RouteMatch { path_specifier: Some(path), ..RouteMatch::default() };
    let action = RouteAction {
        cluster_specifier: Some(route_action::ClusterSpecifier::Cluster("c".to_owned())),
        ..RouteAction::default()
    };
    Route {
        name: name.to_owned(),
        r#match: Some(matcher),
        action: Some(route::Action::Route(action)),
        ..Route::default()
    }
}

pub(crate) fn prefix(name: &str, prefix: &str) -> Route {
    route(name, route_match::PathSpecifier::Prefix(prefix.to_owned()))
}

pub(crate) fn host(name: &str, domains: &[&str], routes: Vec<Route>) -> VirtualHost {
    VirtualHost {
        name: name.to_owned(),
        domains: domains.iter().map(ToString::to_string).collect(),
        routes,
        ..VirtualHost::default()
    }
}

/// A VirtualHost resource `<table>/<domain>`.
pub(crate) fn packed_host(table: &str, domain: &str, routes: Vec<Route>) -> PackedResource {
    let name = format!("{table}/{domain}");
    let message = host(&name, &[domain], routes);
    pack(ResourceType::VirtualHost, name, &message, "")
}

pub(crate) fn table(name: &str, hosts: Vec<VirtualHost>) -> PackedResource {
    let message =
        RouteConfiguration { name: name.to_owned(), virtual_hosts: hosts, ..RouteConfiguration::default() };
    pack(ResourceType::RouteConfiguration, name, &message, "")
}

pub(crate) fn vhds_table(name: &str) -> PackedResource {
    let message = RouteConfiguration {
        name: name.to_owned(),
        vhds: Some(Vhds { config_source: ads() }),
        ignore_port_in_host_matching: true,
        ..RouteConfiguration::default()
    };
    pack(ResourceType::RouteConfiguration, name, &message, "")
}

pub(crate) fn manager(rds: &str) -> HttpConnectionManager {
    let router = pack(ResourceType::Secret, "", &Router::default(), "").value;
    let router = typed("envoy.extensions.filters.http.router.v3.Router", &router);
    HttpConnectionManager {
        stat_prefix: "test".to_owned(),
        route_specifier: Some(http_connection_manager::RouteSpecifier::Rds(Rds {
            config_source: ads(),
            route_config_name: rds.to_owned(),
        })),
        http_filters: vec![HttpFilter {
            name: "router".to_owned(),
            config_type: Some(http_filter::ConfigType::TypedConfig(router)),
            ..HttpFilter::default()
        }],
        ..HttpConnectionManager::default()
    }
}

pub(crate) fn chain(names: &[&str], manager: &HttpConnectionManager, secret: Option<&str>) -> FilterChain {
    let packed = pack(ResourceType::Listener, "", manager, "").value;
    let any =
        typed("envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", &packed);
    let server_names = names.iter().map(ToString::to_string).collect();
    FilterChain {
        name: names.join(","),
        filter_chain_match: Some(FilterChainMatch { server_names, ..FilterChainMatch::default() }),
        filters: vec![Filter {
            name: "http".to_owned(),
            config_type: Some(filter::ConfigType::TypedConfig(any)),
        }],
        transport_socket: secret.map(downstream_tls),
        ..FilterChain::default()
    }
}

fn downstream_tls(secret: &str) -> TransportSocket {
    let certificates = vec![SdsSecretConfig { name: secret.to_owned(), sds_config: ads() }];
    let common =
        CommonTlsContext { tls_certificate_sds_secret_configs: certificates, ..CommonTlsContext::default() };
    let context =
        DownstreamTlsContext { common_tls_context: Some(common), ..DownstreamTlsContext::default() };
    let packed = pack(ResourceType::Listener, "", &context, "").value;
    let any = typed("envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext", &packed);
    TransportSocket {
        name: "tls".to_owned(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(any)),
    }
}

pub(crate) fn socket(host: &str, port: u32) -> Option<Address> {
    let port_specifier = Some(socket_address::PortSpecifier::PortValue(port));
    let socket = SocketAddress { address: host.to_owned(), port_specifier, ..SocketAddress::default() };
    Some(Address { address: Some(address::Address::SocketAddress(socket)) })
}

pub(crate) fn listener(name: &str, chains: Vec<FilterChain>) -> PackedResource {
    pack(ResourceType::Listener, name, &listener_message(name, chains), "")
}

pub(crate) fn listener_message(name: &str, chains: Vec<FilterChain>) -> Listener {
    Listener {
        name: name.to_owned(),
        address: socket("0.0.0.0", 10080),
        filter_chains: chains,
        ..Listener::default()
    }
}

pub(crate) fn cluster_message(name: &str) -> Cluster {
    Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(cluster::ClusterDiscoveryType::Type(cluster::DiscoveryType::Eds as i32)),
        eds_cluster_config: Some(cluster::EdsClusterConfig {
            eds_config: ads(),
            service_name: String::new(),
        }),
        ..Cluster::default()
    }
}

pub(crate) fn cluster(name: &str) -> PackedResource {
    pack(ResourceType::Cluster, name, &cluster_message(name), "")
}

pub(crate) fn endpoints(name: &str, addresses: &[&str]) -> PackedResource {
    let endpoint = |address: &&str| LbEndpoint {
        host_identifier: Some(lb_endpoint::HostIdentifier::Endpoint(Endpoint {
            address: socket(address, 8080),
            ..Endpoint::default()
        })),
        ..LbEndpoint::default()
    };
    let locality = LocalityLbEndpoints {
        lb_endpoints: addresses.iter().map(endpoint).collect(),
        ..LocalityLbEndpoints::default()
    };
    let message = ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: vec![locality],
        ..ClusterLoadAssignment::default()
    };
    pack(ResourceType::ClusterLoadAssignment, name, &message, "")
}

/// A certificate for `host` with its key.
pub(crate) fn certificate(name: &str, host: &str) -> PackedResource {
    let made = rcgen::generate_simple_self_signed(vec![host.to_owned()]).unwrap();
    secret_of(name, &made.cert.pem(), &made.signing_key.serialize_pem())
}

pub(crate) fn secret_of(name: &str, chain: &str, key: &str) -> PackedResource {
    let inline = |text: &str| {
        Some(DataSource {
            specifier: Some(data_source::Specifier::InlineString(text.to_owned())),
            ..DataSource::default()
        })
    };
    let certificate = TlsCertificate {
        certificate_chain: inline(chain),
        private_key: inline(key),
        ..TlsCertificate::default()
    };
    let message = Secret { name: name.to_owned(), r#type: Some(secret::Type::TlsCertificate(certificate)) };
    pack(ResourceType::Secret, name, &message, "")
}
