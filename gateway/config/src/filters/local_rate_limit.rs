// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Rate limits that this process keeps alone, over all its workers.

mod bucket;
mod descriptors;

pub use bucket::{Taken, TokenBucket};
pub use descriptors::{DescriptorEntry, LocalBuckets, LocalDescriptor, RequestDescriptor};

use crate::{Fraction, HeaderMutations, HostRules, RateLimitRule};
use http::StatusCode;
use std::sync::Arc;

/// A limit (`envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit`).
#[derive(Debug, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "the switches are Envoy's")]
pub struct LocalRateLimit {
    /// Prefix of its statistics.
    pub stat_prefix: Box<str>,
    /// Answer of a request above the limit.
    pub status: StatusCode,
    /// The tokens.
    pub buckets: Arc<LocalBuckets>,
    /// Each connection has buckets of its own.
    pub per_connection: bool,
    /// Rules of this stage count.
    pub stage: u32,
    /// What becomes of the virtual host's rules.
    pub host_rules: HostRules,
    /// Rules instead of those of routes and virtual hosts.
    pub rules: Box<[RateLimitRule]>,
    /// Share of requests that are counted.
    pub enabled: Fraction,
    /// Share of these that are refused.
    pub enforced: Fraction,
    /// Headers of refused requests' answers.
    pub response_headers: HeaderMutations,
    /// Headers of requests that go on although above the limit.
    pub not_enforced_headers: HeaderMutations,
    /// Answers tell the limit in `x-ratelimit-*` (draft version 3).
    pub rate_limit_headers: bool,
    /// Refusals tell when to come back (`retry-after`).
    pub retry_after: bool,
    /// gRPC clients get RESOURCE_EXHAUSTED instead of UNAVAILABLE.
    pub resource_exhausted: bool,
}
