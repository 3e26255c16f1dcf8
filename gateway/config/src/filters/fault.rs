// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Faults on purpose: delays and aborts.

use crate::{Fraction, HeaderMatcher};
use http::StatusCode;
use std::time::Duration;

/// What is injected, and where (`envoy.extensions.filters.http.fault.v3.HTTPFault`).
#[derive(Clone, Debug, PartialEq)]
pub struct FaultInjection {
    /// Requests wait first.
    pub delay: Option<FaultDelay>,
    /// Requests are answered here.
    pub abort: Option<FaultAbort>,
    /// Only requests for which all of these hold.
    pub headers: Box<[HeaderMatcher]>,
    /// Answers come slowly.
    pub response_rate: Option<FaultRate>,
    /// Faults at a time, over all workers; none: no limit.
    pub max_active: Option<u32>,
}

/// A delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultDelay {
    /// How long; none: as the header `x-envoy-fault-delay-request` says, in milliseconds.
    pub fixed: Option<Duration>,
    /// Share of requests. A request may lower it by header where the delay comes from a header too.
    pub share: Fraction,
}

/// How fast bodies of answers go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultRate {
    /// KiB in a second; none: as the header `x-envoy-fault-throughput-response` says.
    pub fixed: Option<u64>,
    /// Share of requests, as in [`FaultDelay::share`].
    pub share: Fraction,
}

/// An answer given instead of the upstream's.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultAbort {
    /// What is answered.
    pub kind: FaultAbortKind,
    /// Share of requests, as in [`FaultDelay::share`].
    pub share: Fraction,
    /// The body; empty: Envoy's own words.
    pub body: Box<str>,
}

/// What an abort answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultAbortKind {
    /// This status.
    Http(StatusCode),
    /// This gRPC status.
    Grpc(u32),
    /// As the headers `x-envoy-fault-abort-request` and `x-envoy-fault-abort-grpc-request` say.
    Header,
}
