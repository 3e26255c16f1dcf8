// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes cross-origin policies.

use crate::decode::strings::{fraction, string_matcher};
use crate::decode::{Fault, Scope, fields, truth};
use crate::{CorsPolicy, Fraction};
use gateway_xds_api::pb::envoy::extensions::filters::http::cors::v3 as cors_pb;
use gateway_xds_api::pb::google::protobuf::Any;
use gateway_xds_api::unpack;
use http::HeaderValue;

/// A cross-origin policy; none where it is switched off.
pub(crate) fn policy(scope: &mut Scope, any: &Any) -> Result<Option<CorsPolicy>, Fault> {
    let policy: cors_pb::CorsPolicy = unpack(any).map_err(|error| scope.fault(error))?;
    fields!(scope, policy => cors_pb::CorsPolicy {
        use {
            allow_origin_string_match, allow_methods, allow_headers, expose_headers, max_age, allow_credentials, filter_enabled,
            forward_not_matching_preflights,
        }
        warn { shadow_enabled, allow_private_network_access }
        quiet { }
    });
    if let Some(enabled) = filter_enabled {
        let share = scope.at("filter_enabled", |scope| fraction(scope, enabled))?;
        match share {
            Fraction { numerator: 0, .. } => return Ok(None),
            Fraction { numerator, denominator } if numerator < denominator => {
                scope.warn("filter_enabled", "a share between none and all counts as all")
            }
            _ => {}
        }
    }
    let value = |scope: &Scope, field: &str, text: String| match text.is_empty() {
        true => Ok(None),
        false => HeaderValue::from_str(&text)
            .map(Some)
            .map_err(|_| scope.field_fault(field, "is not a header value")),
    };
    Ok(Some(CorsPolicy {
        allow_origins: scope
            .each("allow_origin_string_match", allow_origin_string_match, string_matcher)?
            .into(),
        allow_methods: value(scope, "allow_methods", allow_methods)?,
        allow_headers: value(scope, "allow_headers", allow_headers)?,
        expose_headers: value(scope, "expose_headers", expose_headers)?,
        max_age: value(scope, "max_age", max_age)?,
        allow_credentials: truth(allow_credentials, false),
        forward_unmatched_preflights: truth(forward_not_matching_preflights, true),
    }))
}
