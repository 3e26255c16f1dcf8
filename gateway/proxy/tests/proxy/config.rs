// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Envoy resources in few words.

use gateway_config::{ConfigStore, Snapshot, Update};
use gateway_xds_api::ResourceType;
use gateway_xds_api::pb::envoy::config::accesslog::v3::{AccessLog, access_log};
use gateway_xds_api::pb::envoy::config::cluster::v3::{Cluster, cluster};
use gateway_xds_api::pb::envoy::config::core::v3::{
    Address, DataSource, Http2ProtocolOptions, HttpProtocolOptions, SocketAddress, SubstitutionFormatString,
    TransportSocket, address, data_source, socket_address, substitution_format_string, transport_socket,
};
use gateway_xds_api::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint,
};
use gateway_xds_api::pb::envoy::config::listener::v3::{
    Filter, FilterChain, FilterChainMatch, Listener, filter,
};
use gateway_xds_api::pb::envoy::config::route::v3::{
    Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost, route, route_action, route_match,
};
use gateway_xds_api::pb::envoy::extensions::access_loggers::file::v3::{FileAccessLog, file_access_log};
use gateway_xds_api::pb::envoy::extensions::filters::http::router::v3::Router;
use gateway_xds_api::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, http_connection_manager, http_filter,
};
use gateway_xds_api::pb::envoy::extensions::transport_sockets::tls::v3::{
    CommonTlsContext, DownstreamTlsContext, SdsSecretConfig, Secret, TlsCertificate, secret,
};
use gateway_xds_api::pb::envoy::extensions::upstreams::http::v3::{
    self as upstream_http, http_protocol_options,
};
use gateway_xds_api::pb::google::protobuf::{
    Any, BoolValue, Duration as PbDuration, Struct, Value, value::Kind,
};
use prost::{Message, Name};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub(crate) fn any<M: Message + Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}

pub(crate) fn time(duration: Duration) -> Option<PbDuration> {
    Some(PbDuration {
        seconds: i64::try_from(duration.as_secs()).unwrap(),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap(),
    })
}

pub(crate) fn yes() -> Option<BoolValue> {
    Some(BoolValue { value: true })
}

/// The resources of one gateway; changing them and taking a snapshot goes through the real store.
#[derive(Default)]
pub(crate) struct Resources {
    store: ConfigStore,
}

impl Resources {
    pub(crate) fn set<M: Message + Name>(
        &mut self,
        kind: ResourceType,
        name: &str,
        message: &M,
    ) -> Arc<Snapshot> {
        let applied = self.store.apply(Update {
            kind,
            upserts: vec![(name.to_owned(), any(message))],
            removals: vec![],
        });
        assert!(applied.rejections.is_empty(), "{:?}", applied.rejections);
        Arc::clone(self.store.snapshot())
    }

    pub(crate) fn remove(&mut self, kind: ResourceType, name: &str) -> Arc<Snapshot> {
        let applied = self.store.apply(Update { kind, upserts: vec![], removals: vec![name.to_owned()] });
        assert!(applied.rejections.is_empty(), "{:?}", applied.rejections);
        Arc::clone(self.store.snapshot())
    }

    pub(crate) fn clusters(&mut self, clusters: impl IntoIterator<Item = Cluster>) -> &mut Self {
        for cluster in clusters {
            self.set(ResourceType::Cluster, &cluster.name.clone(), &cluster);
        }
        self
    }

    pub(crate) fn listener(&mut self, listener: &Listener) -> Arc<Snapshot> {
        let snapshot = self.set(ResourceType::Listener, &listener.name, listener);
        assert!(snapshot.listeners.contains_key(&*listener.name), "{:?}", self.store.waiting());
        snapshot
    }

