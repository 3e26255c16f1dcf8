// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Listeners with a filter chain for each server name.

use crate::canonical::{CHAIN_METADATA, any, append, metadata};
use crate::http_manager::{BoundPlugin, manager};
use crate::value::{ads, number, seconds, socket_address};
use crate::{BindOptions, names};
use gateway_xds_api::pb::envoy::config::core::v3::{TransportSocket, transport_socket};
use gateway_xds_api::pb::envoy::config::listener::v3::{
    Filter, FilterChain as EnvoyChain, FilterChainMatch, Listener as EnvoyListener, ListenerFilter, filter,
    listener_filter,
};
use gateway_xds_api::pb::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use gateway_xds_api::pb::envoy::extensions::transport_sockets::tls::v3::{
    CommonTlsContext, DownstreamTlsContext, SdsSecretConfig, TlsParameters, tls_parameters::TlsProtocol,
};
use gateway_xds_api::{PackedResource, ResourceType, pack_encoded};
use operator_ir::{Application, FilterChain, HostPattern, Listener, TlsTermination};
use prost::Message;

/// Field of `Listener.filter_chains`.
const FILTER_CHAINS: u32 = 3;
/// Bytes that a connection may buffer in each direction.
const BUFFER_BYTES: u32 = 32 << 10;
/// Seconds for a ClientHello to arrive.
const INSPECT_SECONDS: u32 = 10;

/// Packs a listener; `plugins` in the order of the chain's names.
pub(crate) fn listener(
    listener: &Listener,
    plugins: impl Fn(&FilterChain) -> Vec<BoundPlugin>,
    options: &BindOptions,
) -> PackedResource {
    let name = names::listener(listener.port);
    let terminates = listener.chains.iter().any(|chain| chain.tls.is_some());
    let inspector = terminates.then(|| ListenerFilter {
        name: "envoy.filters.listener.tls_inspector".to_owned(),
        config_type: Some(listener_filter::ConfigType::TypedConfig(any(&TlsInspector::default()))),
        ..ListenerFilter::default()
    });
    let envoy = EnvoyListener {
        name: name.clone(),
        address: socket_address(options.address.clone(), options.bound_port(listener.port)),
        per_connection_buffer_limit_bytes: number(BUFFER_BYTES),
        listener_filters_timeout: if terminates { seconds(INSPECT_SECONDS) } else { None },
        listener_filters: inspector.into_iter().collect(),
        ..EnvoyListener::default()
    };
    let mut value = envoy.encode_to_vec();
    for chain in &listener.chains {
        append(&mut value, FILTER_CHAINS, &filter_chain(listener.port, chain, &plugins(chain), options));
    }
    let origin = origin(listener);
    pack_encoded(ResourceType::Listener, name, value, origin)
}

/// The one origin of all chains, or none.
fn origin(listener: &Listener) -> String {
    let mut origins = listener.chains.iter().map(|chain| &chain.origin);
    match origins.next() {
        Some(first) if origins.all(|origin| origin == first) => first.to_string(),
        _ => String::new(),
    }
}

fn filter_chain(port: u16, chain: &FilterChain, plugins: &[BoundPlugin], options: &BindOptions) -> Vec<u8> {
    let Application::Http { route_table } = &chain.application;
    let manager = manager(port, route_table, plugins, options);
    let http = Filter {
        name: "envoy.filters.network.http_connection_manager".to_owned(),
        config_type: Some(filter::ConfigType::TypedConfig(any(&manager))),
    };
    let envoy = EnvoyChain {
        name: chain.name.clone(),
        filter_chain_match: chain_match(chain),
        filters: vec![http],
        transport_socket: chain.tls.as_ref().map(downstream_tls),
        ..EnvoyChain::default()
    };
    let mut value = envoy.encode_to_vec();
    append(&mut value, CHAIN_METADATA, &metadata(&chain.origin));
    value
}

fn chain_match(chain: &FilterChain) -> Option<FilterChainMatch> {
    chain.tls.as_ref()?;
    let everything = chain.server_names.contains(&HostPattern::Any);
    Some(FilterChainMatch {
        transport_protocol: "tls".to_owned(),
        server_names: if everything {
            Vec::new()
        } else {
            chain.server_names.iter().map(ToString::to_string).collect()
        },
        ..FilterChainMatch::default()
    })
}

fn downstream_tls(tls: &TlsTermination) -> TransportSocket {
    let secret = |id| SdsSecretConfig { name: names::secret(id), sds_config: ads() };
    let context = DownstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            tls_params: Some(TlsParameters {
                tls_minimum_protocol_version: TlsProtocol::TlSv12.into(),
                tls_maximum_protocol_version: TlsProtocol::TlSv13.into(),
                ..TlsParameters::default()
            }),
            tls_certificate_sds_secret_configs: tls.certificates.iter().map(secret).collect(),
            alpn_protocols: vec!["h2".to_owned(), "http/1.1".to_owned()],
            ..CommonTlsContext::default()
        }),
        ..DownstreamTlsContext::default()
    };
    TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(any(&context))),
    }
}
