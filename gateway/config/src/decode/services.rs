// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes services that filters and exporters call.

use crate::decode::{Fault, Scope, fields, number};
use crate::{GrpcService, HttpService, ServiceRetries};
use gateway_xds_api::pb::envoy::config::core::v3 as core;
use gateway_xds_api::pb::envoy::config::core::v3::{grpc_service, http_uri};
use http::uri::{PathAndQuery, Uri};
use http::{HeaderName, HeaderValue};
use std::time::Duration;

/// The largest gRPC message where none is configured; Envoy has no limit.
const MAX_MESSAGE: usize = 4 << 20;

/// A gRPC service.
pub(crate) fn grpc_service(scope: &mut Scope, service: core::GrpcService) -> Result<GrpcService, Fault> {
    let core::GrpcService { timeout, initial_metadata, retry_policy: outer_retries, target_specifier } =
        service;
    let timeout = scope.limit("timeout", timeout, None)?;
    let metadata = scope.each("initial_metadata", initial_metadata, fixed_header)?.into();
    let target = match scope.required("target_specifier", target_specifier)? {
        grpc_service::TargetSpecifier::EnvoyGrpc(target) => target,
        grpc_service::TargetSpecifier::GoogleGrpc(_) => {
            return Err(scope.field_fault("google_grpc", "is not supported; use envoy_grpc"));
        }
    };
    scope.at("envoy_grpc", |scope| {
        fields!(scope, target => grpc_service::EnvoyGrpc {
            use { cluster_name, authority, retry_policy, max_receive_message_length }
            warn { }
            quiet { skip_envoy_headers }
        });
        if cluster_name.is_empty() {
            return Err(scope.field_fault("cluster_name", "is empty"));
        }
        let authority = if authority.is_empty() { &cluster_name } else { &authority };
        let authority = HeaderValue::from_str(authority)
            .ok()
            .filter(|value| http::uri::Authority::try_from(value.as_bytes()).is_ok())
            .ok_or_else(|| {
                scope.field_fault("authority", "is not an authority (the default is the cluster's name)")
            })?;
        let max_message = match number(max_receive_message_length) {
            None | Some(0) => MAX_MESSAGE,
            Some(bytes) => usize::try_from(bytes).unwrap_or(usize::MAX),
        };
        let retries = retry_policy.or(outer_retries).map(|policy| retries(scope, policy)).transpose()?;
        Ok(GrpcService {
            cluster: cluster_name.into(),
            authority,
            timeout,
            metadata,
            max_message,
            retries: retries.unwrap_or_default(),
        })
    })
}

/// An HTTP service.
pub(crate) fn http_service(scope: &mut Scope, service: core::HttpUri) -> Result<HttpService, Fault> {
    let core::HttpUri { uri, timeout, http_upstream_type } = service;
    let not_usable = || scope.field_fault("uri", "must be http://host/path or https://host/path");
    let parsed: Uri = uri.parse().map_err(|_| not_usable())?;
    let http = matches!(parsed.scheme_str(), Some("http" | "https") | None);
    let authority = parsed.authority().filter(|_| http).ok_or_else(not_usable)?;
    let authority = HeaderValue::from_str(authority.as_str()).map_err(|_| not_usable())?;
    let path = parsed.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let timeout = scope.duration("timeout", timeout)?.filter(|timeout| *timeout > Duration::ZERO);
    let http_uri::HttpUpstreamType::Cluster(cluster) = scope.required("cluster", http_upstream_type)?;
    if cluster.is_empty() {
        return Err(scope.field_fault("cluster", "is empty"));
    }
    let timeout = scope.required("timeout", timeout)?;
    Ok(HttpService { cluster: cluster.into(), authority, path, timeout })
}

/// Retries of a service; the conditions are fixed.
pub(crate) fn retries(scope: &mut Scope, policy: core::RetryPolicy) -> Result<ServiceRetries, Fault> {
    fields!(scope, policy => core::RetryPolicy {
        use { retry_back_off, num_retries }
        warn { retry_on, retry_priority, retry_host_predicate, host_selection_retry_max_attempts }
        quiet { }
    });
    let default = ServiceRetries { count: 1, ..ServiceRetries::default() };
    let count = number(num_retries).unwrap_or(default.count);
    let Some(core::BackoffStrategy { base_interval, max_interval }) = retry_back_off else {
        return Ok(ServiceRetries { count, ..default });
    };
    let base = scope.duration("retry_back_off.base_interval", base_interval)?;
    let base = scope.required("retry_back_off.base_interval", base.filter(|base| *base > Duration::ZERO))?;
    let max = scope.duration("retry_back_off.max_interval", max_interval)?.unwrap_or(base * 10);
    if max < base {
        return Err(scope.field_fault("retry_back_off.max_interval", "is below base_interval"));
    }
    Ok(ServiceRetries { count, base, max })
}

/// A header with a value that is the same for all calls.
pub(crate) fn fixed_header(
    scope: &mut Scope,
    header: core::HeaderValue,
) -> Result<(HeaderName, HeaderValue), Fault> {
    let core::HeaderValue { key, value, raw_value } = header;
    let name = HeaderName::try_from(key).map_err(|_| scope.field_fault("key", "is not a header name"))?;
    if value.contains('%') {
        return Err(scope.field_fault("value", "substitution commands are not supported here"));
    }
    let bytes = if raw_value.is_empty() { value.into_bytes() } else { raw_value };
    let value =
        HeaderValue::try_from(bytes).map_err(|_| scope.field_fault("value", "is not a header value"))?;
    Ok((name, value))
}
