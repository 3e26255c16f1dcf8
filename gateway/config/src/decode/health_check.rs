// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes active health checks.

use crate::decode::headers::mutations;
use crate::decode::{Fault, Scope, fields, number, truth};
use crate::{CheckIntervals, HeaderFormat, HeaderTarget, HealthCheck, HealthProbe, HttpProbe, LbMetadata};
use bytes::Bytes;
use gateway_xds_api::pb::envoy::config::core::v3::{
    self as core, HeaderValueOption, RequestMethod, health_check as pb,
};
use gateway_xds_api::pb::envoy::r#type::v3::{CodecClientType, Int64Range};
use http::{HeaderName, HeaderValue, Method};
use std::ops::Range;
use std::time::Duration;

/// An active health check.
#[allow(deprecated, reason = "a complete list of the fields names the deprecated ones too")]
pub(crate) fn health_check(scope: &mut Scope, check: core::HealthCheck) -> Result<HealthCheck, Fault> {
    fields!(scope, check => core::HealthCheck {
        use {
            timeout, interval, unhealthy_threshold, healthy_threshold, health_checker, alt_port, initial_jitter, interval_jitter,
            interval_jitter_percent, reuse_connection, no_traffic_interval, no_traffic_healthy_interval, unhealthy_interval,
            unhealthy_edge_interval, healthy_edge_interval, always_log_health_check_failures, always_log_health_check_success,
            transport_socket_match_criteria,
        }
        warn { tls_options, event_log_path, event_logger, event_service }
        quiet { }
    });
    let timeout = scope.duration("timeout", timeout)?;
    let interval = scope.duration("interval", interval)?;
    let healthy = positive(scope, "interval", scope.required("interval", interval)?)?;
    let or = |scope: &Scope, field: &str, value, default: Duration| -> Result<Duration, Fault> {
        scope.duration(field, value)?.map_or(Ok(default), |value| positive(scope, field, value))
    };
    let unhealthy = or(scope, "unhealthy_interval", unhealthy_interval, healthy)?;
    let no_traffic = or(scope, "no_traffic_interval", no_traffic_interval, Duration::from_mins(1))?;
    let alt_port = match number(alt_port) {
        None | Some(0) => None,
        Some(port) => Some(u16::try_from(port).map_err(|_| scope.field_fault("alt_port", "is not a port"))?),
    };
    Ok(HealthCheck {
        timeout: positive(scope, "timeout", scope.required("timeout", timeout)?)?,
        times: CheckIntervals {
            healthy,
            unhealthy,
            healthy_edge: or(scope, "healthy_edge_interval", healthy_edge_interval, healthy)?,
            unhealthy_edge: or(scope, "unhealthy_edge_interval", unhealthy_edge_interval, unhealthy)?,
            no_traffic,
            no_traffic_healthy: or(
                scope,
                "no_traffic_healthy_interval",
                no_traffic_healthy_interval,
                no_traffic,
            )?,
            initial_jitter: scope.duration("initial_jitter", initial_jitter)?.unwrap_or_default(),
            jitter: scope.duration("interval_jitter", interval_jitter)?.unwrap_or_default(),
            jitter_percent: interval_jitter_percent,
        },
        unhealthy_threshold: number(unhealthy_threshold).unwrap_or(2).max(1),
        healthy_threshold: number(healthy_threshold).unwrap_or(1).max(1),
        alt_port,
        reuse_connection: truth(reuse_connection, true),
        log_failures: always_log_health_check_failures,
        log_successes: always_log_health_check_success,
        socket_metadata: transport_socket_match_criteria.map(LbMetadata::new),
        probe: probe(scope, health_checker)?,
    })
}

/// Checks without a pause between them would be a flood.
fn positive(scope: &Scope, field: &str, value: Duration) -> Result<Duration, Fault> {
    match value.is_zero() {
        true => Err(scope.field_fault(field, "must be above zero")),
        false => Ok(value),
    }
}

fn probe(scope: &mut Scope, checker: Option<pb::HealthChecker>) -> Result<HealthProbe, Fault> {
    match scope.required("health_checker", checker)? {
        pb::HealthChecker::HttpHealthCheck(message) => {
            let http = scope.at("http_health_check", |scope| http(scope, message))?;
            Ok(HealthProbe::Http(Box::new(http)))
        }
        pb::HealthChecker::TcpHealthCheck(message) => scope.at("tcp_health_check", |scope| {
            fields!(scope, message => pb::TcpHealthCheck {
                use { send, receive }
                warn { proxy_protocol_config }
                quiet { }
            });
            Ok(HealthProbe::Tcp {
                send: send.map(|send| payload(scope, send)).transpose()?.unwrap_or_default(),
                receive: scope.each("receive", receive, |scope, part| payload(scope, part))?.into(),
            })
        }),
        pb::HealthChecker::GrpcHealthCheck(message) => scope.at("grpc_health_check", |scope| {
            let pb::GrpcHealthCheck { service_name, authority, initial_metadata } = message;
            let (headers, _) = plain_headers(scope, initial_metadata, Vec::new())?;
            Ok(HealthProbe::Grpc {
                service: service_name.into(),
                authority: host(scope, "authority", authority)?,
                headers,
            })
        }),
        pb::HealthChecker::CustomHealthCheck(_) => {
            Err(scope.field_fault("custom_health_check", "is not supported"))
        }
    }
}

