// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Limits, passive and active health, and TLS of a cluster.

use crate::{Secret, StringMatcher};
use std::sync::Arc;
use std::time::Duration;

/// Limits of a cluster, over all workers (Envoy's defaults: 1024, 1024, 1024, 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitBreakers {
    /// Connections.
    pub max_connections: u32,
    /// Requests that wait for a connection.
    pub max_pending_requests: u32,
    /// Requests at a time.
    pub max_requests: u32,
    /// Retries at a time; does not count where there is a budget.
    pub max_retries: u32,
    /// Retries as a share of the requests.
    pub retry_budget: Option<RetryBudget>,
}

/// Whose limits and connections a request uses (`priority` of routes). One is not held up by the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RoutingPriority {
    /// Those of all.
    #[default]
    Default,
    /// Those of important requests.
    High,
}

/// The limits of a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClusterLimits {
    /// For [`RoutingPriority::Default`].
    pub default: CircuitBreakers,
    /// For [`RoutingPriority::High`].
    pub high: CircuitBreakers,
    /// Connections to one host, over all workers and priorities; none: no limit.
    pub host_connections: Option<u32>,
}

impl ClusterLimits {
    /// The limits of a priority.
    #[must_use]
    pub fn of(&self, priority: RoutingPriority) -> &CircuitBreakers {
        match priority {
            RoutingPriority::Default => &self.default,
            RoutingPriority::High => &self.high,
        }
    }
}

/// Retries as a share of the requests that are running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBudget {
    /// The share, in hundredths of a percent (default 20 %).
    pub hundredths: u32,
    /// As many are always allowed (default 3).
    pub min_concurrency: u32,
}

impl CircuitBreakers {
    /// Retries at a time while so many requests are running.
    #[must_use]
    pub fn retries(&self, requests: u64) -> u32 {
        let Some(budget) = self.retry_budget else { return self.max_retries };
        let share = requests.saturating_mul(budget.hundredths.into()) / 10_000;
        u32::try_from(share).unwrap_or(u32::MAX).max(budget.min_concurrency)
    }
}

impl Default for CircuitBreakers {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_pending_requests: 1024,
            max_requests: 1024,
            max_retries: 3,
            retry_budget: None,
        }
    }
}

/// Hosts that fail more often than others, or than a fixed share; looked at after each interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateDetection {
    /// Against the other hosts.
    pub success_rate: Option<SuccessRate>,
    /// Against a fixed share.
    pub failure_percentage: Option<FailurePercentage>,
}

/// A host is ejected where its success rate is too far below the mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuccessRate {
    /// Percent of the outliers that are ejected (default 100).
    pub enforcing: u8,
    /// Hosts with enough requests that are needed (default 5).
    pub minimum_hosts: u32,
    /// Requests that are enough (default 100).
    pub request_volume: u32,
    /// Standard deviations below the mean, in thousandths (default 1900).
    pub stdev_factor: u32,
}

/// A host is ejected where this share of its requests failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailurePercentage {
    /// Percent of the outliers that are ejected.
    pub enforcing: u8,
    /// The share, percent (default 85).
    pub threshold: u8,
    /// Hosts with enough requests that are needed (default 5).
    pub minimum_hosts: u32,
    /// Requests that are enough (default 50).
    pub request_volume: u32,
}

/// When a host is ejected (`OutlierDetection`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutlierDetection {
    /// 5xx answers and failures in a row (default 5); none: do not count.
    pub consecutive_5xx: Option<u32>,
    /// 502, 503, 504 and failures in a row (default 5; Envoy enforces it at 0 % unless told otherwise); none: do not count.
    pub consecutive_gateway_failure: Option<u32>,
    /// Failures without an answer are counted apart from answers, and not as 5xx (`split_external_local_origin_errors`).
    pub split_local_origin: bool,
    /// Failures without an answer in a row (default 5), where they are counted apart; none: do not count.
    pub consecutive_local_origin_failure: Option<u32>,
    /// Time between looks at ejected hosts (default 10 s).
    pub interval: Duration,
    /// First time out; the n-th time it is n times this (default 30 s).
    pub base_ejection_time: Duration,
    /// Longest time out (default 300 s).
    pub max_ejection_time: Duration,
    /// While less than this percentage of hosts is out, another one may go (default 10).
    pub max_ejection_percent: u8,
    /// One may go in any case.
    pub always_eject_one: bool,
    /// Up to this much is added to the time out.
    pub ejection_jitter: Duration,
    /// Percent of the ejections after consecutive failures that take place: 5xx, gateway failures, local ones.
    pub enforcing: [u8; 3],
    /// A successful active check ends an ejection (default true).
    pub uneject_after_check: bool,
    /// By rates.
    pub rates: RateDetection,
}

impl Default for OutlierDetection {
    fn default() -> Self {
        Self {
            consecutive_5xx: Some(5),
            consecutive_gateway_failure: None,
            split_local_origin: false,
            consecutive_local_origin_failure: None,
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Duration::from_mins(5),
            max_ejection_percent: 10,
            always_eject_one: false,
            ejection_jitter: Duration::ZERO,
            enforcing: [100; 3],
            uneject_after_check: true,
            rates: RateDetection::default(),
        }
    }
}

/// TLS towards endpoints (`UpstreamTlsContext`).
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamTls {
    /// The server name sent.
    pub sni: Option<Box<str>>,
    /// The endpoint's host name is sent instead, where it has one (`auto_host_sni`).
    pub host_sni: bool,
    /// The certificate must be for the server name that was sent; [`Self::names`] do not count (`auto_sni_san_validation`).
    pub verify_sni: bool,
    /// Protocols offered.
    pub alpn: Box<[Box<str>]>,
    /// The roots; none: the endpoint's certificate is not verified, as in Envoy.
    pub roots: Option<SecretSource>,
    /// One of these must be in the certificate; empty: any name that the roots vouch for.
    pub names: Box<[SanMatcher]>,
    /// TLS 1.2 may be spoken.
    pub allow_tls12: bool,
    /// TLS 1.3 may be spoken.
    pub allow_tls13: bool,
    /// Our own certificate.
    pub certificate: Option<SecretSource>,
}

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum SecretSource {
    /// From SDS.
    Named(Box<str>),
    /// Written in the resource.
    Inline(Arc<Secret>),
}

/// A condition on a subject alternative name.
#[derive(Clone, Debug, PartialEq)]
pub struct SanMatcher {
    /// Which names are looked at.
    pub kind: SanKind,
    /// What they must be.
    pub matcher: StringMatcher,
}

/// The kind of a subject alternative name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SanKind {
    /// DNS name.
    Dns,
    /// URI.
    Uri,
    /// Address.
    Ip,
    /// Mail address.
    Email,
}