    pub(crate) fn certificate(&mut self, name: &str, certificate: &Certificate) -> Arc<Snapshot> {
        let inline = |text: &str| {
            Some(DataSource {
                specifier: Some(data_source::Specifier::InlineString(text.to_owned())),
                ..Default::default()
            })
        };
        let tls = TlsCertificate {
            certificate_chain: inline(&certificate.chain),
            private_key: inline(&certificate.key),
            ..Default::default()
        };
        self.set(
            ResourceType::Secret,
            name,
            &Secret { name: name.to_owned(), r#type: Some(secret::Type::TlsCertificate(tls)) },
        )
    }
}

pub(crate) fn address(address: SocketAddr) -> Option<Address> {
    let socket = SocketAddress {
        address: address.ip().to_string(),
        port_specifier: Some(socket_address::PortSpecifier::PortValue(address.port().into())),
        ..Default::default()
    };
    Some(Address { address: Some(address::Address::SocketAddress(socket)) })
}

/// A cluster with fixed HTTP/1.1 endpoints.
pub(crate) fn cluster(name: &str, endpoints: &[SocketAddr]) -> Cluster {
    let endpoint = |at: &SocketAddr| LbEndpoint {
        host_identifier: Some(lb_endpoint::HostIdentifier::Endpoint(Endpoint {
            address: address(*at),
            ..Default::default()
        })),
        ..Default::default()
    };
    let locality =
        LocalityLbEndpoints { lb_endpoints: endpoints.iter().map(endpoint).collect(), ..Default::default() };
    Cluster {
        name: name.to_owned(),
        connect_timeout: time(Duration::from_secs(1)),
        load_assignment: Some(ClusterLoadAssignment {
            cluster_name: name.to_owned(),
            endpoints: vec![locality],
            ..Default::default()
        }),
        cluster_discovery_type: Some(cluster::ClusterDiscoveryType::Type(
            cluster::DiscoveryType::Static.into(),
        )),
        ..Default::default()
    }
}

/// The same with HTTP/2 by prior knowledge.
pub(crate) fn http2_cluster(name: &str, endpoints: &[SocketAddr]) -> Cluster {
    let http2 = http_protocol_options::explicit_http_config::ProtocolConfig::Http2ProtocolOptions(
        Http2ProtocolOptions::default(),
    );
    let options = upstream_http::HttpProtocolOptions {
        upstream_protocol_options: Some(http_protocol_options::UpstreamProtocolOptions::ExplicitHttpConfig(
            http_protocol_options::ExplicitHttpConfig { protocol_config: Some(http2) },
        )),
        ..Default::default()
    };
    let mut cluster = cluster(name, endpoints);
    cluster
        .typed_extension_protocol_options
        .insert("envoy.extensions.upstreams.http.v3.HttpProtocolOptions".to_owned(), any(&options));
    cluster
}

pub(crate) fn prefix(path: &str) -> Option<RouteMatch> {
    Some(RouteMatch {
        path_specifier: Some(route_match::PathSpecifier::Prefix(path.to_owned())),
        ..Default::default()
    })
}

pub(crate) fn to(cluster: &str) -> RouteAction {
    RouteAction {
        cluster_specifier: Some(route_action::ClusterSpecifier::Cluster(cluster.to_owned())),
        ..Default::default()
    }
}

pub(crate) fn route(path: &str, action: RouteAction) -> Route {
    Route {
        name: format!("route {path}"),
        r#match: prefix(path),
        action: Some(route::Action::Route(action)),
        ..Default::default()
    }
}

pub(crate) fn host(routes: Vec<Route>) -> VirtualHost {
    VirtualHost { name: "host".to_owned(), domains: vec!["*".to_owned()], routes, ..Default::default() }
}

/// The HTTP settings of a listener with the given virtual hosts.
pub(crate) fn http(virtual_hosts: Vec<VirtualHost>) -> HttpConnectionManager {
    let table = RouteConfiguration { name: "table".to_owned(), virtual_hosts, ..Default::default() };
    HttpConnectionManager {
        stat_prefix: "http".to_owned(),
        server_name: "gatefleet".to_owned(),
        use_remote_address: yes(),
        normalize_path: yes(),
        merge_slashes: true,
        common_http_protocol_options: Some(HttpProtocolOptions::default()),
        http_filters: vec![filter("envoy.filters.http.router", &Router::default())],
        route_specifier: Some(http_connection_manager::RouteSpecifier::RouteConfig(table)),
        ..Default::default()
    }
}

pub(crate) fn filter<M: Message + Name>(name: &str, config: &M) -> HttpFilter {
    HttpFilter {
        name: name.to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(any(config))),
        ..Default::default()
    }
}