fn http(scope: &mut Scope, message: pb::HttpHealthCheck) -> Result<HttpProbe, Fault> {
    fields!(scope, message => pb::HttpHealthCheck {
        use {
            host, path, send, receive, response_buffer_size, request_headers_to_add, request_headers_to_remove, expected_statuses,
            retriable_statuses, codec_client_type, method,
        }
        warn { service_name_matcher }
        quiet { }
    });
    let method = match RequestMethod::try_from(method) {
        Ok(RequestMethod::MethodUnspecified | RequestMethod::Get) => Method::GET,
        Ok(RequestMethod::Connect) | Err(_) => return Err(scope.field_fault("method", "is not supported")),
        Ok(other) => Method::from_bytes(other.as_str_name().as_bytes())
            .map_err(|_| scope.field_fault("method", "is not supported"))?,
    };
    let http2 = match CodecClientType::try_from(codec_client_type) {
        Ok(CodecClientType::Http1) => false,
        Ok(CodecClientType::Http2) => true,
        _ => return Err(scope.field_fault("codec_client_type", "must be HTTP1 or HTTP2")),
    };
    let (headers, without) = plain_headers(scope, request_headers_to_add, request_headers_to_remove)?;
    let path = path
        .parse()
        .ok()
        .filter(|_| path.starts_with('/'))
        .ok_or_else(|| scope.field_fault("path", "is not a path"))?;
    Ok(HttpProbe {
        method,
        path,
        host: self::host(scope, "host", host)?,
        expected: scope.each("expected_statuses", expected_statuses, statuses)?.into(),
        retriable: scope.each("retriable_statuses", retriable_statuses, statuses)?.into(),
        headers,
        without,
        http2,
        send: send.map(|send| payload(scope, send)).transpose()?.unwrap_or_default(),
        receive: scope.each("receive", receive, |scope, part| payload(scope, part))?.into(),
        body_limit: response_buffer_size
            .map_or(1024, |size| usize::try_from(size.value).unwrap_or(usize::MAX))
            .min(1 << 20),
    })
}

fn host(scope: &Scope, field: &str, host: String) -> Result<Option<Box<str>>, Fault> {
    if !host.is_empty() && host.parse::<http::uri::Authority>().is_err() {
        return Err(scope.field_fault(field, "is not a host with an optional port"));
    }
    Ok(Some(host).filter(|host| !host.is_empty()).map(Into::into))
}

fn statuses(scope: &mut Scope, range: Int64Range) -> Result<Range<u16>, Fault> {
    let (start, end) = (u16::try_from(range.start), u16::try_from(range.end));
    let range = start.ok().zip(end.ok()).map(|(start, end)| start..end);
    range.ok_or_else(|| scope.fault("is not a range of status codes"))
}

/// Text is hexadecimal, as in Envoy.
fn payload(scope: &Scope, payload: pb::Payload) -> Result<Bytes, Fault> {
    match scope.required("payload", payload.payload)? {
        pb::payload::Payload::Binary(bytes) => Ok(bytes.into()),
        pb::payload::Payload::Text(text) => {
            let digits: Option<Vec<u8>> = text
                .chars()
                .map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
                .collect();
            let digits = digits.filter(|digits| digits.len().is_multiple_of(2));
            let digits = digits.ok_or_else(|| scope.field_fault("payload.text", "is not hexadecimal"))?;
            Ok(digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| (byte << 4) | digit)).collect())
        }
    }
}

/// Headers with the same value for each check, and names that are not sent.
type PlainHeaders = (Box<[(HeaderName, HeaderValue)]>, Box<[HeaderName]>);

fn plain_headers(
    scope: &mut Scope,
    add: Vec<HeaderValueOption>,
    remove: Vec<String>,
) -> Result<PlainHeaders, Fault> {
    let changes = mutations(scope, "request", add, remove)?;
    let mut headers = Vec::new();
    for addition in changes.add {
        match (addition.target, addition.value) {
            (HeaderTarget::Header(name), HeaderFormat::Literal(value)) => headers.push((name, value)),
            (HeaderTarget::Header(name), HeaderFormat::Parts(_)) => {
                scope.warn(
                    "request_headers_to_add",
                    format_args!("{name} is not sent: there is no request that its commands could read"),
                );
            }
            (HeaderTarget::Authority, _) => {
                scope.warn("request_headers_to_add", "the authority is not set; use host");
            }
        }
    }
    Ok((headers.into(), changes.remove))
}
