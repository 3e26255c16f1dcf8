// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What a route does with a request: forward, redirect, answer.

use crate::{
    BodyFormat, FilterSettings, Fraction, HashPolicy, HeaderMutations, InternalRedirects, LbMetadata,
    RateLimitRule, RetryPolicy, RoutingPriority,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use regex::Regex;
use std::time::Duration;

/// What happens to a request that a route takes.
#[derive(Clone, Debug)]
pub enum Action {
    /// It goes to a cluster.
    Forward(Box<Forward>),
    /// The client is sent elsewhere.
    Redirect(Box<Redirect>),
    /// It is answered here.
    Respond(DirectResponse),
}

/// Forwarding to one of several clusters.
#[derive(Clone, Debug)]
pub struct Forward {
    /// The clusters.
    pub clusters: WeightedClusters,
    /// The answer where the chosen cluster is unknown.
    pub cluster_not_found: StatusCode,
    /// From the end of the request to the end of the answer; none: no limit (Envoy's default is 15 s).
    pub timeout: Option<Duration>,
    /// How long the whole stream may last.
    pub duration: StreamDuration,
    /// Overrides the listener's stream idle timeout; `Some(0)` switches it off.
    pub idle_timeout: Option<Duration>,
    /// Whose limits and connections of the cluster it uses.
    pub priority: RoutingPriority,
    /// When to try again.
    pub retry: Option<RetryPolicy>,
    /// Above as `x-envoy-expected-rq-timeout-ms` tells it, where the request changes nothing.
    pub expected_timeout: Option<HeaderValue>,
    /// A new path.
    pub path_rewrite: Option<PathRewrite>,
    /// A new authority.
    pub host_rewrite: Option<HostRewrite>,
    /// `x-forwarded-host` tells the authority that was replaced.
    pub append_forwarded_host: bool,
    /// Redirects of the upstream that are followed here.
    pub internal_redirects: Option<InternalRedirects>,
    /// Clusters that get a copy.
    pub mirrors: Box<[Mirror]>,
    /// What a rate limit service is told.
    pub rate_limits: Box<[RateLimitRule]>,
    /// It is told what the virtual host says too; else only where the route says nothing.
    pub include_host_rate_limits: bool,
    /// Upgrades allowed or forbidden for this route; overrides the listener's.
    pub upgrades: Box<[UpgradeRule]>,
    /// What the request is hashed by.
    pub hash_policies: Box<[HashPolicy]>,
}

/// The time that the upstream is told about: of one attempt where it has its own limit, else of the request.
#[must_use]
pub fn expected_timeout(timeout: Option<Duration>, per_try: Option<Duration>) -> Option<Duration> {
    let set = |time: Option<Duration>| time.filter(|time| !time.is_zero());
    match (set(timeout), set(per_try)) {
        (Some(timeout), Some(per_try)) => Some(timeout.min(per_try)),
        (timeout, per_try) => per_try.or(timeout),
    }
}

/// How long a stream may last (`max_stream_duration`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamDuration {
    /// Instead of the listener's limit; zero: no limit.
    pub max: Option<Duration>,
    /// Requests with `grpc-timeout` may last as long as that says, but no longer than this; zero: as long as it says.
    pub grpc_max: Option<Duration>,
    /// Taken from what `grpc-timeout` says.
    pub grpc_offset: Duration,
    /// The upstream of a gRPC request is told the limit that counts: the route has limits of its own.
    pub tell: bool,
}

/// Whether connections may be upgraded to a protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpgradeRule {
    /// Lower case, such as `websocket`; `connect` is the method.
    pub protocol: Box<str>,
    /// Allowed.
    pub enabled: bool,
    /// CONNECT ends here: its bytes go to the cluster as they are (`connect_config`).
    pub terminates: bool,
}

/// Clusters by weight.
#[derive(Clone, Debug)]
pub struct WeightedClusters {
    /// At least one.
    pub clusters: Box<[WeightedCluster]>,
    /// Sum of the weights; at least 1.
    pub total: u64,
    /// A number in this header chooses instead of chance.
    pub choice_header: Option<HeaderName>,
}

