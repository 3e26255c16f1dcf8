// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Envoy's response flags: why a request did not go as usual.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

/// A set of flags; shown as Envoy shows them, `-` where empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ResponseFlags(u32);

impl ResponseFlags {
    /// No healthy host.
    pub const NO_HEALTHY_UPSTREAM: Self = Self(1);
    /// No connection to the host.
    pub const UPSTREAM_FAILURE: Self = Self(1 << 1);
    /// The time for the request ran out.
    pub const UPSTREAM_TIMEOUT: Self = Self(1 << 2);
    /// The host reset the stream.
    pub const UPSTREAM_RESET: Self = Self(1 << 3);
    /// The host ended the connection.
    pub const UPSTREAM_TERMINATION: Self = Self(1 << 4);
    /// A circuit breaker.
    pub const UPSTREAM_OVERFLOW: Self = Self(1 << 5);
    /// No route.
    pub const NO_ROUTE: Self = Self(1 << 6);
    /// All retries were used up.
    pub const RETRY_LIMIT: Self = Self(1 << 7);
    /// The client went away.
    pub const DOWNSTREAM_TERMINATION: Self = Self(1 << 8);
    /// The client did not speak the protocol.
    pub const DOWNSTREAM_PROTOCOL_ERROR: Self = Self(1 << 9);
    /// The answer was not HTTP.
    pub const UPSTREAM_PROTOCOL_ERROR: Self = Self(1 << 10);
    /// Nothing moved for too long.
    pub const STREAM_IDLE_TIMEOUT: Self = Self(1 << 11);
    /// The cluster is unknown.
    pub const NO_CLUSTER: Self = Self(1 << 12);

    /// A local service's health check failed.
    pub const FAILED_LOCAL_HEALTH_CHECK: Self = Self(1 << 13);
    /// The gateway reset the stream to the host.
    pub const LOCAL_RESET: Self = Self(1 << 14);
    /// A delay was injected.
    pub const DELAY_INJECTED: Self = Self(1 << 15);
    /// A fault was injected.
    pub const FAULT_INJECTED: Self = Self(1 << 16);
    /// A rate limit was exceeded.
    pub const RATE_LIMITED: Self = Self(1 << 17);
    /// The authorization service denied the request.
    pub const UNAUTHORIZED_EXTERNAL: Self = Self(1 << 18);
    /// The rate limit service failed.
    pub const RATE_LIMIT_SERVICE_ERROR: Self = Self(1 << 19);
    /// The request's `x-envoy-*` headers are invalid.
    pub const INVALID_ENVOY_HEADERS: Self = Self(1 << 20);
    /// A stream or connection lasted too long.
    pub const DURATION_TIMEOUT: Self = Self(1 << 21);
    /// The gateway is overloaded.
    pub const OVERLOAD: Self = Self(1 << 22);
    /// The host's name could not be resolved.
    pub const DNS_FAILURE: Self = Self(1 << 23);
    /// A filter has no configuration yet.
    pub const NO_FILTER_CONFIG: Self = Self(1 << 24);
    /// The answer came from a cache.
    pub const RESPONSE_FROM_CACHE: Self = Self(1 << 25);

    /// Short and long names, in Envoy's order.
    const NAMES: [(Self, &'static str, &'static str); 26] = [
        (Self::FAILED_LOCAL_HEALTH_CHECK, "LH", "FailedLocalHealthCheck"),
        (Self::NO_HEALTHY_UPSTREAM, "UH", "NoHealthyUpstream"),
        // Told before the last attempt's own flag.
        (Self::RETRY_LIMIT, "URX", "UpstreamRetryLimitExceeded"),
        (Self::UPSTREAM_TIMEOUT, "UT", "UpstreamRequestTimeout"),
        (Self::LOCAL_RESET, "LR", "LocalReset"),
        (Self::UPSTREAM_RESET, "UR", "UpstreamRemoteReset"),
        (Self::UPSTREAM_FAILURE, "UF", "UpstreamConnectionFailure"),
        (Self::UPSTREAM_TERMINATION, "UC", "UpstreamConnectionTermination"),
        (Self::UPSTREAM_OVERFLOW, "UO", "UpstreamOverflow"),
        (Self::NO_ROUTE, "NR", "NoRouteFound"),
        (Self::DELAY_INJECTED, "DI", "DelayInjected"),
        (Self::FAULT_INJECTED, "FI", "FaultInjected"),
        (Self::RATE_LIMITED, "RL", "RateLimited"),
        (Self::UNAUTHORIZED_EXTERNAL, "UAEX", "UnauthorizedExternalService"),
        (Self::RATE_LIMIT_SERVICE_ERROR, "RLSE", "RateLimitServiceError"),
        (Self::DOWNSTREAM_TERMINATION, "DC", "DownstreamConnectionTermination"),
        (Self::STREAM_IDLE_TIMEOUT, "SI", "StreamIdleTimeout"),
        (Self::INVALID_ENVOY_HEADERS, "IH", "InvalidEnvoyRequestHeaders"),
        (Self::DOWNSTREAM_PROTOCOL_ERROR, "DPE", "DownstreamProtocolError"),
        (Self::RESPONSE_FROM_CACHE, "RFCF", "ResponseFromCacheFilter"),
        (Self::NO_FILTER_CONFIG, "NFCF", "NoFilterConfigFound"),
        (Self::DURATION_TIMEOUT, "DT", "DurationTimeout"),
        (Self::UPSTREAM_PROTOCOL_ERROR, "UPE", "UpstreamProtocolError"),
        (Self::NO_CLUSTER, "NC", "NoClusterFound"),
        (Self::OVERLOAD, "OM", "OverloadManagerTerminated"),
        (Self::DNS_FAILURE, "DF", "DnsResolutionFailed"),
    ];

    /// No flag.
    pub const NONE: Self = Self(0);

    /// Whether all flags of `other` are set.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Short names of the flags that are set, such as `UH`.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.iter().filter(move |(flag, ..)| self.contains(*flag)).map(|(_, name, _)| *name)
    }

    /// Long names of the flags that are set, such as `NoHealthyUpstream`.
    pub fn long_names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.iter().filter(move |(flag, ..)| self.contains(*flag)).map(|(_, _, name)| *name)
    }
}

impl BitOr for ResponseFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for ResponseFlags {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl fmt::Display for ResponseFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = self.names();
        let Some(first) = names.next() else { return f.write_str("-") };
        f.write_str(first)?;
        names.try_for_each(|name| write!(f, ",{name}"))
    }
}
