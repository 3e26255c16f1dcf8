// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes the HTTP settings of a listener.

use crate::decode::access_log::access_logs;
use crate::decode::client_address::clients;
use crate::decode::client_certificate::client_certificate;
use crate::decode::http_filter::http_filters;
use crate::decode::local_reply::local_replies;
use crate::decode::route_table::route_table;
use crate::decode::tls::over_ads;
use crate::decode::{Fault, Scope, fields, number, truth};
use crate::http_connection_manager::{
    Codec, EscapedSlashes, Forwarding, HttpConnectionManager, HttpLimits, HttpTimeouts, PathOptions,
    RouteSource, ServerHeader, StripPort, Underscores,
};
use crate::{HttpFilter, HttpFilterKind, RouteTable, RouterOptions, UpgradeRule};
use gateway_xds_api::pb::envoy::config::core::v3::{
    self as core, http_protocol_options::HeadersWithUnderscoresAction,
};
use gateway_xds_api::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    self as pb, http_connection_manager as manager,
};
use http::HeaderValue;
use std::sync::Arc;
use std::time::Duration;

/// The HTTP settings of a filter chain.
#[allow(deprecated, reason = "a complete list of the fields names the deprecated ones too")]
#[allow(clippy::too_many_lines, reason = "the list of fields is long")]
pub(crate) fn connection_manager(
    scope: &mut Scope,
    message: pb::HttpConnectionManager,
) -> Result<HttpConnectionManager, Fault> {
    fields!(scope, message => pb::HttpConnectionManager {
        use {
            codec_type, stat_prefix, http_filters, common_http_protocol_options, http2_protocol_options, server_name, server_header_transformation,
            max_request_headers_kb, stream_idle_timeout, request_timeout, request_headers_timeout, drain_timeout, access_log, use_remote_address,
            xff_num_trusted_hops, skip_xff_append, generate_request_id, preserve_external_request_id, always_set_request_id_in_response, add_user_agent, upgrade_configs, normalize_path, merge_slashes,
            path_with_escaped_slashes_action, strip_matching_host_port, route_specifier, strip_port_mode, http_protocol_options,
            forward_client_cert_details, set_current_client_cert_details, via, strip_trailing_host_dot, append_x_forwarded_port,
            scheme_header_transformation, original_ip_detection_extensions, internal_address_config,
            local_reply_config, tracing,
        }
        warn {
            http3_protocol_options, access_log_options,
            early_header_mutation_extensions, forward_client_cert_matcher, proxy_100_continue, represent_ipv4_remote_address_as_ipv4_mapped_ipv6,
            request_id_extension, path_normalization_options, proxy_status_config,
            typed_header_validation_config, append_local_overload, access_log_flush_interval, forward_proto_config,
            flush_access_log_on_new_request, stream_flush_timeout, drain_timeout_jitter, http1_safe_max_connection_duration,
        }
        quiet { delayed_close_timeout, stream_error_on_invalid_http_message, add_proxy_protocol_connection_state }
    });
    if let Some(options) = http_protocol_options {
        scope.at("http_protocol_options", |scope| http1(scope, options));
    }
    let streams =
        scope.at("http2_protocol_options", |scope| http2(scope, http2_protocol_options.unwrap_or_default()));
    let common = scope.at("common_http_protocol_options", |scope| {
        common(scope, common_http_protocol_options.unwrap_or_default())
    })?;
    let timeouts = HttpTimeouts {
        stream_idle: scope.limit("stream_idle_timeout", stream_idle_timeout, Some(Duration::from_mins(5)))?,
        request: scope.limit("request_timeout", request_timeout, None)?,
        request_headers: scope.limit("request_headers_timeout", request_headers_timeout, None)?,
        idle: common.idle,
        max_connection: common.max_connection,
        max_stream: common.max_stream,
        drain: scope.duration("drain_timeout", drain_timeout)?.unwrap_or(Duration::from_secs(5)),
    };
    let kibibytes = number(max_request_headers_kb).unwrap_or(60);
    if !(1..=8192).contains(&kibibytes) {
        return Err(scope.field_fault("max_request_headers_kb", "must be from 1 to 8192"));
    }
    let limits = HttpLimits {
        max_headers_bytes: kibibytes * 1024,
        max_headers: common.max_headers,
        max_concurrent_streams: streams.max_concurrent,
        extended_connect: streams.extended_connect,
        initial_stream_window: streams.stream_window,
        initial_connection_window: streams.connection_window,
        max_requests_per_connection: common.max_requests,
    };
    let strip_any = matches!(strip_port_mode, Some(manager::StripPortMode::StripAnyHostPort(true)));
    let edge = truth(use_remote_address, false);
    let filters = self::http_filters(scope, http_filters)?;
    Ok(HttpConnectionManager {
        stat_prefix: stat_prefix.into(),
        routes: routes(scope, route_specifier)?,
        codec: codec(scope, codec_type)?,
        router: router_of(&filters),
        filters,
        access_logs: Arc::new(access_logs(scope, access_log)?),
        timeouts,
        limits,
        path: path_options(
            scope,
            truth(normalize_path, false),
            merge_slashes,
            path_with_escaped_slashes_action,
        )?,
        strip_port: if strip_any {
            StripPort::Any
        } else if strip_matching_host_port {
            StripPort::Matching
        } else {
            StripPort::Keep
        },
        strip_trailing_dot: strip_trailing_host_dot,
        underscores: common.underscores,
        clients: clients(
            scope,
            internal_address_config,
            original_ip_detection_extensions,
            (edge, xff_num_trusted_hops),
        )?,
        request_id_in_answers: always_set_request_id_in_response,
        tells_node: truth(add_user_agent, false),
        via: header_value(scope, "via", via)?,
        forwarding: Forwarding {
            use_remote_address: edge,
            append_port: append_x_forwarded_port,
            https: scheme_header_transformation.map_or(Ok(None), |to| scheme(scope, to))?,
            trusted_hops: xff_num_trusted_hops,
            skip_append: skip_xff_append,
            generate_request_id: truth(generate_request_id, true),
            preserve_request_id: preserve_external_request_id,
        },
        client_certificate: client_certificate(
            scope,
            forward_client_cert_details,
            set_current_client_cert_details,
        )?,
        server_name: header_value(scope, "server_name", server_name)?
            .unwrap_or_else(|| HeaderValue::from_static("envoy")),
        server_header: server_header(scope, server_header_transformation)?,
        local_replies: local_reply_config
            .map(|config| scope.at("local_reply_config", |scope| local_replies(scope, config)).map(Arc::new))
            .transpose()?,
        upgrades: scope.each("upgrade_configs", upgrade_configs, upgrade)?.into(),
        tracing: tracing
            .map_or(Ok(None), |tracing| {
                scope.at("tracing", |scope| crate::decode::tracing::tracing(scope, tracing))
            })?
            .map(Arc::new),
    })
}

