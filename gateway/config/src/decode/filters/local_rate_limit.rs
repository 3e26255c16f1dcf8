// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes the local rate limit filter.

use crate::decode::headers::addition;
use crate::decode::rate_limit::rules;
use crate::decode::strings::fraction;
use crate::decode::{Fault, Scope, fields, number, truth};
use crate::filters::{HostRules, LocalBuckets, LocalDescriptor};
use crate::{Fraction, HeaderMutations, LocalRateLimit, TokenBucket};
use gateway_xds_api::pb::envoy::config::core::v3::{HeaderValueOption, RuntimeFractionalPercent};
use gateway_xds_api::pb::envoy::extensions::common::ratelimit::v3::{
    LocalRateLimitDescriptor, VhRateLimitsOptions, XRateLimitHeadersRfcVersion,
};
use gateway_xds_api::pb::envoy::extensions::filters::http::local_ratelimit::v3 as pb;
use gateway_xds_api::pb::envoy::r#type::v3 as kinds;
use gateway_xds_api::pb::google::protobuf::Any;
use gateway_xds_api::unpack;
use http::StatusCode;
use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// More buckets for values that clients choose are refused.
const MOST_DYNAMIC: usize = 100_000;

/// Buckets that fill faster would wake for nothing; Envoy refuses them too.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(50);

/// The listener's limit, or a route's.
pub(crate) fn limit(scope: &mut Scope, any: &Any) -> Result<LocalRateLimit, Fault> {
    let message: pb::LocalRateLimit = unpack(any).map_err(|error| scope.fault(error))?;
    fields!(scope, message => pb::LocalRateLimit {
        use {
            stat_prefix, status, token_bucket, filter_enabled, filter_enforced, request_headers_to_add_when_not_enforced,
            response_headers_to_add, descriptors, stage, local_rate_limit_per_downstream_connection, local_cluster_rate_limit,
            enable_x_ratelimit_headers, vh_rate_limits, always_consume_default_token_bucket, rate_limited_as_resource_exhausted,
            rate_limits, max_dynamic_descriptors, enable_retry_after_header,
        }
        warn { }
        quiet { }
    });
    // Left out, it would let through what was meant to be limited.
    if local_cluster_rate_limit.is_some() {
        return Err(
            scope.field_fault("local_cluster_rate_limit", "is not supported; limit with token_bucket")
        );
    }
    let most = number(max_dynamic_descriptors).unwrap_or(20);
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    if !(1..=MOST_DYNAMIC).contains(&most) {
        let message = format_args!("must be from 1 to {MOST_DYNAMIC}");
        return Err(scope.field_fault("max_dynamic_descriptors", message));
    }
    if stat_prefix.is_empty() {
        return Err(scope.field_fault("stat_prefix", "is empty"));
    }
    let status = match status {
        None => StatusCode::TOO_MANY_REQUESTS,
        // As in Envoy: what is no error does not refuse.
        Some(status) if status.code < 400 => StatusCode::TOO_MANY_REQUESTS,
        Some(status) => u16::try_from(status.code)
            .ok()
            .and_then(|code| StatusCode::from_u16(code).ok())
            .ok_or_else(|| scope.field_fault("status.code", "is not an HTTP status"))?,
    };
    Ok(LocalRateLimit {
        stat_prefix: stat_prefix.into(),
        status,
        buckets: Arc::new(LocalBuckets {
            default: token_bucket
                .map(|bucket| scope.at("token_bucket", |scope| self::bucket(scope, bucket)))
                .transpose()?,
            always_default: truth(always_consume_default_token_bucket, true),
            descriptors: self::descriptors(scope, descriptors, most)?,
        }),
        per_connection: local_rate_limit_per_downstream_connection,
        stage,
        host_rules: match VhRateLimitsOptions::try_from(vh_rate_limits) {
            Ok(VhRateLimitsOptions::Override) => HostRules::Override,
            Ok(VhRateLimitsOptions::Include) => HostRules::Include,
            Ok(VhRateLimitsOptions::Ignore) => HostRules::Ignore,
            Err(_) => return Err(scope.field_fault("vh_rate_limits", "is not known")),
        },
        rules: rules(scope, rate_limits)?,
        enabled: share(scope, "filter_enabled", filter_enabled)?,
        enforced: share(scope, "filter_enforced", filter_enforced)?,
        response_headers: headers(scope, "response_headers_to_add", response_headers_to_add)?,
        not_enforced_headers: headers(
            scope,
            "request_headers_to_add_when_not_enforced",
            request_headers_to_add_when_not_enforced,
        )?,
        rate_limit_headers: enable_x_ratelimit_headers
            == i32::from(XRateLimitHeadersRfcVersion::DraftVersion03),
        retry_after: enable_retry_after_header,
        resource_exhausted: rate_limited_as_resource_exhausted,
    })
}

fn descriptors(
    scope: &mut Scope,
    descriptors: Vec<LocalRateLimitDescriptor>,
    most: usize,
) -> Result<Box<[LocalDescriptor]>, Fault> {
    let mut decoded = scope.each("descriptors", descriptors, |scope, descriptor| {
        let LocalRateLimitDescriptor { entries, token_bucket, shadow_mode } = descriptor;
        if entries.is_empty() || entries.iter().any(|entry| entry.key.is_empty()) {
            return Err(scope.field_fault("entries", "is empty, or has an entry without a key"));
        }
        let open = |value: String| Some(value).filter(|value| !value.is_empty()).map(Into::into);
        let entries = entries.into_iter().map(|entry| (entry.key.into(), open(entry.value))).collect();
        let tokens = scope.required("token_bucket", token_bucket)?;
        let bucket = scope.at("token_bucket", |scope| bucket(scope, tokens))?;
        Ok((bucket.nanos_per_token(), LocalDescriptor::new(entries, bucket, shadow_mode, most)))
    })?;
    let mut seen = HashSet::new();
    if decoded.iter().any(|(_, descriptor)| !seen.insert(descriptor.entries())) {
        return Err(scope.field_fault("descriptors", "has the same entries twice"));
    }
    decoded.sort_by_key(|(slowness, _)| Reverse(*slowness));
    Ok(decoded.into_iter().map(|(_, descriptor)| descriptor).collect())
}

/// A bucket of tokens.
pub(crate) fn bucket(scope: &mut Scope, bucket: kinds::TokenBucket) -> Result<TokenBucket, Fault> {
    let kinds::TokenBucket { max_tokens, tokens_per_fill, fill_interval } = bucket;
    let interval = scope.duration("fill_interval", fill_interval)?;
    let interval = scope.required("fill_interval", interval)?;
    if interval < SHORTEST_INTERVAL {
        return Err(scope.field_fault("fill_interval", "must be at least 50 ms"));
    }
    match tokens_per_fill.map_or(1, |tokens| tokens.value) {
        0 => Err(scope.field_fault("tokens_per_fill", "must be above 0")),
        tokens => Ok(TokenBucket::new(max_tokens, tokens, interval)),
    }
}

/// Envoy's default is none at all.
fn share(scope: &mut Scope, field: &str, share: Option<RuntimeFractionalPercent>) -> Result<Fraction, Fault> {
    match share {
        None => Ok(Fraction { numerator: 0, denominator: 100 }),
        Some(share) => scope.at(field, |scope| fraction(scope, share)),
    }
}

fn headers(scope: &mut Scope, field: &str, add: Vec<HeaderValueOption>) -> Result<HeaderMutations, Fault> {
    Ok(HeaderMutations { remove: Box::default(), add: scope.each(field, add, addition)?.into() })
}
