// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Whether a request, or a session of datagrams, gets a line in a log.

use crate::access_rules::is as metadata_is;
use crate::format::{Values, grpc_code};
use gateway_config::{HeaderSource, LogFilter};
use gateway_filter_api::ResponseFlags;
use http::HeaderName;

/// Whether a log's filter takes the request.
pub(crate) fn is_wanted(filter: &LogFilter, values: &Values<'_>, flags: ResponseFlags) -> bool {
    match filter {
        LogFilter::Status(comparison) => {
            comparison.holds(values.status.map_or(0, |status| status.as_u16().into()))
        }
        LogFilter::Duration(comparison) => {
            let millis = values.duration.unwrap_or_default().as_millis();
            comparison.holds(u64::try_from(millis).unwrap_or(u64::MAX))
        }
        LogFilter::NotHealthCheck => true,
        LogFilter::Traceable => {
            request_id(values).is_some_and(|id| matches!(id.get(14), Some(b'9' | b'a' | b'b')))
        }
        LogFilter::Share { fraction, independent } => {
            let stable = if *independent { None } else { stable_number(values) };
            fraction.accepts(stable.unwrap_or_else(rand::random))
        }
        LogFilter::All(inner) => inner.iter().all(|inner| is_wanted(inner, values, flags)),
        LogFilter::Any(inner) => inner.iter().any(|inner| is_wanted(inner, values, flags)),
        LogFilter::Header(matcher) => {
            matcher.test(values.headers.and_then(|headers| headers.request(&matcher.name)))
        }
        LogFilter::Flags(wanted) if wanted.is_empty() => flags.names().next().is_some(),
        LogFilter::Flags(wanted) => flags.names().any(|flag| wanted.iter().any(|name| **name == *flag)),
        LogFilter::GrpcStatus { statuses, exclude } => {
            let told = values.headers.and_then(grpc_code);
            // Without one Envoy takes the code that the HTTP status maps to.
            let code = told.unwrap_or_else(|| code_of(values.status.map_or(0, |status| status.as_u16())));
            statuses.contains(&code) != *exclude
        }
        LogFilter::Metadata { matcher, absent } => {
            let path = matcher.path.iter().map(|key| &**key);
            let found = values.metadata.and_then(|metadata| metadata.value(&matcher.filter, path));
            match found {
                None => *absent,
                found => metadata_is(found, &matcher.value) != matcher.invert,
            }
        }
        LogFilter::Kind { request, session } => {
            if values.session.is_some() {
                *session
            } else {
                *request
            }
        }
    }
}

fn request_id<'a>(values: &Values<'a>) -> Option<&'a [u8]> {
    values.headers?.request(&HeaderSource::Header(HeaderName::from_static("x-request-id")))
}

/// The first eight digits of the request's UUID, so that all proxies on its way decide alike.
fn stable_number(values: &Values<'_>) -> Option<u64> {
    let digits = std::str::from_utf8(request_id(values)?.get(..8)?).ok()?;
    u64::from_str_radix(digits, 16).ok()
}

/// gRPC, `http-grpc-status-mapping`.
fn code_of(status: u16) -> i32 {
    match status {
        200 => 0,
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}
