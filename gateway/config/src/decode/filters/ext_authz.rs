// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes external authorization.

use crate::decode::mutation_rules::{mutation_rules, string_matchers};
use crate::decode::services::{fixed_header, grpc_service, http_service, retries};
use crate::decode::strings::fraction;
use crate::decode::{Fault, Scope, fields, truth};
use crate::filters::{AuthzBody, AuthzHttp, AuthzService, ExtAuthz, ExtAuthzRoute};
use gateway_xds_api::pb::envoy::config::core::v3::ApiVersion;
use gateway_xds_api::pb::envoy::extensions::filters::http::ext_authz::v3 as pb;
use gateway_xds_api::pb::google::protobuf::Any;
use gateway_xds_api::unpack;
use http::StatusCode;

/// The filter's settings in its listener.
pub(crate) fn ext_authz(scope: &mut Scope, any: &Any) -> Result<ExtAuthz, Fault> {
    let message: pb::ExtAuthz = unpack(any).map_err(|error| scope.fault(error))?;
    fields!(scope, message => pb::ExtAuthz {
        use {
            services, transport_api_version, failure_mode_allow, failure_mode_allow_header_add, with_request_body, clear_route_cache,
            status_on_error, validate_mutations, metadata_context_namespaces, filter_enabled, deny_at_disable, include_peer_certificate,
            allowed_headers, disallowed_headers, include_tls_session, encode_raw_headers, decoder_header_mutation_rules,
            enable_dynamic_metadata_ingestion, max_denied_response_body_bytes, filter_enabled_metadata, shadow_mode,
        }
        warn {
            typed_metadata_context_namespaces, route_metadata_context_namespaces, route_typed_metadata_context_namespaces,
            bootstrap_metadata_labels_key, filter_metadata, emit_filter_state_stats, enforce_response_header_limits,
        }
        quiet { stat_prefix, charge_cluster_response_stats, emit_client_span }
    });
    version(scope, transport_api_version)?;
    if filter_enabled_metadata.is_some() {
        return Err(
            scope.field_fault("filter_enabled_metadata", "is not supported; disable the filter per route")
        );
    }
    if shadow_mode {
        return Err(scope.field_fault("shadow_mode", "is not supported"));
    }
    let service = match scope.required("services", services)? {
        pb::ext_authz::Services::GrpcService(service) => {
            AuthzService::Grpc(scope.at("grpc_service", |scope| grpc_service(scope, service))?)
        }
        pb::ext_authz::Services::HttpService(service) => {
            AuthzService::Http(Box::new(scope.at("http_service", |scope| http(scope, service))?))
        }
    };
    let status_on_error = match status_on_error {
        None => StatusCode::FORBIDDEN,
        Some(status) => u16::try_from(status.code)
            .ok()
            .and_then(|code| StatusCode::from_u16(code).ok())
            .filter(|status| !status.is_informational() && !status.is_success())
            .ok_or_else(|| scope.field_fault("status_on_error", "is not a status of a refusal"))?,
    };
    let rules = decoder_header_mutation_rules
        .map(|rules| scope.at("decoder_header_mutation_rules", |scope| mutation_rules(scope, rules)))
        .transpose()?;
    let deny_at_disable = deny_at_disable.is_some_and(|flag| truth(flag.default_value, false));
    Ok(ExtAuthz {
        service,
        failure_mode_allow,
        failure_mode_header: failure_mode_allow_header_add,
        body: with_request_body.map(|settings| body(scope, settings)).transpose()?,
        clear_route_cache,
        status_on_error,
        validate_mutations,
        metadata_namespaces: metadata_context_namespaces.into_iter().map(Into::into).collect(),
        enabled: filter_enabled
            .map(|share| scope.at("filter_enabled", |scope| fraction(scope, share)))
            .transpose()?,
        deny_at_disable,
        include_peer_certificate,
        include_tls_session,
        allowed_headers: string_matchers(scope, "allowed_headers", allowed_headers)?,
        disallowed_headers: string_matchers(scope, "disallowed_headers", disallowed_headers)?
            .unwrap_or_default(),
        raw_headers: encode_raw_headers,
        mutation_rules: rules,
        take_metadata: truth(enable_dynamic_metadata_ingestion, true),
        max_denied_body: usize::try_from(max_denied_response_body_bytes).unwrap_or(usize::MAX),
    })
}

/// Only version 3 of the services is spoken; AUTO means version 2 in Envoy's rules and is taken for 3, as no other is left there.
pub(crate) fn version(scope: &Scope, version: i32) -> Result<(), Fault> {
    match ApiVersion::try_from(version) {
        Ok(ApiVersion::V3 | ApiVersion::Auto) => Ok(()),
        _ => Err(scope.field_fault("transport_api_version", "must be V3")),
    }
}

