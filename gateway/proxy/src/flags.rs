// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Envoy's response flags: why a request did not go as usual.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

/// A set of flags; shown as Envoy shows them, `-` where empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResponseFlags(pub(crate) u16);

impl ResponseFlags {
    /// No healthy host.
    pub(crate) const NO_HEALTHY_UPSTREAM: Self = Self(1);
    /// No connection to the host.
    pub(crate) const UPSTREAM_FAILURE: Self = Self(1 << 1);
    /// The time for the request ran out.
    pub(crate) const UPSTREAM_TIMEOUT: Self = Self(1 << 2);
    /// The host reset the stream.
    pub(crate) const UPSTREAM_RESET: Self = Self(1 << 3);
    /// The host ended the connection.
    pub(crate) const UPSTREAM_TERMINATION: Self = Self(1 << 4);
    /// A circuit breaker.
    pub(crate) const UPSTREAM_OVERFLOW: Self = Self(1 << 5);
    /// No route.
    pub(crate) const NO_ROUTE: Self = Self(1 << 6);
    /// All retries were used up.
    pub(crate) const RETRY_LIMIT: Self = Self(1 << 7);
    /// The client went away.
    pub(crate) const DOWNSTREAM_TERMINATION: Self = Self(1 << 8);
    /// The client did not speak the protocol.
    pub(crate) const DOWNSTREAM_PROTOCOL_ERROR: Self = Self(1 << 9);
    /// The answer was not HTTP.
    pub(crate) const UPSTREAM_PROTOCOL_ERROR: Self = Self(1 << 10);
    /// Nothing moved for too long.
    pub(crate) const STREAM_IDLE_TIMEOUT: Self = Self(1 << 11);
    /// The cluster is unknown.
    pub(crate) const NO_CLUSTER: Self = Self(1 << 12);

    const NAMES: [(Self, &'static str); 13] = [
        (Self::NO_HEALTHY_UPSTREAM, "UH"),
        (Self::UPSTREAM_FAILURE, "UF"),
        (Self::UPSTREAM_TIMEOUT, "UT"),
        (Self::UPSTREAM_RESET, "UR"),
        (Self::UPSTREAM_TERMINATION, "UC"),
        (Self::UPSTREAM_OVERFLOW, "UO"),
        (Self::NO_ROUTE, "NR"),
        (Self::RETRY_LIMIT, "URX"),
        (Self::DOWNSTREAM_TERMINATION, "DC"),
        (Self::DOWNSTREAM_PROTOCOL_ERROR, "DPE"),
        (Self::UPSTREAM_PROTOCOL_ERROR, "UPE"),
        (Self::STREAM_IDLE_TIMEOUT, "SI"),
        (Self::NO_CLUSTER, "NC"),
    ];

    /// Whether all flags of `other` are set.
    pub(crate) fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
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
        let mut names = Self::NAMES.iter().filter(|(flag, _)| self.contains(*flag)).map(|(_, name)| name);
        let Some(first) = names.next() else { return f.write_str("-") };
        f.write_str(first)?;
        names.try_for_each(|name| write!(f, ",{name}"))
    }
}
