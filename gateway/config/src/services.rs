// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Services that filters and exporters call: a cluster and how to speak to it (`envoy.config.core.v3.GrpcService`, `HttpUri`).

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue};
use std::time::Duration;

/// A gRPC service behind a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcService {
    /// The cluster; it must speak HTTP/2.
    pub cluster: Box<str>,
    /// `:authority` of calls; the cluster's name where none is configured.
    pub authority: HeaderValue,
    /// Limit of one call; none: the caller's default.
    pub timeout: Option<Duration>,
    /// Sent with every call.
    pub metadata: Box<[(HeaderName, HeaderValue)]>,
    /// The largest message that is taken, bytes.
    pub max_message: usize,
    /// How often a call that got no answer is tried again.
    pub retries: ServiceRetries,
}

/// An HTTP service behind a cluster. TLS is the cluster's, whatever the scheme of the configured address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpService {
    /// The cluster.
    pub cluster: Box<str>,
    /// The host of the configured address.
    pub authority: HeaderValue,
    /// The path and query of the configured address.
    pub path: PathAndQuery,
    /// Limit of one call.
    pub timeout: Duration,
}

/// Retries of calls to a service (`envoy.config.core.v3.RetryPolicy`), for answers of 5xx and for none at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceRetries {
    /// How many; 0: none.
    pub count: u32,
    /// The first wait is a random time below this; it doubles each time.
    pub base: Duration,
    /// No wait is longer.
    pub max: Duration,
}

impl Default for ServiceRetries {
    fn default() -> Self {
        Self { count: 0, base: Duration::from_secs(1), max: Duration::from_secs(10) }
    }
}