impl WeightedClusters {
    /// The cluster for a request: by chance, or by the number in a header.
    #[must_use]
    pub fn choose(&self, random: u64, headers: &HeaderMap) -> Option<&WeightedCluster> {
        let told =
            self.choice_header.as_ref().and_then(|name| headers.get(name)?.to_str().ok()?.parse().ok());
        self.pick(told.unwrap_or(random))
    }

    /// The cluster that a random number picks; none only where there are no clusters.
    #[must_use]
    pub fn pick(&self, random: u64) -> Option<&WeightedCluster> {
        let mut left = random % self.total.max(1);
        for cluster in &self.clusters {
            let weight = u64::from(cluster.weight);
            if left < weight {
                return Some(cluster);
            }
            left -= weight;
        }
        self.clusters.first()
    }
}

/// One cluster of several.
#[derive(Clone, Debug)]
pub struct WeightedCluster {
    /// Its name; it may be unknown, see [`Forward::cluster_not_found`]. Empty where `header` names it.
    pub name: Box<str>,
    /// The header whose value is the name (`cluster_header`).
    pub header: Option<HeaderName>,
    /// Its share.
    pub weight: u32,
    /// Changes for requests to it.
    pub request_headers: HeaderMutations,
    /// Changes for answers from it.
    pub response_headers: HeaderMutations,
    /// Overrides [`Forward::host_rewrite`].
    pub host_rewrite: Option<HeaderValue>,
    /// Settings of filters for it, the route's folded in; none: the route's.
    pub filters: Option<FilterSettings>,
    /// What endpoints must have, where the cluster has subsets; the route's part is in it.
    pub metadata: LbMetadata,
}

/// How the path changes on its way to the upstream.
#[derive(Clone, Debug)]
pub enum PathRewrite {
    /// The matched prefix (or exact path) is replaced.
    Prefix(Box<str>),
    /// All matches of the expression in the path (without query) are replaced.
    Regex {
        /// The expression.
        pattern: Regex,
        /// The replacement, in the syntax of the `regex` crate (`${1}`).
        substitution: Box<str>,
    },
}

/// How the authority changes.
#[derive(Clone, Debug)]
pub enum HostRewrite {
    /// To a fixed one.
    Literal(HeaderValue),
    /// To the value of a request header, where it is there.
    Header(HeaderName),
    /// To the host name of the endpoint that is picked.
    FromEndpoint,
    /// To the path with all matches of an expression replaced.
    FromPath {
        /// The expression.
        pattern: Regex,
        /// The replacement, in the syntax of the `regex` crate (`${1}`).
        substitution: Box<str>,
    },
}

/// A copy of requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Where copies go.
    pub cluster: Box<str>,
    /// Which share; none: all.
    pub fraction: Option<Fraction>,
    /// The authority of copies ends in `-shadow`.
    pub shadow_suffix: bool,
}

/// A redirect; what is not set stays as the client asked.
#[derive(Clone, Debug)]
pub struct Redirect {
    /// New scheme, such as `https`.
    pub scheme: Option<Box<str>>,
    /// New host.
    pub host: Option<Box<str>>,
    /// New port.
    pub port: Option<u16>,
    /// New path.
    pub path: Option<RedirectPath>,
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
    /// The query is dropped.
    pub strip_query: bool,
}

/// How a redirect changes the path.
#[derive(Clone, Debug)]
pub enum RedirectPath {
    /// To this path; a query in it replaces the request's.
    Full(Box<str>),
    /// As in [`PathRewrite`].
    Rewrite(PathRewrite),
}

/// An answer from the gateway itself.
#[derive(Clone, Debug, PartialEq)]
pub struct DirectResponse {
    /// The status.
    pub status: StatusCode,
    /// The body; may be empty.
    pub body: Bytes,
    /// How the body is written; none: as it is.
    pub format: Option<BodyFormat>,
}
