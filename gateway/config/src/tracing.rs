// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Traces of requests (`HttpConnectionManager.Tracing` with Envoy's OpenTelemetry tracer).

use crate::{Fraction, GrpcService, HttpService};
use http::HeaderName;

/// How requests are traced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracing {
    /// Who takes the spans.
    pub collector: Collector,
    /// `service.name` of the spans' resource.
    pub service: Box<str>,
    /// The share of requests that ask for it with `x-client-trace-id`.
    pub client: Fraction,
    /// The share of all requests.
    pub random: Fraction,
    /// The share of those that are left then.
    pub overall: Fraction,
    /// The upstream is told.
    pub propagate: bool,
    /// Attributes besides the usual ones.
    pub tags: Box<[(Box<str>, TagValue)]>,
    /// The longest path in an attribute, bytes.
    pub longest_path: usize,
}

/// Who takes telemetry by OTLP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Collector {
    /// OTLP/gRPC.
    Grpc(GrpcService),
    /// OTLP/HTTP with protobuf.
    Http(HttpService),
}

/// Where an attribute's value comes from (`envoy.type.tracing.v3.CustomTag`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagValue {
    /// Fixed.
    Literal(Box<str>),
    /// A request header, or else this.
    Header(HeaderName, Box<str>),
}
