// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes what connections of clusters speak, how long they live and where they come from.

use crate::decode::endpoints::socket_addresses;
use crate::decode::http::{http1, http2};
use crate::decode::socket::request_names;
use crate::decode::{Fault, Scope, fields, number, truth, type_name};
use crate::{ConnectionSettings, Keepalive, RequestNames, TcpKeepalive, UpstreamProtocol};
use gateway_xds_api::pb::envoy::config::core::v3 as core;
use gateway_xds_api::pb::envoy::extensions::upstreams::http::v3::{
    self as http_pb, http_protocol_options as options_pb,
};
use gateway_xds_api::pb::google::protobuf::Any;
use gateway_xds_api::unpack;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
/// Pings, and the time for their answers, are not shorter.
const SHORTEST_PING: Duration = Duration::from_millis(1);
/// The largest head of an answer, KiB.
const LARGEST_HEAD_KIB: u32 = 8192;

/// What connections speak, and how long they live.
#[derive(Default)]
pub(crate) struct HttpOptions {
    pub(crate) protocol: UpstreamProtocol,
    pub(crate) connection: ConnectionSettings,
    pub(crate) request_names: Option<RequestNames>,
}

/// From the cluster's extensions.
pub(crate) fn extension_options(
    scope: &mut Scope,
    http: &mut HttpOptions,
    options: HashMap<String, Any>,
) -> Result<(), Fault> {
    for (name, any) in options {
        scope.at(format_args!("typed_extension_protocol_options[{name:?}]"), |scope| {
            if type_name(&any) != HTTP_OPTIONS {
                return Err(scope.fault(format_args!("{} is not supported", type_name(&any))));
            }
            http_options(scope, http, unpack(&any).map_err(|error| scope.fault(error))?)
        })?;
    }
    Ok(())
}

/// From one message.
pub(crate) fn http_options(
    scope: &mut Scope,
    http: &mut HttpOptions,
    options: http_pb::HttpProtocolOptions,
) -> Result<(), Fault> {
    fields!(scope, options => http_pb::HttpProtocolOptions {
        use { common_http_protocol_options, upstream_protocol_options, upstream_http_protocol_options }
        warn { http_filters, header_validation_config, outlier_detection, request_mirror_policies, hash_policy, retry_policy }
        quiet { }
    });
    if let Some(options) = upstream_http_protocol_options {
        http.request_names =
            scope.at("upstream_http_protocol_options", |scope| request_names(scope, options))?;
    }
    if let Some(common) = common_http_protocol_options {
        scope.at("common_http_protocol_options", |scope| {
            connection_options(scope, &mut http.connection, common)
        })?;
    }
    match upstream_protocol_options {
        None => {}
        Some(options_pb::UpstreamProtocolOptions::ExplicitHttpConfig(explicit)) => {
            scope.at("explicit_http_config", |scope| {
                use options_pb::explicit_http_config::ProtocolConfig;
                match explicit.protocol_config {
                    None => Err(scope.field_fault("protocol_config", "is missing")),
                    Some(ProtocolConfig::HttpProtocolOptions(options)) => {
                        http1(scope, options);
                        http.protocol = UpstreamProtocol::Http1;
                        Ok(())
                    }
                    Some(ProtocolConfig::Http2ProtocolOptions(options)) => {
                        http.protocol = UpstreamProtocol::Http2;
                        stream_options(scope, &mut http.connection, options)
                    }
                    Some(ProtocolConfig::Http3ProtocolOptions(_)) => {
                        Err(scope.field_fault("http3_protocol_options", "is not supported"))
                    }
                }
            })?
        }
        Some(options_pb::UpstreamProtocolOptions::UseDownstreamProtocolConfig(options)) => {
            http.protocol = UpstreamProtocol::Downstream;
            scope.unused(
                "use_downstream_protocol_config.http3_protocol_options",
                &options.http3_protocol_options,
            );
            stream_options(scope, &mut http.connection, options.http2_protocol_options.unwrap_or_default())?;
        }
        Some(options_pb::UpstreamProtocolOptions::AutoConfig(options)) => {
            http.protocol = UpstreamProtocol::Auto;
            scope.unused("auto_config.http3_protocol_options", &options.http3_protocol_options);
            stream_options(scope, &mut http.connection, options.http2_protocol_options.unwrap_or_default())?;
        }
    }
    Ok(())
}

