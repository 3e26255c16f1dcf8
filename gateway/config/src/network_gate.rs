// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Network filters that let a connection through to its handling, or close it.

use crate::{Rbac, TokenBucket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A network filter in front of the one that handles the bytes.
#[derive(Clone, Debug)]
pub enum NetworkGate {
    /// `envoy.extensions.filters.network.rbac.v3.RBAC`.
    Rbac(Arc<NetworkRbac>),
    /// `envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit`.
    RateLimit(Arc<ConnectionRate>),
    /// `envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit`.
    Limit(Arc<ConnectionLimit>),
}

/// Access rules on connections.
#[derive(Debug)]
pub struct NetworkRbac {
    /// Label of its numbers.
    pub stat_prefix: Box<str>,
    /// The rules; none of their conditions is on a request.
    pub rbac: Rbac,
    /// A refused connection is closed after this.
    pub delay: Duration,
}

/// A limit of new connections.
#[derive(Debug)]
pub struct ConnectionRate {
    /// Label of its numbers.
    pub stat_prefix: Box<str>,
    /// One token for a connection, over all workers.
    pub bucket: TokenBucket,
}

/// A limit of open connections of a filter chain, over all workers.
#[derive(Debug)]
pub struct ConnectionLimit {
    /// Label of its numbers.
    pub stat_prefix: Box<str>,
    /// The most of them.
    pub most: u64,
    /// A connection above it is closed after this.
    pub delay: Duration,
    active: AtomicU64,
}

/// One of the open connections, until it is dropped.
#[derive(Debug)]
pub struct ConnectionSeat(Arc<ConnectionLimit>);

impl ConnectionLimit {
    /// Nothing is open yet.
    #[must_use]
    pub fn new(stat_prefix: Box<str>, most: u64, delay: Duration) -> Self {
        Self { stat_prefix, most, delay, active: AtomicU64::new(0) }
    }

    /// A place for a connection; none where all are taken.
    #[must_use]
    pub fn admit(self: &Arc<Self>) -> Option<ConnectionSeat> {
        let free = |active: u64| (active < self.most).then(|| active + 1);
        self.active.fetch_update(Ordering::Relaxed, Ordering::Relaxed, free).ok()?;
        Some(ConnectionSeat(Arc::clone(self)))
    }
}

impl Drop for ConnectionSeat {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::ConnectionLimit;
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn places_come_back() {
        let limit = Arc::new(ConnectionLimit::new("l".into(), 2, Duration::ZERO));
        let first = limit.admit().unwrap();
        let second = limit.admit().unwrap();
        assert!(limit.admit().is_none());
        drop(first);
        let third = limit.admit();
        assert!(third.is_some() && limit.admit().is_none());
        drop((second, third));
        assert!(limit.admit().is_some());
    }
}
