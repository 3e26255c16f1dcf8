// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Listeners with their filter chains.

use crate::route::CORS_FILTER;
use crate::wire::{ads, any, boolean, millis, number, origin_metadata, socket_address};
use crate::{BindOptions, PluginModule, access_log, names, plugin};
use gateway_xds_api::pb::envoy::config::core::v3::{
    self as core, http_protocol_options::HeadersWithUnderscoresAction,
};
use gateway_xds_api::pb::envoy::config::listener::v3 as listener;
use gateway_xds_api::pb::envoy::extensions::filters::http::cors::v3::Cors;
use gateway_xds_api::pb::envoy::extensions::filters::http::router::v3::Router;
use gateway_xds_api::pb::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use gateway_xds_api::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use gateway_xds_api::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
use hcm::http_connection_manager::{PathWithEscapedSlashesAction, RouteSpecifier, UpgradeConfig};
use operator_ir::{
    Application, FailurePolicy, FilterChain, HostPattern, Listener, Plugin, RouteTableId, TlsTermination,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Client waits, in milliseconds: the head of a request, an idle connection, a stream on which nothing moves.
const HEADERS_MS: u64 = 10_000;
const IDLE_MS: u64 = 3_600_000;
const STREAM_IDLE_MS: u64 = 300_000;
/// Head of a request in KiB, and how many headers.
const HEAD_KIB: u32 = 60;
const HEADER_COUNT: u32 = 100;
/// HTTP/2: streams at a time, window of a stream and of a connection (Envoy, edge best practices).
const STREAMS: u32 = 100;
const STREAM_WINDOW: u32 = 65_536;
const CONNECTION_WINDOW: u32 = 1_048_576;
/// Bytes buffered for a connection before the other side has to wait.
const BUFFER: u32 = 32_768;

/// The plugins of a gateway with what the relay holds of them.
pub(crate) struct Plugins<'a> {
    pub(crate) declared: &'a BTreeMap<String, Arc<Plugin>>,
    pub(crate) modules: &'a BTreeMap<String, PluginModule>,
}

/// Why a listener cannot be served as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Withheld {
    /// A plugin without which requests must not pass is not there yet.
    PluginMissing,
    /// Its port would pass 65535.
    PortOutOfRange,
}

pub(crate) fn listener(
    declared: &Listener,
    bind: &BindOptions,
    plugins: &Plugins<'_>,
) -> Result<listener::Listener, Withheld> {
    let Listener { port, chains } = declared;
    let bound = bind.port(*port).ok_or(Withheld::PortOutOfRange)?;
    let filter_chains =
        chains.iter().map(|chain| filter_chain(*port, chain, bind, plugins)).collect::<Result<_, _>>()?;
    let inspect = chains.iter().any(|chain| chain.tls.is_some());
    Ok(listener::Listener {
        name: names::listener(*port),
        address: Some(socket_address(bind.address, bound)),
        filter_chains,
        listener_filters: inspect.then(tls_inspector).into_iter().collect(),
        per_connection_buffer_limit_bytes: number(BUFFER),
        metadata: chains.first().map(|chain| origin_metadata(&chain.origin)),
        ..Default::default()
    })
}

fn tls_inspector() -> listener::ListenerFilter {
    let config = any(&TlsInspector::default());
    listener::ListenerFilter {
        name: "envoy.filters.listener.tls_inspector".to_owned(),
        config_type: Some(listener::listener_filter::ConfigType::TypedConfig(config)),
        ..Default::default()
    }
}

fn filter_chain(
    port: u16,
    chain: &FilterChain,
    bind: &BindOptions,
    plugins: &Plugins<'_>,
) -> Result<listener::FilterChain, Withheld> {
    let FilterChain { name, server_names, tls, application, plugins: wanted, origin } = chain;
    let Application::Http { route_table } = application;
    let filters = http_filters(wanted, plugins, &bind.plugin_source)?;
    let manager = any(&connection_manager(port, route_table, filters));
    let matched = tls.as_ref().map(|_| listener::FilterChainMatch {
        server_names: server_names
            .iter()
            .filter(|n| **n != HostPattern::Any)
            .map(ToString::to_string)
            .collect(),
        transport_protocol: "tls".to_owned(),
        ..Default::default()
    });
    Ok(listener::FilterChain {
        name: name.clone(),
        filter_chain_match: matched,
        filters: vec![listener::Filter {
            name: "envoy.filters.network.http_connection_manager".to_owned(),
            config_type: Some(listener::filter::ConfigType::TypedConfig(manager)),
        }],
        transport_socket: tls.as_ref().map(transport_socket),
        metadata: Some(origin_metadata(origin)),
        ..Default::default()
    })
}

