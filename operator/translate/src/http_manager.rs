// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What speaks HTTP on a filter chain: protocol limits, path normalisation, filters.

use crate::access_log::access_log;
use crate::canonical::any;
use crate::value::{ads, number, seconds, yes};
use crate::{BindOptions, PluginFact, cors, names, wasm};
use gateway_xds_api::pb::envoy::config::core::v3::{
    Http1ProtocolOptions, Http2ProtocolOptions, HttpProtocolOptions,
    http_protocol_options::HeadersWithUnderscoresAction,
};
use gateway_xds_api::pb::envoy::extensions::filters::http::{cors::v3::Cors, router::v3::Router};
use gateway_xds_api::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    PathWithEscapedSlashesAction, RouteSpecifier, UpgradeConfig,
};
use gateway_xds_api::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, Rds, http_filter::ConfigType,
};
use operator_ir::{Plugin, RouteTableId};
use prost::{Message, Name};
use std::sync::Arc;

/// A plugin of a chain with what the cluster knows of it.
pub(crate) type BoundPlugin = (Arc<Plugin>, Option<Arc<PluginFact>>);

/// Seconds until an idle connection is closed.
const IDLE_SECONDS: u32 = 3600;
/// Seconds without a byte on a stream.
const STREAM_IDLE_SECONDS: u32 = 300;
/// Seconds for a request to arrive as a whole.
const REQUEST_SECONDS: u32 = 300;
/// Seconds for a request's headers to arrive.
const HEADERS_SECONDS: u32 = 10;
/// Concurrent requests of one HTTP/2 connection.
const H2_STREAMS: u32 = 100;
/// Flow-control window of one HTTP/2 stream.
const H2_STREAM_WINDOW: u32 = 64 << 10;
/// Flow-control window of one HTTP/2 connection.
const H2_CONNECTION_WINDOW: u32 = 1 << 20;

/// Settings follow Envoy's advice for edge proxies ("Configuring Envoy as an edge proxy").
pub(crate) fn manager(
    port: u16,
    table: &RouteTableId,
    plugins: &[BoundPlugin],
    options: &BindOptions,
) -> HttpConnectionManager {
    let rds = Rds { config_source: ads(), route_config_name: names::route_configuration(table) };
    HttpConnectionManager {
        stat_prefix: format!("http_{port}"),
        route_specifier: Some(RouteSpecifier::Rds(rds)),
        http_filters: filters(plugins),
        common_http_protocol_options: Some(HttpProtocolOptions {
            idle_timeout: seconds(IDLE_SECONDS),
            headers_with_underscores_action: HeadersWithUnderscoresAction::RejectRequest.into(),
            ..HttpProtocolOptions::default()
        }),
        http_protocol_options: Some(Http1ProtocolOptions::default()),
        http2_protocol_options: Some(Http2ProtocolOptions {
            max_concurrent_streams: number(H2_STREAMS),
            initial_stream_window_size: number(H2_STREAM_WINDOW),
            initial_connection_window_size: number(H2_CONNECTION_WINDOW),
            ..Http2ProtocolOptions::default()
        }),
        server_name: options.server_name.clone(),
        stream_idle_timeout: seconds(STREAM_IDLE_SECONDS),
        request_timeout: seconds(REQUEST_SECONDS),
        request_headers_timeout: seconds(HEADERS_SECONDS),
        access_log: options.access_log.then(access_log).into_iter().collect(),
        use_remote_address: yes(true),
        upgrade_configs: vec![UpgradeConfig {
            upgrade_type: "websocket".to_owned(),
            ..UpgradeConfig::default()
        }],
        normalize_path: yes(true),
        merge_slashes: false,
        path_with_escaped_slashes_action: PathWithEscapedSlashesAction::UnescapeAndRedirect.into(),
        ..HttpConnectionManager::default()
    }
}

/// The cors filter is always there: it does nothing without a route's policy, and putting it in later would drain the
/// listener's connections.
fn filters(plugins: &[BoundPlugin]) -> Vec<HttpFilter> {
    let plugins = plugins.iter().map(|(plugin, fact)| wasm::filter(plugin, fact.as_deref()));
    std::iter::once(filter(cors::FILTER, &Cors::default()))
        .chain(plugins)
        .chain(std::iter::once(filter("envoy.filters.http.router", &router())))
        .collect()
}

/// Neither clients nor origins have a use for `x-envoy-*`.
fn router() -> Router {
    Router { suppress_envoy_headers: true, ..Router::default() }
}

fn filter<M: Message + Name>(name: &str, config: &M) -> HttpFilter {
    HttpFilter {
        name: name.to_owned(),
        config_type: Some(ConfigType::TypedConfig(any(config))),
        ..HttpFilter::default()
    }
}
