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
    /// Retries at a time.
    pub max_retries: u32,
}

impl Default for CircuitBreakers {
    fn default() -> Self {
        Self { max_connections: 1024, max_pending_requests: 1024, max_requests: 1024, max_retries: 3 }
    }
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
    /// Largest share of hosts that may be out; one always may (default 10).
    pub max_ejection_percent: u8,
}

/// TLS towards endpoints (`UpstreamTlsContext`).
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamTls {
    /// The server name sent.
    pub sni: Option<Box<str>>,
    /// The endpoint's host name is sent instead, where it has one (`auto_host_sni`).
    pub auto_sni: bool,
    /// Protocols offered.
    pub alpn: Box<[Box<str>]>,
    /// The roots; none: the endpoint's certificate is not verified, as in Envoy.
    pub roots: Option<SecretSource>,
    /// One of these must be in the certificate; empty: any name that the roots vouch for.
    pub names: Box<[SanMatcher]>,
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
