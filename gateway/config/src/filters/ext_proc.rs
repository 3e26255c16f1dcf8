// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! External processing (`envoy.extensions.filters.http.ext_proc.v3`).

use crate::{GrpcService, MutationRules, StringMatcher};
use http::{HeaderName, HeaderValue, StatusCode};
use std::time::Duration;

/// Names of attributes that a service may be told.
pub const ATTRIBUTES: &[&str] = &[
    "request.path",
    "request.url_path",
    "request.host",
    "request.scheme",
    "request.method",
    "request.headers",
    "request.referer",
    "request.useragent",
    "request.id",
    "request.protocol",
    "request.query",
    "response.code",
    "response.headers",
    "source.address",
    "source.port",
    "destination.address",
    "destination.port",
    "connection.id",
    "connection.mtls",
    "connection.requested_server_name",
    "connection.tls_version",
    "connection.subject_peer_certificate",
    "connection.dns_san_peer_certificate",
    "connection.uri_san_peer_certificate",
    "xds.route_name",
];

/// A filter that lets a service read and change requests and answers.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "the switches are Envoy's")]
pub struct ExtProc {
    /// `envoy.service.ext_proc.v3.ExternalProcessor`.
    pub service: GrpcService,
    /// Requests go on where the service fails. Off by default.
    pub failure_mode_allow: bool,
    /// What the service sees.
    pub mode: ProcessingMode,
    /// How long an answer to one message may take.
    pub message_timeout: Duration,
    /// How much more time the service may ask for; zero: none.
    pub max_message_timeout: Duration,
    /// Headers that the service may change.
    pub mutation_rules: MutationRules,
    /// Headers that are shown to the service; none: all.
    pub allowed_headers: Option<Box<[StringMatcher]>>,
    /// Headers that are not shown in any case.
    pub disallowed_headers: Box<[StringMatcher]>,
    /// The service may change the mode of a request; none: not.
    pub mode_override: Option<ModeOverride>,
    /// The service may not answer requests itself.
    pub disable_immediate_response: bool,
    /// Dynamic metadata that the service sees and may write.
    pub metadata: ProcMetadata,
    /// When the route is chosen anew.
    pub route_cache: RouteCacheAction,
    /// The answer where the service fails otherwise than by its time limit.
    pub status_on_error: StatusCode,
    /// Attributes told with the first message about the request; names of [`ATTRIBUTES`].
    pub request_attributes: Box<[Box<str>]>,
    /// Attributes told with the first message about the answer.
    pub response_attributes: Box<[Box<str>]>,
}

/// What a service sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "the switches are Envoy's")]
pub struct ProcessingMode {
    /// Heads of requests.
    pub request_headers: bool,
    /// Heads of answers.
    pub response_headers: bool,
    /// Bodies of requests.
    pub request_body: ProcBody,
    /// Bodies of answers.
    pub response_body: ProcBody,
    /// Trailers of requests.
    pub request_trailers: bool,
    /// Trailers of answers.
    pub response_trailers: bool,
}

impl Default for ProcessingMode {
    fn default() -> Self {
        Self {
            request_headers: true,
            response_headers: true,
            request_body: ProcBody::None,
            response_body: ProcBody::None,
            request_trailers: false,
            response_trailers: false,
        }
    }
}

/// How a service sees a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProcBody {
    /// Not at all.
    #[default]
    None,
    /// Piece by piece, each answered.
    Streamed,
    /// Whole.
    Buffered,
    /// Whole, or the start of it where it is larger than what may be kept.
    BufferedPartial,
    /// In pieces that the service answers by pieces of its own. The body is collected before, as the head may have to wait for it.
    FullDuplex,
}

/// Modes that a service may set; the kinds as numbers of Envoy's enumerations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModeOverride {
    /// Response head, request body, response body, request trailers, response trailers; empty: all.
    pub allowed: Box<[[i32; 5]]>,
}

/// When the route is chosen anew after the service's answer to a request's head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RouteCacheAction {
    /// Where the service asks for it.
    #[default]
    Default,
    /// Always.
    Clear,
    /// Never.
    Retain,
}

/// Namespaces of dynamic metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcMetadata {
    /// Shown to the service; none: what an outer place says.
    pub forward: Option<Box<[Box<str>]>>,
    /// Taken from the service; none: what an outer place says, and at last nothing.
    pub receive: Option<Box<[Box<str>]>>,
}

/// What a route says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExtProcRoute {
    /// Another [`ExtProc::mode`].
    pub mode: Option<ProcessingMode>,
    /// Another service.
    pub service: Option<GrpcService>,
    /// Sent with the call besides the service's own.
    pub initial_metadata: Box<[(HeaderName, HeaderValue)]>,
    /// Another [`ExtProc::failure_mode_allow`].
    pub failure_mode_allow: Option<bool>,
    /// Other namespaces.
    pub metadata: ProcMetadata,
}

impl ExtProcRoute {
    /// A route's settings over its virtual host's.
    #[must_use]
    pub fn over(&self, outer: &Self) -> Self {
        let known = |name: &HeaderName| self.initial_metadata.iter().any(|(own, _)| own == name);
        let inherited = outer.initial_metadata.iter().filter(|(name, _)| !known(name));
        Self {
            mode: self.mode.or(outer.mode),
            service: self.service.clone().or_else(|| outer.service.clone()),
            initial_metadata: inherited.chain(&self.initial_metadata).cloned().collect(),
            failure_mode_allow: self.failure_mode_allow.or(outer.failure_mode_allow),
            metadata: self.metadata.over(&outer.metadata),
        }
    }
}

impl ProcMetadata {
    fn over(&self, outer: &Self) -> Self {
        Self {
            forward: self.forward.clone().or_else(|| outer.forward.clone()),
            receive: self.receive.clone().or_else(|| outer.receive.clone()),
        }
    }
}
