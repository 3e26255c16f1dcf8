// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! External authorization (`envoy.extensions.filters.http.ext_authz.v3`).

use crate::{Fraction, GrpcService, HttpService, MutationRules, ServiceRetries, StringMatcher};
use http::{HeaderName, HeaderValue, StatusCode};

/// A filter that asks a service about each request.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "the switches are Envoy's")]
pub struct ExtAuthz {
    /// Who is asked.
    pub service: AuthzService,
    /// Requests go on where the service fails. Off by default.
    pub failure_mode_allow: bool,
    /// Such requests get `x-envoy-auth-failure-mode-allowed: true`.
    pub failure_mode_header: bool,
    /// The request's body is shown to the service.
    pub body: Option<AuthzBody>,
    /// The route is chosen anew where the service changed the request.
    pub clear_route_cache: bool,
    /// The answer where the service fails.
    pub status_on_error: StatusCode,
    /// A change that is not fit for the wire ends the request with 500; else it is passed over.
    pub validate_mutations: bool,
    /// Namespaces of dynamic metadata that are shown to the service (gRPC).
    pub metadata_namespaces: Box<[Box<str>]>,
    /// The share of requests that are asked about; none: all.
    pub enabled: Option<Fraction>,
    /// Requests that are not asked about are refused.
    pub deny_at_disable: bool,
    /// The client's certificate is shown to the service.
    pub include_peer_certificate: bool,
    /// The server name of the TLS session is shown to the service.
    pub include_tls_session: bool,
    /// Headers that are shown to the service; none: all (gRPC) or the basic ones (HTTP).
    pub allowed_headers: Option<Box<[StringMatcher]>>,
    /// Headers that are not shown in any case.
    pub disallowed_headers: Box<[StringMatcher]>,
    /// Values go as bytes, one for each header line.
    pub raw_headers: bool,
    /// Headers of requests that the service may change; none: all.
    pub mutation_rules: Option<MutationRules>,
    /// Metadata that the service gives is taken.
    pub take_metadata: bool,
    /// The body of a refusal is cut here; 0: not.
    pub max_denied_body: usize,
}

/// Who is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum AuthzService {
    /// `envoy.service.auth.v3.Authorization`.
    Grpc(GrpcService),
    /// A request like the client's own.
    Http(Box<AuthzHttp>),
}

/// How an HTTP service is asked, and what of its answer counts.
#[derive(Clone, Debug, PartialEq)]
pub struct AuthzHttp {
    /// The service.
    pub service: HttpService,
    /// Put before the request's path.
    pub path_prefix: Box<str>,
    /// Replaces the request's path where it is not empty.
    pub path_override: Box<str>,
    /// The older place of [`ExtAuthz::allowed_headers`]; counts where that is not set.
    pub allowed_headers: Option<Box<[StringMatcher]>>,
    /// Headers that are added, in place of the client's.
    pub headers_to_add: Box<[(HeaderName, HeaderValue)]>,
    /// Headers of the answer that replace those of the request.
    pub upstream_headers: Box<[StringMatcher]>,
    /// Headers of the answer that are appended to those of the request.
    pub upstream_headers_to_append: Box<[StringMatcher]>,
    /// Headers of a refusal that the client sees; none: all.
    pub client_headers: Option<Box<[StringMatcher]>>,
    /// Headers of a consent that the client sees.
    pub client_headers_on_success: Box<[StringMatcher]>,
    /// Headers of a consent that become dynamic metadata.
    pub metadata_from_headers: Box<[StringMatcher]>,
    /// How often a call without an answer is tried again.
    pub retries: ServiceRetries,
}

/// The part of a body that the service sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthzBody {
    /// At most so many bytes.
    pub max: usize,
    /// Of a larger body the start is shown; else it is refused with 413.
    pub allow_partial: bool,
    /// Bytes rather than text.
    pub as_bytes: bool,
}

/// What a route says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExtAuthzRoute {
    /// Told to the service (gRPC); those of a route come after its virtual host's and win.
    pub context_extensions: Box<[(Box<str>, Box<str>)]>,
    /// Another setting of [`ExtAuthz::body`].
    pub body: Option<Option<AuthzBody>>,
    /// Another service.
    pub service: Option<AuthzService>,
}

impl ExtAuthzRoute {
    /// A route's settings over its virtual host's.
    #[must_use]
    pub fn over(&self, outer: &Self) -> Self {
        let known = |name: &str| self.context_extensions.iter().any(|(own, _)| &**own == name);
        let inherited = outer.context_extensions.iter().filter(|(name, _)| !known(name));
        Self {
            context_extensions: inherited.chain(&self.context_extensions).cloned().collect(),
            body: self.body.or(outer.body),
            service: self.service.clone().or_else(|| outer.service.clone()),
        }
    }
}
