// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Active health checks (`envoy.config.core.v3.HealthCheck`).

use crate::LbMetadata;
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use std::ops::Range;
use std::time::Duration;

/// An active health check.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck {
    /// Limit of one check.
    pub timeout: Duration,
    /// Time between checks.
    pub times: CheckIntervals,
    /// Failures until a host is unhealthy.
    pub unhealthy_threshold: u32,
    /// Successes until it is healthy again.
    pub healthy_threshold: u32,
    /// The port that is checked where it is not the endpoint's.
    pub alt_port: Option<u16>,
    /// One connection serves many checks.
    pub reuse_connection: bool,
    /// Every failure is logged, not only the first.
    pub log_failures: bool,
    /// Every success is logged.
    pub log_successes: bool,
    /// Stands for the metadata of endpoints in the choice of the socket; none: theirs counts.
    pub socket_metadata: Option<LbMetadata>,
    /// What is asked.
    pub probe: HealthProbe,
}

/// Time between checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckIntervals {
    /// Between checks of a healthy host.
    pub healthy: Duration,
    /// Between checks of an unhealthy host.
    pub unhealthy: Duration,
    /// After the check that made it healthy.
    pub healthy_edge: Duration,
    /// After the check that made it unhealthy.
    pub unhealthy_edge: Duration,
    /// Where the cluster had no connection yet and the host is unhealthy (default 60 s).
    pub no_traffic: Duration,
    /// The same where it is healthy.
    pub no_traffic_healthy: Duration,
    /// Up to this much is waited before the first check.
    pub initial_jitter: Duration,
    /// Up to this much is added to each interval.
    pub jitter: Duration,
    /// Up to this percentage of it is added to each interval.
    pub jitter_percent: u32,
}

/// What a health check asks.
#[derive(Clone, Debug, PartialEq)]
pub enum HealthProbe {
    /// A request.
    Http(Box<HttpProbe>),
    /// A connection, and what is said on it.
    Tcp {
        /// Written first.
        send: Bytes,
        /// These must come back, in this order.
        receive: Box<[Bytes]>,
    },
    /// `grpc.health.v1.Health/Check`.
    Grpc {
        /// The service asked for.
        service: Box<str>,
        /// The authority; none: the endpoint's host name or the cluster's name.
        authority: Option<Box<str>>,
        /// Headers of the request.
        headers: Box<[(HeaderName, HeaderValue)]>,
    },
}

/// A request that checks a host.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpProbe {
    /// The method (default GET).
    pub method: Method,
    /// The path.
    pub path: PathAndQuery,
    /// The authority; none: the endpoint's host name or the cluster's name.
    pub host: Option<Box<str>>,
    /// Answers that are healthy; empty: 200.
    pub expected: Box<[Range<u16>]>,
    /// Answers that count like failures of the network, rather than make a host unhealthy at once.
    pub retriable: Box<[Range<u16>]>,
    /// Headers of the request.
    pub headers: Box<[(HeaderName, HeaderValue)]>,
    /// Headers that are not sent.
    pub without: Box<[HeaderName]>,
    /// HTTP/2.
    pub http2: bool,
    /// The body.
    pub send: Bytes,
    /// These must be in the answer's body, in this order.
    pub receive: Box<[Bytes]>,
    /// As much of the answer's body is looked at, bytes (default 1024).
    pub body_limit: usize,
}

impl HttpProbe {
    /// Whether an answer is healthy.
    #[must_use]
    pub fn accepts(&self, status: StatusCode) -> bool {
        match self.expected.is_empty() {
            true => status == StatusCode::OK,
            false => self.expected.iter().any(|range| range.contains(&status.as_u16())),
        }
    }

    /// Whether an answer that is not healthy counts towards the threshold.
    #[must_use]
    pub fn may_retry(&self, status: StatusCode) -> bool {
        self.retriable.iter().any(|range| range.contains(&status.as_u16()))
    }
}