fn transport_socket(termination: &TlsTermination) -> core::TransportSocket {
    let secrets = termination
        .certificates
        .iter()
        .map(|id| tls::SdsSecretConfig { name: names::secret(id), sds_config: Some(ads()) });
    let context = tls::DownstreamTlsContext {
        common_tls_context: Some(tls::CommonTlsContext {
            tls_params: Some(tls::TlsParameters {
                tls_minimum_protocol_version: tls::tls_parameters::TlsProtocol::TlSv12.into(),
                ..Default::default()
            }),
            tls_certificate_sds_secret_configs: secrets.collect(),
            alpn_protocols: vec!["h2".to_owned(), "http/1.1".to_owned()],
            ..Default::default()
        }),
        ..Default::default()
    };
    core::TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(core::transport_socket::ConfigType::TypedConfig(any(&context))),
    }
}

/// Plugins in their order, then CORS, then the router. A plugin that may fail open is left out until its module is there.
fn http_filters(
    wanted: &[String],
    plugins: &Plugins<'_>,
    source: &str,
) -> Result<Vec<hcm::HttpFilter>, Withheld> {
    let mut filters = Vec::new();
    for declared in wanted.iter().filter_map(|name| plugins.declared.get(name)) {
        match plugins.modules.get(&declared.image) {
            Some(module) => filters.push(plugin::filter(declared, module, source)),
            None if declared.failure_policy == FailurePolicy::FailOpen => {}
            None => return Err(Withheld::PluginMissing),
        }
    }
    filters.push(builtin(CORS_FILTER, any(&Cors {})));
    filters.push(builtin("envoy.filters.http.router", any(&Router::default())));
    Ok(filters)
}

fn builtin(name: &str, config: gateway_xds_api::pb::google::protobuf::Any) -> hcm::HttpFilter {
    let config_type = Some(hcm::http_filter::ConfigType::TypedConfig(config));
    hcm::HttpFilter { name: name.to_owned(), config_type, ..Default::default() }
}

fn connection_manager(
    port: u16,
    table: &RouteTableId,
    filters: Vec<hcm::HttpFilter>,
) -> hcm::HttpConnectionManager {
    let rds = hcm::Rds { config_source: Some(ads()), route_config_name: names::route_configuration(table) };
    hcm::HttpConnectionManager {
        stat_prefix: format!("http_{port}"),
        route_specifier: Some(RouteSpecifier::Rds(rds)),
        http_filters: filters,
        server_name: "gatefleet".to_owned(),
        use_remote_address: boolean(true),
        normalize_path: boolean(true),
        path_with_escaped_slashes_action: PathWithEscapedSlashesAction::UnescapeAndRedirect.into(),
        max_request_headers_kb: number(HEAD_KIB),
        request_headers_timeout: Some(millis(HEADERS_MS)),
        stream_idle_timeout: Some(millis(STREAM_IDLE_MS)),
        common_http_protocol_options: Some(core::HttpProtocolOptions {
            idle_timeout: Some(millis(IDLE_MS)),
            max_headers_count: number(HEADER_COUNT),
            headers_with_underscores_action: HeadersWithUnderscoresAction::RejectRequest.into(),
            ..Default::default()
        }),
        http2_protocol_options: Some(core::Http2ProtocolOptions {
            max_concurrent_streams: number(STREAMS),
            initial_stream_window_size: number(STREAM_WINDOW),
            initial_connection_window_size: number(CONNECTION_WINDOW),
            ..Default::default()
        }),
        upgrade_configs: vec![UpgradeConfig { upgrade_type: "websocket".to_owned(), ..Default::default() }],
        access_log: vec![access_log::stdout_json()],
        ..Default::default()
    }
}
