// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes external processing.

use crate::decode::mutation_rules::{mutation_rules, string_matchers};
use crate::decode::services::{fixed_header, grpc_service};
use crate::decode::{Fault, Scope, fields};
use crate::filters::{
    ATTRIBUTES, ExtProc, ExtProcRoute, ModeOverride, ProcBody, ProcMetadata, ProcessingMode, RouteCacheAction,
};
use crate::{GrpcService, MutationRules};
use gateway_xds_api::pb::envoy::config::core::v3 as core;
use gateway_xds_api::pb::envoy::extensions::filters::http::ext_proc::v3::{
    self as pb, ext_proc_per_route,
    external_processor::RouteCacheAction as PbRouteCacheAction,
    processing_mode::{BodySendMode, HeaderSendMode},
};
use gateway_xds_api::pb::envoy::r#type::v3::HttpStatus;
use gateway_xds_api::pb::google::protobuf::Any;
use gateway_xds_api::unpack;
use http::StatusCode;
use std::time::Duration;

/// Envoy's default.
const MESSAGE_TIMEOUT: Duration = Duration::from_millis(200);
/// Envoy takes no longer one.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(3600);

/// The filter's settings in its listener.
pub(crate) fn ext_proc(scope: &mut Scope, any: &Any) -> Result<ExtProc, Fault> {
    let message: pb::ExternalProcessor = unpack(any).map_err(|error| scope.fault(error))?;
    fields!(scope, message => pb::ExternalProcessor {
        use {
            grpc_service, http_service, failure_mode_allow, processing_mode, request_attributes, response_attributes, message_timeout,
            mutation_rules, max_message_timeout, forward_rules, allow_mode_override, disable_immediate_response, metadata_options,
            observability_mode, disable_clear_route_cache, route_cache_action, send_body_without_waiting_for_header_response,
            allowed_override_modes, processing_request_modifier, on_processing_response, status_on_error,
        }
        warn { filter_metadata, deferred_close_timeout, allow_content_length_header }
        quiet { stat_prefix, emit_client_span }
    });
    for (field, set) in [
        ("http_service", http_service.is_some()),
        ("observability_mode", observability_mode),
        ("send_body_without_waiting_for_header_response", send_body_without_waiting_for_header_response),
        ("processing_request_modifier", processing_request_modifier.is_some()),
        ("on_processing_response", on_processing_response.is_some()),
    ] {
        if set {
            return Err(scope.field_fault(field, "is not supported"));
        }
    }
    let service = scope.required("grpc_service", grpc_service)?;
    let forward = forward_rules.unwrap_or_default();
    let mut list = |field: &str, list| string_matchers(scope, field, list);
    let allowed_headers = list("forward_rules.allowed_headers", forward.allowed_headers)?;
    let disallowed_headers = list("forward_rules.disallowed_headers", forward.disallowed_headers)?;
    let allowed_modes = allowed_override_modes.iter().map(override_kinds).collect();
    Ok(ExtProc {
        service: self::service(scope, service)?,
        failure_mode_allow,
        mode: match processing_mode {
            None => ProcessingMode::default(),
            Some(mode) => scope.at("processing_mode", |scope| self::mode(scope, mode))?,
        },
        message_timeout: timeout(scope, "message_timeout", message_timeout)?.unwrap_or(MESSAGE_TIMEOUT),
        max_message_timeout: timeout(scope, "max_message_timeout", max_message_timeout)?.unwrap_or_default(),
        mutation_rules: match mutation_rules {
            None => MutationRules::default(),
            Some(rules) => scope.at("mutation_rules", |scope| self::mutation_rules(scope, rules))?,
        },
        allowed_headers: allowed_headers.filter(|list| !list.is_empty()),
        disallowed_headers: disallowed_headers.unwrap_or_default(),
        mode_override: allow_mode_override.then_some(ModeOverride { allowed: allowed_modes }),
        disable_immediate_response,
        metadata: metadata_options
            .map(|options| scope.at("metadata_options", |scope| metadata(scope, options)))
            .transpose()?
            .unwrap_or_default(),
        route_cache: match PbRouteCacheAction::try_from(route_cache_action) {
            Ok(PbRouteCacheAction::Default) if disable_clear_route_cache => RouteCacheAction::Retain,
            Ok(PbRouteCacheAction::Default) => RouteCacheAction::Default,
            Ok(_) if disable_clear_route_cache => {
                return Err(
                    scope.field_fault("route_cache_action", "cannot stand beside disable_clear_route_cache")
                );
            }
            Ok(PbRouteCacheAction::Clear) => RouteCacheAction::Clear,
            Ok(PbRouteCacheAction::Retain) => RouteCacheAction::Retain,
            Err(_) => return Err(scope.field_fault("route_cache_action", "is not known")),
        },
        status_on_error: status(scope, status_on_error)?,
        request_attributes: attributes(scope, "request_attributes", request_attributes)?,
        response_attributes: attributes(scope, "response_attributes", response_attributes)?,
    })
}