fn stream_options(
    scope: &mut Scope,
    connection: &mut ConnectionSettings,
    mut options: core::Http2ProtocolOptions,
) -> Result<(), Fault> {
    scope.at("http2_protocol_options", |scope| {
        connection.keepalive = options
            .connection_keepalive
            .take()
            .map(|settings| scope.at("connection_keepalive", |scope| keepalive(scope, settings)))
            .transpose()?
            .flatten();
        let streams = http2(scope, options);
        connection.max_concurrent_streams = streams.max_concurrent;
        connection.initial_stream_window = streams.stream_window;
        connection.initial_connection_window = streams.connection_window;
        Ok(())
    })
}

/// Pings; none where there is no interval.
fn keepalive(scope: &mut Scope, settings: core::KeepaliveSettings) -> Result<Option<Keepalive>, Fault> {
    fields!(scope, settings => core::KeepaliveSettings {
        use { interval, timeout, interval_jitter }
        warn { connection_idle_interval }
        quiet { }
    });
    let timeout = scope.limit("timeout", timeout, None)?;
    let timeout = scope.required("timeout", timeout)?;
    let Some(interval) = scope.limit("interval", interval, None)? else { return Ok(None) };
    if interval < SHORTEST_PING || timeout < SHORTEST_PING {
        return Err(scope.field_fault("interval", "and timeout must be 1 ms or more"));
    }
    let jitter = interval_jitter.map_or(15.0, |percent| percent.value).clamp(0.0, 100.0);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 100")]
    Ok(Some(Keepalive { interval, timeout, jitter: jitter as u8 }))
}

/// TCP keepalive.
pub(crate) fn tcp_keepalive(settings: core::TcpKeepalive) -> TcpKeepalive {
    let seconds = |value| number(value).map(|seconds: u32| Duration::from_secs(seconds.into()));
    TcpKeepalive {
        time: seconds(settings.keepalive_time),
        interval: seconds(settings.keepalive_interval),
        probes: number(settings.keepalive_probes),
    }
}

/// Addresses that connections come from.
#[allow(deprecated, reason = "a complete list of the fields names the deprecated ones too")]
pub(crate) fn source_addresses(
    scope: &mut Scope,
    config: Option<core::BindConfig>,
) -> Result<Box<[SocketAddr]>, Fault> {
    let Some(config) = config else { return Ok(Box::default()) };
    scope.at("upstream_bind_config", |scope| {
        fields!(scope, config => core::BindConfig {
            use { source_address, freebind, extra_source_addresses, additional_source_addresses, local_address_selector }
            warn { socket_options, validate_network_namespaces }
            quiet { }
        });
        if truth(freebind, false) {
            return Err(scope.field_fault("freebind", "is not supported"));
        }
        if local_address_selector.is_some() {
            return Err(scope.field_fault("local_address_selector", "is not supported"));
        }
        let extra = scope.each("extra_source_addresses", extra_source_addresses, |scope, extra| {
            scope.unused("socket_options", &extra.socket_options);
            scope.required("address", extra.address)
        })?;
        let all = source_address.into_iter().chain(extra).chain(additional_source_addresses);
        socket_addresses(scope, all)
    })
}

fn connection_options(
    scope: &mut Scope,
    connection: &mut ConnectionSettings,
    options: core::HttpProtocolOptions,
) -> Result<(), Fault> {
    fields!(scope, options => core::HttpProtocolOptions {
        use { idle_timeout, max_connection_duration, max_requests_per_connection, max_response_headers_kb, max_headers_count }
        warn { max_connection_duration_jitter, max_stream_duration, headers_with_underscores_action }
        quiet { }
    });
    connection.idle_timeout = scope.limit("idle_timeout", idle_timeout, Some(Duration::from_hours(1)))?;
    connection.max_duration = scope.limit("max_connection_duration", max_connection_duration, None)?;
    connection.max_requests =
        number(max_requests_per_connection).filter(|count| *count > 0).or(connection.max_requests);
    if let Some(kib) = number(max_response_headers_kb).filter(|kib| *kib > 0) {
        if kib > LARGEST_HEAD_KIB {
            return Err(scope.field_fault("max_response_headers_kb", "must not be above 8192"));
        }
        connection.max_head = Some(kib << 10);
    }
    connection.max_headers = number(max_headers_count).filter(|count| *count > 0).or(connection.max_headers);
    Ok(())
}