fn codec(scope: &Scope, value: i32) -> Result<Codec, Fault> {
    match manager::CodecType::try_from(value) {
        Ok(manager::CodecType::Auto) => Ok(Codec::Auto),
        Ok(manager::CodecType::Http1) => Ok(Codec::Http1),
        Ok(manager::CodecType::Http2) => Ok(Codec::Http2),
        Ok(manager::CodecType::Http3) | Err(_) => {
            Err(scope.field_fault("codec_type", "must be AUTO, HTTP1 or HTTP2"))
        }
    }
}

fn routes(scope: &mut Scope, specifier: Option<manager::RouteSpecifier>) -> Result<RouteSource, Fault> {
    match scope.required("route_specifier", specifier)? {
        manager::RouteSpecifier::Rds(rds) => scope.at("rds", |scope| {
            let pb::Rds { config_source, route_config_name } = rds;
            if route_config_name.is_empty() {
                return Err(scope.field_fault("route_config_name", "is empty"));
            }
            over_ads(scope, "config_source", config_source)?;
            Ok(RouteSource::Rds(route_config_name.into()))
        }),
        manager::RouteSpecifier::RouteConfig(config) => scope.at("route_config", |scope| {
            if config.vhds.is_some() {
                return Err(scope.field_fault("vhds", "needs rds"));
            }
            let name = config.name.clone();
            let decoded = route_table(scope, config)?;
            let mut table = RouteTable::new(&name, decoded.settings);
            for host in decoded.virtual_hosts {
                if let Some(domain) = host.domains.iter().find(|domain| table.has_domain(domain)) {
                    return Err(scope
                        .field_fault("virtual_hosts", format_args!("the domain {domain:?} is there twice")));
                }
                host.domains.iter().for_each(|domain| table.set_domain(domain, Some(&host)));
            }
            Ok(RouteSource::Inline(table.into()))
        }),
        manager::RouteSpecifier::ScopedRoutes(_) => {
            Err(scope.field_fault("scoped_routes", "is not supported; use rds"))
        }
    }
}

