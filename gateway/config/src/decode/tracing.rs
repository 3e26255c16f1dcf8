// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes how requests are traced.

use crate::decode::services::{grpc_service, http_service};
use crate::decode::{Fault, Scope, fields, number, type_name};
use crate::{Collector, Fraction, TagValue, Tracing};
use gateway_xds_api::pb::envoy::config::core::v3::HttpService;
use gateway_xds_api::pb::envoy::config::trace::v3::{self as trace, tracing};
use gateway_xds_api::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager as manager;
use gateway_xds_api::pb::envoy::r#type::tracing::v3::{self as pb, custom_tag};
use gateway_xds_api::pb::envoy::r#type::v3::Percent;
use gateway_xds_api::unpack;
use http::HeaderName;

/// Envoy's.
const LONGEST_PATH: u32 = 256;
/// Shares are counted in these parts.
const PARTS: u32 = 10_000;

/// None without a provider: then nobody would get a span.
#[allow(deprecated, reason = "a complete list of the fields names the deprecated ones too")]
pub(crate) fn tracing(scope: &mut Scope, message: manager::Tracing) -> Result<Option<Tracing>, Fault> {
    fields!(scope, message => manager::Tracing {
        use { client_sampling, random_sampling, overall_sampling, max_path_tag_length, custom_tags, provider, no_context_propagation }
        warn { verbose, spawn_upstream_span, operation, upstream_operation }
        quiet { }
    });
    let Some(provider) = provider else { return Ok(None) };
    let (collector, service) = scope.at("provider", |scope| open_telemetry(scope, provider))?;
    let tags = scope.each("custom_tags", custom_tags, tag)?;
    Ok(Some(Tracing {
        collector,
        service,
        client: share(scope, "client_sampling", client_sampling)?,
        random: share(scope, "random_sampling", random_sampling)?,
        overall: share(scope, "overall_sampling", overall_sampling)?,
        propagate: !no_context_propagation,
        tags: tags.into_iter().flatten().collect(),
        longest_path: number(max_path_tag_length).unwrap_or(LONGEST_PATH) as usize,
    }))
}

fn open_telemetry(scope: &mut Scope, provider: tracing::Http) -> Result<(Collector, Box<str>), Fault> {
    let tracing::http::ConfigType::TypedConfig(any) = scope.required("typed_config", provider.config_type)?;
    match type_name(&any) {
        "envoy.config.trace.v3.OpenTelemetryConfig" => {}
        other => {
            let message = format_args!("the tracer {other} is not supported; use OpenTelemetryConfig");
            return Err(scope.field_fault("typed_config", message));
        }
    }
    let message: trace::OpenTelemetryConfig = unpack(&any).map_err(|error| scope.fault(error))?;
    fields!(scope, message => trace::OpenTelemetryConfig {
        use { grpc_service, http_service, service_name }
        warn { exporter, resource_detectors, sampler }
        quiet {
            max_cache_size, set_telemetry_sdk_resource_attributes, set_service_name_resource_attribute, set_instrumentation_scope,
        }
    });
    let service = if service_name.is_empty() { "unknown_service:gatefleet".to_owned() } else { service_name };
    Ok((collector(scope, grpc_service, http_service)?, service.into()))
}

/// One of two services.
fn collector(
    scope: &mut Scope,
    grpc: Option<gateway_xds_api::pb::envoy::config::core::v3::GrpcService>,
    http: Option<HttpService>,
) -> Result<Collector, Fault> {
    match (grpc, http) {
        (Some(grpc), None) => {
            Ok(Collector::Grpc(scope.at("grpc_service", |scope| self::grpc_service(scope, grpc))?))
        }
        (None, Some(http)) => scope.at("http_service", |scope| {
            fields!(scope, http => HttpService {
                use { http_uri }
                warn { request_headers_to_add, formatters }
                quiet { }
            });
            let uri = scope.required("http_uri", http_uri)?;
            Ok(Collector::Http(scope.at("http_uri", |scope| http_service(scope, uri))?))
        }),
        _ => {
            Err(scope
                .field_fault("grpc_service", "is missing: one of grpc_service and http_service is needed"))
        }
    }
}

fn share(scope: &Scope, field: &str, percent: Option<Percent>) -> Result<Fraction, Fault> {
    let value = percent.map_or(100.0, |percent| percent.value);
    if !(0.0..=100.0).contains(&value) {
        return Err(scope.field_fault(field, "must be from 0 to 100"));
    }
    // In range, so that nothing is cut off but a fraction.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the value is in range")]
    let numerator = (value * f64::from(PARTS) / 100.0).round() as u32;
    Ok(Fraction { numerator, denominator: PARTS })
}

/// None for a tag whose value is not known here.
fn tag(scope: &mut Scope, tag: pb::CustomTag) -> Result<Option<(Box<str>, TagValue)>, Fault> {
    let pb::CustomTag { tag: name, r#type: kind } = tag;
    if name.is_empty() {
        return Err(scope.field_fault("tag", "is empty"));
    }
    let value = match scope.required("type", kind)? {
        custom_tag::Type::Literal(literal) => TagValue::Literal(literal.value.into()),
        custom_tag::Type::Environment(variable) => {
            let value = std::env::var(&variable.name).unwrap_or(variable.default_value);
            TagValue::Literal(value.into())
        }
        custom_tag::Type::RequestHeader(header) => {
            let parsed = HeaderName::try_from(&header.name)
                .map_err(|_| scope.field_fault("request_header.name", "is no header's name"))?;
            TagValue::Header(parsed, header.default_value.into())
        }
        custom_tag::Type::Metadata(_) | custom_tag::Type::Value(_) => {
            scope.warn(
                "type",
                format_args!("the tag {name:?} has no effect: use literal, environment or request_header"),
            );
            return Ok(None);
        }
    };
    Ok(Some((name.into(), value)))
}
