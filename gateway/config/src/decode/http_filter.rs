// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes HTTP filters.

use crate::decode::wasm_config::wasm;
use crate::decode::watching::is_left_out;
use crate::decode::{Fault, Scope, fields, filters, type_name};
use crate::{HttpFilter, HttpFilterKind, RouterOptions, StrictHeader};
use gateway_xds_api::pb::envoy::extensions::filters::http::router::v3::Router;
use gateway_xds_api::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    self as pb, http_filter,
};
use gateway_xds_api::unpack;
use std::collections::HashSet;
use std::sync::Arc;

/// All filters of a listener: names are unique, the router is the last.
pub(crate) fn http_filters(
    scope: &mut Scope,
    filters: Vec<pb::HttpFilter>,
) -> Result<Box<[HttpFilter]>, Fault> {
    let decoded = scope.each("http_filters", filters, http_filter)?.into_iter().flatten().collect::<Vec<_>>();
    let mut names = HashSet::new();
    if let Some(twice) = decoded.iter().find(|filter| !names.insert(&filter.name)) {
        return Err(
            scope.field_fault("http_filters", format_args!("the name {:?} is there twice", twice.name))
        );
    }
    let routers = decoded.iter().filter(|filter| matches!(filter.kind, HttpFilterKind::Router(_))).count();
    if routers != 1 || decoded.last().is_none_or(|last| !matches!(last.kind, HttpFilterKind::Router(_))) {
        return Err(scope.field_fault("http_filters", "must end with the router, and have no other one"));
    }
    Ok(decoded.into())
}

fn http_filter(scope: &mut Scope, filter: pb::HttpFilter) -> Result<Option<HttpFilter>, Fault> {
    let pb::HttpFilter { name, is_optional, disabled, config_type } = filter;
    if name.is_empty() {
        return Err(scope.field_fault("name", "is empty"));
    }
    let any = match scope.required("typed_config", config_type)? {
        http_filter::ConfigType::TypedConfig(any) => any,
        http_filter::ConfigType::ConfigDiscovery(_) => {
            return Err(scope.field_fault("config_discovery", "is not supported"));
        }
    };
    let kind = match type_name(&any) {
        "envoy.extensions.filters.http.router.v3.Router" => {
            let router = unpack(&any).map_err(|error| scope.fault(error))?;
            HttpFilterKind::Router(Arc::new(router_options(scope, router)?))
        }
        "envoy.extensions.filters.http.cors.v3.Cors" => HttpFilterKind::Cors,
        "envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth" => {
            HttpFilterKind::ApiKeyAuth(Arc::new(filters::api_key_auth::filter(scope, &any)?))
        }
        "envoy.extensions.filters.http.bandwidth_limit.v3.BandwidthLimit" => {
            HttpFilterKind::BandwidthLimit(Arc::new(filters::bandwidth_limit::limit(scope, &any)?))
        }
        "envoy.extensions.filters.http.basic_auth.v3.BasicAuth" => {
            HttpFilterKind::BasicAuth(Arc::new(filters::basic_auth::filter(scope, &any)?))
        }
        "envoy.extensions.filters.http.compressor.v3.Compressor" => {
            HttpFilterKind::Compressor(Arc::new(filters::compressor::filter(scope, &any)?))
        }
        "envoy.extensions.filters.http.buffer.v3.Buffer" => {
            HttpFilterKind::Buffer(Arc::new(filters::buffer::filter(scope, &any)?))
        }
        "envoy.extensions.filters.http.csrf.v3.CsrfPolicy" => {
            HttpFilterKind::Csrf(Arc::new(filters::csrf::policy(scope, &any)?))
        }
        "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz" => {
            HttpFilterKind::ExtAuthz(Arc::new(filters::ext_authz::ext_authz(scope, &any)?))
        }
        "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor" => {
            HttpFilterKind::ExtProc(Arc::new(filters::ext_proc::ext_proc(scope, &any)?))
        }
        "envoy.extensions.filters.http.fault.v3.HTTPFault" => {
            HttpFilterKind::Fault(Arc::new(filters::fault::faults(scope, &any)?))
        }
        "envoy.extensions.filters.http.grpc_web.v3.GrpcWeb" => HttpFilterKind::GrpcWeb,
        "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation" => {
            HttpFilterKind::HeaderMutation(Arc::new(filters::header_mutation::filter(scope, &any)?))
        }
        "envoy.extensions.filters.http.health_check.v3.HealthCheck" => {
            HttpFilterKind::HealthCheck(Arc::new(filters::health_check::filter(scope, &any)?))
        }
        "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication" => {
            HttpFilterKind::JwtAuthn(Arc::new(filters::jwt_authn::jwt_authn(scope, &any)?))
        }
        "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit" => {
            HttpFilterKind::LocalRateLimit(Arc::new(filters::local_rate_limit::limit(scope, &any)?))
        }
        "envoy.extensions.filters.http.oauth2.v3.OAuth2" => {
            HttpFilterKind::OAuth2(Arc::new(filters::oauth2::oauth2(scope, &any)?))
        }
        "envoy.extensions.filters.http.ratelimit.v3.RateLimit" => {
            HttpFilterKind::RateLimit(Arc::new(filters::rate_limit::rate_limit(scope, &any)?))
        }
        "envoy.extensions.filters.http.rbac.v3.RBAC" => {
            HttpFilterKind::Rbac(Arc::new(filters::rbac::filter(scope, &any)?))
        }
        "envoy.extensions.filters.http.set_metadata.v3.Config" => {
            HttpFilterKind::SetMetadata(Arc::new(filters::set_metadata::filter(scope, &any)?))
        }
        "envoy.extensions.filters.http.wasm.v3.Wasm" => {
            let message = unpack(&any).map_err(|error| scope.fault(error))?;
            HttpFilterKind::Wasm(Arc::new(scope.at("config", |scope| wasm(scope, message))?))
        }
        _ if is_left_out(scope, &any)? => return Ok(None),
        other if is_optional => {
            scope.warn("typed_config", format_args!("the optional http filter {other} is left out"));
            return Ok(None);
        }
        other => return Err(scope.fault(format_args!("the http filter {other} is not supported"))),
    };
    Ok(Some(HttpFilter { name: name.into(), disabled, kind }))
}

#[allow(deprecated, reason = "a complete list of the fields names the deprecated ones too")]
fn router_options(scope: &mut Scope, router: Router) -> Result<RouterOptions, Fault> {
    fields!(scope, router => Router {
        use { suppress_envoy_headers, strict_check_headers, respect_expected_rq_timeout }
        warn {
            start_child_span, upstream_log, upstream_log_options, suppress_grpc_request_failure_code_stats, upstream_http_filters,
            reject_connect_request_early_data,
        }
        quiet { dynamic_stats }
    });
    let strict_headers = scope.each("strict_check_headers", strict_check_headers, |scope, name| {
        StrictHeader::from_name(&name)
            .ok_or_else(|| scope.fault(format_args!("{name:?} is no header that can be checked")))
    })?;
    Ok(RouterOptions {
        suppress_envoy_headers,
        respect_expected_timeout: respect_expected_rq_timeout,
        strict_headers: strict_headers.into(),
    })
}