fn body(scope: &mut Scope, settings: pb::BufferSettings) -> Result<AuthzBody, Fault> {
    let pb::BufferSettings { max_request_bytes, allow_partial_message, pack_as_bytes } = settings;
    if max_request_bytes == 0 {
        return Err(scope.field_fault("with_request_body.max_request_bytes", "must be 1 or more"));
    }
    Ok(AuthzBody {
        max: usize::try_from(max_request_bytes).unwrap_or(usize::MAX),
        allow_partial: allow_partial_message,
        as_bytes: pack_as_bytes,
    })
}

#[allow(deprecated, reason = "a complete list of the fields names the deprecated ones too")]
fn http(scope: &mut Scope, service: pb::HttpService) -> Result<AuthzHttp, Fault> {
    fields!(scope, service => pb::HttpService {
        use { server_uri, path_prefix, path_override, authorization_request, authorization_response, retry_policy }
        warn { }
        quiet { }
    });
    let uri = scope.required("server_uri", server_uri)?;
    let service = scope.at("server_uri", |scope| http_service(scope, uri))?;
    if !path_prefix.is_empty() && !path_override.is_empty() {
        return Err(scope.field_fault("path_override", "cannot stand beside path_prefix"));
    }
    for (field, path) in [("path_prefix", &path_prefix), ("path_override", &path_override)] {
        if !path.is_empty() && (!path.starts_with('/') || path.parse::<http::uri::PathAndQuery>().is_err()) {
            return Err(scope.field_fault(field, "is not a path"));
        }
    }
    let pb::AuthorizationRequest { allowed_headers, headers_to_add } =
        authorization_request.unwrap_or_default();
    let allowed_headers = string_matchers(scope, "authorization_request.allowed_headers", allowed_headers)?;
    let headers_to_add = scope.each("authorization_request.headers_to_add", headers_to_add, fixed_header)?;
    let pb::AuthorizationResponse {
        allowed_upstream_headers,
        allowed_upstream_headers_to_append,
        allowed_client_headers,
        allowed_client_headers_on_success,
        dynamic_metadata_from_headers,
    } = authorization_response.unwrap_or_default();
    scope.at("authorization_response", |scope| {
        let mut list = |field: &str, list| string_matchers(scope, field, list);
        let upstream_headers = list("allowed_upstream_headers", allowed_upstream_headers)?;
        let to_append = list("allowed_upstream_headers_to_append", allowed_upstream_headers_to_append)?;
        let on_success = list("allowed_client_headers_on_success", allowed_client_headers_on_success)?;
        let metadata = list("dynamic_metadata_from_headers", dynamic_metadata_from_headers)?;
        Ok(AuthzHttp {
            service,
            path_prefix: path_prefix.into(),
            path_override: path_override.into(),
            allowed_headers,
            headers_to_add: headers_to_add.into(),
            upstream_headers: upstream_headers.unwrap_or_default(),
            upstream_headers_to_append: to_append.unwrap_or_default(),
            client_headers: list("allowed_client_headers", allowed_client_headers)?,
            client_headers_on_success: on_success.unwrap_or_default(),
            metadata_from_headers: metadata.unwrap_or_default(),
            retries: retry_policy.map(|policy| retries(scope, policy)).transpose()?.unwrap_or_default(),
        })
    })
}

/// What a route says; none: the filter is off there.
pub(crate) fn per_route(scope: &mut Scope, any: &Any) -> Result<Option<ExtAuthzRoute>, Fault> {
    let pb::ExtAuthzPerRoute { r#override } = unpack(any).map_err(|error| scope.fault(error))?;
    let settings = match scope.required("override", r#override)? {
        pb::ext_authz_per_route::Override::Disabled(true) => return Ok(None),
        pb::ext_authz_per_route::Override::Disabled(false) => return Ok(Some(ExtAuthzRoute::default())),
        pb::ext_authz_per_route::Override::CheckSettings(settings) => settings,
    };
    scope.at("check_settings", |scope| {
        fields!(scope, settings => pb::CheckSettings {
            use { context_extensions, disable_request_body_buffering, with_request_body, service_override }
            warn { }
            quiet { emit_client_span }
        });
        if disable_request_body_buffering && with_request_body.is_some() {
            return Err(
                scope.field_fault("with_request_body", "cannot stand beside disable_request_body_buffering")
            );
        }
        let mut context_extensions: Vec<(Box<str>, Box<str>)> =
            context_extensions.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        context_extensions.sort();
        let body = match with_request_body {
            Some(settings) => Some(Some(body(scope, settings)?)),
            None => disable_request_body_buffering.then_some(None),
        };
        let service = match service_override {
            None => None,
            Some(pb::check_settings::ServiceOverride::GrpcService(service)) => {
                Some(AuthzService::Grpc(scope.at("grpc_service", |scope| grpc_service(scope, service))?))
            }
            Some(pb::check_settings::ServiceOverride::HttpService(service)) => {
                Some(AuthzService::Http(Box::new(scope.at("http_service", |scope| http(scope, service))?)))
            }
        };
        Ok(Some(ExtAuthzRoute { context_extensions: context_extensions.into(), body, service }))
    })
}
