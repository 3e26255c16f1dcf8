// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Rate limits that a service keeps for many gateways (`envoy.extensions.filters.http.ratelimit.v3`).

use crate::{Fraction, GrpcService, HeaderMutations, RateLimitRule};
use http::StatusCode;

/// A filter that asks a rate limit service.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "the switches are Envoy's")]
pub struct RateLimit {
    /// Whose limits these are, for the service.
    pub domain: Box<str>,
    /// Rules of this stage are sent.
    pub stage: u32,
    /// The service, with its time limit.
    pub service: GrpcService,
    /// Requests are refused where the service fails, this share of them.
    pub failure_deny: Option<Fraction>,
    /// The answer then.
    pub status_on_error: StatusCode,
    /// gRPC clients get RESOURCE_EXHAUSTED rather than UNAVAILABLE.
    pub resource_exhausted: bool,
    /// `x-ratelimit-*` headers tell the limits.
    pub rate_limit_headers: bool,
    /// `x-envoy-ratelimited` marks refusals.
    pub mark_refusals: bool,
    /// The answer to requests above the limit.
    pub status: StatusCode,
    /// Headers of such answers.
    pub response_headers: HeaderMutations,
    /// The share of requests that are counted.
    pub enabled: Option<Fraction>,
    /// The share of those above the limit that are refused.
    pub enforced: Option<Fraction>,
    /// Rules instead of those of routes and virtual hosts.
    pub rules: Box<[RateLimitRule]>,
    /// The namespace of what the service tells later filters.
    pub metadata_namespace: Box<str>,
    /// `retry-after` tells when a refused request may come again.
    pub retry_after: bool,
}

/// What a route says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RateLimitRoute {
    /// What becomes of the virtual host's rules.
    pub host_rules: HostRules,
    /// Rules instead of all others.
    pub rules: Box<[RateLimitRule]>,
    /// Another domain; empty: the filter's.
    pub domain: Box<str>,
}

/// What becomes of a virtual host's rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostRules {
    /// They count where the route has none.
    #[default]
    Override,
    /// They count too.
    Include,
    /// They do not count.
    Ignore,
}