/// What a route says; none: the filter is off there.
#[allow(deprecated, reason = "a complete list of the fields names the deprecated ones too")]
pub(crate) fn per_route(scope: &mut Scope, any: &Any) -> Result<Option<ExtProcRoute>, Fault> {
    let pb::ExtProcPerRoute { r#override } = unpack(any).map_err(|error| scope.fault(error))?;
    let overrides = match scope.required("override", r#override)? {
        ext_proc_per_route::Override::Disabled(true) => return Ok(None),
        ext_proc_per_route::Override::Disabled(false) => {
            return Err(scope.field_fault("disabled", "must be true where it is set"));
        }
        ext_proc_per_route::Override::Overrides(overrides) => overrides,
    };
    scope.at("overrides", |scope| {
        fields!(scope, overrides => pb::ExtProcOverrides {
            use {
                processing_mode, grpc_service, metadata_options, grpc_initial_metadata, failure_mode_allow, processing_request_modifier,
            }
            warn { async_mode, request_attributes, response_attributes }
            quiet { emit_client_span }
        });
        if processing_request_modifier.is_some() {
            return Err(scope.field_fault("processing_request_modifier", "is not supported"));
        }
        Ok(Some(ExtProcRoute {
            mode: processing_mode
                .map(|mode| scope.at("processing_mode", |scope| self::mode(scope, mode)))
                .transpose()?,
            service: grpc_service.map(|service| self::service(scope, service)).transpose()?,
            initial_metadata: scope.each("grpc_initial_metadata", grpc_initial_metadata, fixed_header)?.into(),
            failure_mode_allow: failure_mode_allow.map(|allow| allow.value),
            metadata: metadata_options
                .map(|options| scope.at("metadata_options", |scope| metadata(scope, options)))
                .transpose()?
                .unwrap_or_default(),
        }))
    })
}

/// Each message has its own limit; the stream as a whole has none.
fn service(scope: &mut Scope, service: core::GrpcService) -> Result<GrpcService, Fault> {
    scope.at("grpc_service", |scope| {
        let service = grpc_service(scope, service)?;
        if service.timeout.is_some() {
            scope.warn("timeout", "has no effect on a stream; message_timeout has");
        }
        if service.retries.count > 0 {
            scope.warn("retry_policy", "has no effect on a stream");
        }
        Ok(service)
    })
}

/// The numbers of a mode that are compared with what a service asks for.
fn override_kinds(mode: &pb::ProcessingMode) -> [i32; 5] {
    [
        mode.response_header_mode,
        mode.request_body_mode,
        mode.response_body_mode,
        mode.request_trailer_mode,
        mode.response_trailer_mode,
    ]
}

impl ProcessingMode {
    /// This mode as a service's message changes it; none where the message asks for what a service may not set.
    #[must_use]
    pub fn overridden(self, by: &pb::ProcessingMode, allowed: &ModeOverride) -> Option<Self> {
        let kinds = override_kinds(by);
        if !allowed.allowed.is_empty() && !allowed.allowed.contains(&kinds) {
            return None;
        }
        let body = |kind: i32| match BodySendMode::try_from(kind).ok()? {
            BodySendMode::None => Some(ProcBody::None),
            BodySendMode::Streamed => Some(ProcBody::Streamed),
            BodySendMode::Buffered => Some(ProcBody::Buffered),
            BodySendMode::BufferedPartial => Some(ProcBody::BufferedPartial),
            BodySendMode::FullDuplexStreamed | BodySendMode::Grpc => None,
        };
        Some(Self {
            request_headers: self.request_headers,
            response_headers: sent(by.response_header_mode, self.response_headers)?,
            request_body: body(by.request_body_mode)?,
            response_body: body(by.response_body_mode)?,
            request_trailers: sent(by.request_trailer_mode, self.request_trailers)?,
            response_trailers: sent(by.response_trailer_mode, self.response_trailers)?,
        })
    }
}

fn sent(kind: i32, default: bool) -> Option<bool> {
    Some(match HeaderSendMode::try_from(kind).ok()? {
        HeaderSendMode::Default => default,
        HeaderSendMode::Send => true,
        HeaderSendMode::Skip => false,
    })
}

fn mode(scope: &mut Scope, mode: pb::ProcessingMode) -> Result<ProcessingMode, Fault> {
    let pb::ProcessingMode {
        request_header_mode,
        response_header_mode,
        request_body_mode,
        response_body_mode,
        request_trailer_mode,
        response_trailer_mode,
    } = mode;
    let send = |field: &str, kind, default| {
        sent(kind, default).ok_or_else(|| scope.field_fault(field, "is not known"))
    };
    let body = |field: &str, kind| match BodySendMode::try_from(kind) {
        Ok(BodySendMode::None) => Ok(ProcBody::None),
        Ok(BodySendMode::Streamed) => Ok(ProcBody::Streamed),
        Ok(BodySendMode::Buffered) => Ok(ProcBody::Buffered),
        Ok(BodySendMode::BufferedPartial) => Ok(ProcBody::BufferedPartial),
        Ok(BodySendMode::FullDuplexStreamed) => Ok(ProcBody::FullDuplex),
        Ok(BodySendMode::Grpc) => Err(scope.field_fault(field, "GRPC is not supported")),
        Err(_) => Err(scope.field_fault(field, "is not known")),
    };
    let mode = ProcessingMode {
        request_headers: send("request_header_mode", request_header_mode, true)?,
        response_headers: send("response_header_mode", response_header_mode, true)?,
        request_body: body("request_body_mode", request_body_mode)?,
        response_body: body("response_body_mode", response_body_mode)?,
        request_trailers: send("request_trailer_mode", request_trailer_mode, false)?,
        response_trailers: send("response_trailer_mode", response_trailer_mode, false)?,
    };
    for (field, kind, trailers) in [
        ("request_trailer_mode", mode.request_body, mode.request_trailers),
        ("response_trailer_mode", mode.response_body, mode.response_trailers),
    ] {
        if kind == ProcBody::FullDuplex && !trailers {
            return Err(
                scope.field_fault(field, "must be SEND where the body's mode is FULL_DUPLEX_STREAMED")
            );
        }
    }
    Ok(mode)
}

fn metadata(scope: &mut Scope, options: pb::MetadataOptions) -> Result<ProcMetadata, Fault> {
    fields!(scope, options => pb::MetadataOptions {
        use { forwarding_namespaces, receiving_namespaces }
        warn { cluster_metadata_forwarding_namespaces }
        quiet { }
    });
    let mut names = |field: &str, namespaces: Option<pb::metadata_options::MetadataNamespaces>| {
        namespaces.map(|pb::metadata_options::MetadataNamespaces { untyped, typed }| {
            scope.at(field, |scope| scope.unused("typed", &typed));
            untyped.into_iter().map(Into::into).collect()
        })
    };
    Ok(ProcMetadata {
        forward: names("forwarding_namespaces", forwarding_namespaces),
        receive: names("receiving_namespaces", receiving_namespaces),
    })
}

fn timeout(
    scope: &Scope,
    field: &str,
    value: Option<gateway_xds_api::pb::google::protobuf::Duration>,
) -> Result<Option<Duration>, Fault> {
    match scope.duration(field, value)? {
        Some(limit) if limit > LONGEST_TIMEOUT => Err(scope.field_fault(field, "is longer than an hour")),
        limit => Ok(limit),
    }
}

fn status(scope: &Scope, status: Option<HttpStatus>) -> Result<StatusCode, Fault> {
    let Some(status) = status else { return Ok(StatusCode::INTERNAL_SERVER_ERROR) };
    u16::try_from(status.code)
        .ok()
        .and_then(|code| StatusCode::from_u16(code).ok())
        .filter(|status| status.is_client_error() || status.is_server_error())
        .ok_or_else(|| scope.field_fault("status_on_error", "is not the status of an error"))
}

fn attributes(scope: &Scope, field: &str, names: Vec<String>) -> Result<Box<[Box<str>]>, Fault> {
    match names.iter().find(|name| !ATTRIBUTES.contains(&name.as_str())) {
        Some(name) => Err(scope.field_fault(field, format_args!("{name} is not supported"))),
        None => Ok(names.into_iter().map(Into::into).collect()),
    }
}