struct Common {
    idle: Option<Duration>,
    max_connection: Option<Duration>,
    max_stream: Option<Duration>,
    max_headers: u32,
    max_requests: Option<u32>,
    underscores: Underscores,
}

fn common(scope: &mut Scope, options: core::HttpProtocolOptions) -> Result<Common, Fault> {
    fields!(scope, options => core::HttpProtocolOptions {
        use { idle_timeout, max_connection_duration, max_headers_count, max_stream_duration, headers_with_underscores_action, max_requests_per_connection }
        warn { max_connection_duration_jitter, max_response_headers_kb }
        quiet { }
    });
    let underscores = match HeadersWithUnderscoresAction::try_from(headers_with_underscores_action) {
        Ok(HeadersWithUnderscoresAction::Allow) => Underscores::Allow,
        Ok(HeadersWithUnderscoresAction::RejectRequest) => Underscores::Reject,
        Ok(HeadersWithUnderscoresAction::DropHeader) => Underscores::Drop,
        Err(_) => return Err(scope.field_fault("headers_with_underscores_action", "is unknown")),
    };
    Ok(Common {
        idle: scope.limit("idle_timeout", idle_timeout, Some(Duration::from_hours(1)))?,
        max_connection: scope.limit("max_connection_duration", max_connection_duration, None)?,
        max_stream: scope.limit("max_stream_duration", max_stream_duration, None)?,
        max_headers: number(max_headers_count).unwrap_or(100).max(1),
        max_requests: number(max_requests_per_connection).filter(|count| *count > 0),
        underscores,
    })
}

/// Settings of HTTP/1.1 that would change what is accepted or sent are named; their defaults are what this gateway does.
#[allow(deprecated, reason = "a complete list of the fields names the deprecated ones too")]
pub(crate) fn http1(scope: &mut Scope, options: core::Http1ProtocolOptions) {
    fields!(scope, options => core::Http1ProtocolOptions {
        use { }
        warn {
            allow_absolute_url, accept_http_10, default_host_for_http_10, header_key_format, allow_chunked_length, send_fully_qualified_url,
            override_stream_error_on_invalid_http_message, allow_custom_methods, ignore_http_11_upgrade,
        }
        quiet { enable_trailers, use_balsa_parser }
    });
}

/// Settings of HTTP/2 streams.
#[derive(Default)]
pub(crate) struct Streams {
    pub(crate) max_concurrent: Option<u32>,
    pub(crate) stream_window: Option<u32>,
    pub(crate) connection_window: Option<u32>,
    pub(crate) extended_connect: bool,
}