pub(crate) fn log_to(path: &std::path::Path) -> AccessLog {
    let file = FileAccessLog { path: path.to_str().unwrap().to_owned(), ..Default::default() };
    AccessLog {
        name: "envoy.access_loggers.file".to_owned(),
        config_type: Some(access_log::ConfigType::TypedConfig(any(&file))),
        ..Default::default()
    }
}

/// A log with the fields that tests look at.
pub(crate) fn json_log(path: &std::path::Path) -> AccessLog {
    let fields = [
        ("method", "%REQ(:METHOD)%"),
        ("path", "%REQ(:PATH)%"),
        ("response_code", "%RESPONSE_CODE%"),
        ("response_flags", "%RESPONSE_FLAGS%"),
        ("route_name", "%ROUTE_NAME%"),
        ("upstream_cluster", "%UPSTREAM_CLUSTER%"),
        ("bytes_received", "%BYTES_RECEIVED%"),
        ("bytes_sent", "%BYTES_SENT%"),
        ("upstream_host", "%UPSTREAM_HOST%"),
        ("user_agent", "%REQ(USER-AGENT)%"),
        ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
    ];
    let value = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
    let fields = fields.map(|(name, operator)| (name.to_owned(), value(operator)));
    let format = SubstitutionFormatString {
        format: Some(substitution_format_string::Format::JsonFormat(Struct { fields: fields.into() })),
        ..Default::default()
    };
    let file = FileAccessLog {
        path: path.to_str().unwrap().to_owned(),
        access_log_format: Some(file_access_log::AccessLogFormat::LogFormat(format)),
    };
    AccessLog {
        name: "envoy.access_loggers.file".to_owned(),
        config_type: Some(access_log::ConfigType::TypedConfig(any(&file))),
        ..Default::default()
    }
}

pub(crate) fn chain(http: &HttpConnectionManager) -> FilterChain {
    let manager = Filter {
        name: "envoy.filters.network.http_connection_manager".to_owned(),
        config_type: Some(filter::ConfigType::TypedConfig(any(http))),
    };
    FilterChain { filters: vec![manager], ..Default::default() }
}

/// A chain that ends TLS for some server names.
pub(crate) fn tls_chain(http: &HttpConnectionManager, names: &[&str], certificate: &str) -> FilterChain {
    let common = CommonTlsContext {
        tls_certificate_sds_secret_configs: vec![SdsSecretConfig {
            name: certificate.to_owned(),
            sds_config: ads(),
        }],
        alpn_protocols: vec!["h2".to_owned(), "http/1.1".to_owned()],
        ..Default::default()
    };
    let context = DownstreamTlsContext { common_tls_context: Some(common), ..Default::default() };
    FilterChain {
        name: names.join(","),
        filter_chain_match: Some(FilterChainMatch {
            server_names: names.iter().map(|name| (*name).to_owned()).collect(),
            ..Default::default()
        }),
        transport_socket: Some(TransportSocket {
            name: "envoy.transport_sockets.tls".to_owned(),
            config_type: Some(transport_socket::ConfigType::TypedConfig(any(&context))),
        }),
        ..chain(http)
    }
}

fn ads() -> Option<gateway_xds_api::pb::envoy::config::core::v3::ConfigSource> {
    use gateway_xds_api::pb::envoy::config::core::v3::{AggregatedConfigSource, ConfigSource, config_source};
    Some(ConfigSource {
        config_source_specifier: Some(config_source::ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..Default::default()
    })
}

/// A listener on a port that the kernel chooses.
pub(crate) fn listener(chains: Vec<FilterChain>) -> Listener {
    listener_named("listener/80", chains)
}

pub(crate) fn listener_named(name: &str, chains: Vec<FilterChain>) -> Listener {
    Listener {
        name: name.to_owned(),
        address: address(([127, 0, 0, 1], 0).into()),
        filter_chains: chains,
        ..Default::default()
    }
}

/// A self-signed certificate.
pub(crate) struct Certificate {
    pub(crate) chain: String,
    pub(crate) key: String,
    pub(crate) der: rustls::pki_types::CertificateDer<'static>,
}

impl Certificate {
    pub(crate) fn new(names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        Self { chain: made.cert.pem(), key: made.signing_key.serialize_pem(), der: made.cert.der().clone() }
    }
}
