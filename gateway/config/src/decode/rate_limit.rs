// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes what a rate limit service is told about requests.

use crate::decode::route_match::{header_matcher, query_matcher};
use crate::decode::{Fault, Scope, fields, number, truth};
use crate::{RateLimitAction, RateLimitRule};
use gateway_xds_api::pb::envoy::config::route::v3 as pb;
use gateway_xds_api::pb::envoy::config::route::v3::rate_limit::{
    self as rule, action::ActionSpecifier, action::meta_data::Source, r#override::OverrideSpecifier,
};
use gateway_xds_api::pb::envoy::r#type::metadata::v3::{MetadataKey, metadata_key::path_segment};
use http::HeaderName;

/// Rules of a route, a virtual host or a filter.
pub(crate) fn rules(scope: &mut Scope, rules: Vec<pb::RateLimit>) -> Result<Box<[RateLimitRule]>, Fault> {
    scope.each("rate_limits", rules, rule).map(Into::into)
}

/// What would count other requests, or others than meant, is refused rather than passed over.
fn rule(scope: &mut Scope, rule: pb::RateLimit) -> Result<RateLimitRule, Fault> {
    fields!(scope, rule => pb::RateLimit {
        use { stage, actions, limit, hits_addend, apply_on_stream_done }
        warn { x_ratelimit_option }
        quiet { disable_key }
    });
    if apply_on_stream_done {
        return Err(scope.field_fault("apply_on_stream_done", "is not supported"));
    }
    if actions.is_empty() {
        return Err(scope.field_fault("actions", "is empty"));
    }
    let limit = match limit.and_then(|limit| limit.override_specifier) {
        None => None,
        Some(OverrideSpecifier::RateLimit(limit)) => Some((limit.requests_per_unit, limit.unit)),
        Some(OverrideSpecifier::DynamicMetadata(_)) => {
            return Err(scope.field_fault("limit.dynamic_metadata", "is not supported; use rate_limit"));
        }
    };
    let hits = hits_addend.unwrap_or_default();
    if !hits.format.is_empty() || hits.is_negative_hits {
        return Err(scope.field_fault("hits_addend", "only a number is supported"));
    }
    Ok(RateLimitRule {
        stage: number(stage).unwrap_or(0),
        actions: scope.each("actions", actions, action)?.into(),
        limit,
        hits: hits.number.map(|number| number.value),
    })
}

#[allow(deprecated, reason = "older control planes send the deprecated action still")]
fn action(scope: &mut Scope, action: rule::Action) -> Result<RateLimitAction, Fault> {
    let unsupported = |field: &str| Err(scope.field_fault(field, "is not supported"));
    Ok(match scope.required("action_specifier", action.action_specifier)? {
        ActionSpecifier::DestinationCluster(_) => RateLimitAction::DestinationCluster,
        ActionSpecifier::RemoteAddress(_) => RateLimitAction::RemoteAddress,
        ActionSpecifier::RequestHeaders(headers) => RateLimitAction::RequestHeader {
            header: HeaderName::try_from(headers.header_name)
                .map_err(|_| scope.field_fault("request_headers.header_name", "is not a header name"))?,
            key: filled(scope, "request_headers.descriptor_key", headers.descriptor_key)?,
            skip_if_absent: headers.skip_if_absent,
        },
        ActionSpecifier::QueryParameters(query) => RateLimitAction::QueryParameter {
            name: filled(scope, "query_parameters.query_parameter_name", query.query_parameter_name)?,
            key: filled(scope, "query_parameters.descriptor_key", query.descriptor_key)?,
            skip_if_absent: query.skip_if_absent,
        },
        ActionSpecifier::MaskedRemoteAddress(mask) => {
            let bits = |field: &str, value: Option<_>, most: u8| match number(value) {
                None => Ok(most),
                Some(bits) => u8::try_from(bits)
                    .ok()
                    .filter(|bits| *bits <= most)
                    .ok_or_else(|| scope.field_fault(field, format_args!("must be {most} or less"))),
            };
            RateLimitAction::MaskedRemoteAddress(
                bits("v4_prefix_mask_len", mask.v4_prefix_mask_len, 32)?,
                bits("v6_prefix_mask_len", mask.v6_prefix_mask_len, 128)?,
            )
        }
        ActionSpecifier::GenericKey(generic) => RateLimitAction::GenericKey {
            key: or(generic.descriptor_key, "generic_key"),
            value: fixed(scope, "generic_key.descriptor_value", generic.descriptor_value)?,
        },
        ActionSpecifier::HeaderValueMatch(found) => RateLimitAction::HeaderMatch {
            key: or(found.descriptor_key, "header_match"),
            value: fixed(scope, "header_value_match.descriptor_value", found.descriptor_value)?,
            expect: truth(found.expect_match, true),
            headers: scope.each("header_value_match.headers", found.headers, header_matcher)?.into(),
        },
        ActionSpecifier::QueryParameterValueMatch(found) => RateLimitAction::QueryMatch {
            key: or(found.descriptor_key, "query_match"),
            value: fixed(scope, "query_parameter_value_match.descriptor_value", found.descriptor_value)?,
            expect: truth(found.expect_match, true),
            parameters: scope
                .each("query_parameter_value_match.query_parameters", found.query_parameters, query_matcher)?
                .into(),
        },
        ActionSpecifier::DynamicMetadata(data) => {
            metadata(scope, data.descriptor_key, data.metadata_key, (data.default_value, false))?
        }
        ActionSpecifier::Metadata(data) => {
            if Source::try_from(data.source) != Ok(Source::Dynamic) {
                return Err(scope.field_fault("metadata.source", "only DYNAMIC is supported"));
            }
            metadata(
                scope,
                data.descriptor_key,
                data.metadata_key,
                (data.default_value, data.skip_if_absent),
            )?
        }
        ActionSpecifier::SourceCluster(_) => return unsupported("source_cluster"),
        ActionSpecifier::RemoteAddressMatch(_) => return unsupported("remote_address_match"),
        ActionSpecifier::Extension(_) => return unsupported("extension"),
    })
}

fn metadata(
    scope: &Scope,
    key: String,
    metadata: Option<MetadataKey>,
    (default, skip_if_absent): (String, bool),
) -> Result<RateLimitAction, Fault> {
    let MetadataKey { key: namespace, path } = scope.required("metadata_key", metadata)?;
    let path = path.into_iter().map(|segment| match segment.segment {
        Some(path_segment::Segment::Key(key)) => Ok(key.into()),
        Some(path_segment::Segment::Index(_)) => {
            Err(scope.field_fault("metadata_key.path", "has an index, which is not supported; use keys"))
        }
        None => Err(scope.field_fault("metadata_key.path", "has an empty segment")),
    });
    Ok(RateLimitAction::Metadata {
        key: filled(scope, "descriptor_key", key)?,
        namespace: filled(scope, "metadata_key.key", namespace)?,
        path: path.collect::<Result<_, _>>()?,
        default: default.into(),
        skip_if_absent,
    })
}

fn filled(scope: &Scope, field: &str, text: String) -> Result<Box<str>, Fault> {
    if text.is_empty() { Err(scope.field_fault(field, "is empty")) } else { Ok(text.into()) }
}

fn fixed(scope: &Scope, field: &str, text: String) -> Result<Box<str>, Fault> {
    if text.contains('%') {
        return Err(scope.field_fault(field, "substitution commands are not supported here"));
    }
    filled(scope, field, text)
}

fn or(text: String, default: &str) -> Box<str> {
    if text.is_empty() { default.into() } else { text.into() }
}