/// Settings of HTTP/2. Limits against floods are the HTTP library's own.
#[allow(deprecated, reason = "a complete list of the fields names the deprecated ones too")]
pub(crate) fn http2(scope: &mut Scope, options: core::Http2ProtocolOptions) -> Streams {
    fields!(scope, options => core::Http2ProtocolOptions {
        use { max_concurrent_streams, initial_stream_window_size, initial_connection_window_size, allow_connect }
        warn { hpack_table_size, allow_metadata, custom_settings_parameters, connection_keepalive, max_metadata_size, max_header_field_size_kb }
        quiet {
            max_outbound_frames, max_outbound_control_frames, max_consecutive_inbound_frames_with_empty_payload,
            max_inbound_priority_frames_per_stream, max_inbound_window_update_frames_per_data_frame_sent, stream_error_on_invalid_http_messaging,
            override_stream_error_on_invalid_http_message, use_oghttp2_codec, enable_huffman_encoding, disallow_obs_text, stream_reset_burst,
            stream_reset_rate,
        }
    });
    Streams {
        max_concurrent: number(max_concurrent_streams),
        stream_window: number(initial_stream_window_size),
        connection_window: number(initial_connection_window_size),
        extended_connect: allow_connect,
    }
}

fn path_options(
    scope: &Scope,
    normalize: bool,
    merge_slashes: bool,
    escaped: i32,
) -> Result<PathOptions, Fault> {
    use manager::PathWithEscapedSlashesAction as Action;
    let escaped_slashes = match Action::try_from(escaped) {
        Ok(Action::ImplementationSpecificDefault | Action::KeepUnchanged) => EscapedSlashes::Keep,
        Ok(Action::RejectRequest) => EscapedSlashes::Reject,
        Ok(Action::UnescapeAndRedirect) => EscapedSlashes::UnescapeAndRedirect,
        Ok(Action::UnescapeAndForward) => EscapedSlashes::UnescapeAndForward,
        Err(_) => return Err(scope.field_fault("path_with_escaped_slashes_action", "is unknown")),
    };
    Ok(PathOptions { normalize, merge_slashes, escaped_slashes })
}

fn server_header(scope: &Scope, transformation: i32) -> Result<ServerHeader, Fault> {
    match manager::ServerHeaderTransformation::try_from(transformation) {
        Ok(manager::ServerHeaderTransformation::Overwrite) => Ok(ServerHeader::Overwrite),
        Ok(manager::ServerHeaderTransformation::AppendIfAbsent) => Ok(ServerHeader::AppendIfAbsent),
        Ok(manager::ServerHeaderTransformation::PassThrough) => Ok(ServerHeader::PassThrough),
        Err(_) => Err(scope.field_fault("server_header_transformation", "is unknown")),
    }
}

/// A text for a header; none where it is empty.
fn header_value(scope: &Scope, field: &str, text: String) -> Result<Option<HeaderValue>, Fault> {
    if text.is_empty() {
        return Ok(None);
    }
    HeaderValue::try_from(text).map(Some).map_err(|_| scope.field_fault(field, "is not a header value"))
}

/// Whether all requests count as https; none: as they come.
fn scheme(scope: &mut Scope, to: core::SchemeHeaderTransformation) -> Result<Option<bool>, Fault> {
    use core::scheme_header_transformation::Transformation;
    scope.at("scheme_header_transformation", |scope| match to.transformation {
        Some(Transformation::SchemeToOverwrite(scheme)) => match scheme.as_str() {
            "http" => Ok(Some(false)),
            "https" => Ok(Some(true)),
            _ => Err(scope.field_fault("scheme_to_overwrite", "must be http or https")),
        },
        None => {
            scope.unused("match_upstream", &to.match_upstream);
            Ok(None)
        }
    })
}

fn router_of(filters: &[HttpFilter]) -> RouterOptions {
    match filters.last().map(|last| &last.kind) {
        Some(HttpFilterKind::Router(options)) => RouterOptions::clone(options),
        _ => RouterOptions::default(),
    }
}

fn upgrade(scope: &mut Scope, config: manager::UpgradeConfig) -> Result<UpgradeRule, Fault> {
    let manager::UpgradeConfig { upgrade_type, filters, enabled } = config;
    scope.unused("filters", &filters);
    let protocol = upgrade_type.to_ascii_lowercase().into();
    Ok(UpgradeRule { protocol, enabled: truth(enabled, true), terminates: false })
}
