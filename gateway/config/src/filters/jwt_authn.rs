// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Tokens of requests (`envoy.extensions.filters.http.jwt_authn.v3`).

use crate::{HttpService, Jwks, RouteMatcher, ServiceRetries, StringMatcher};
use http::HeaderName;
use std::sync::Arc;
use std::time::Duration;

/// A filter that checks tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct JwtAuthn {
    /// Who gives tokens out.
    pub providers: Box<[Arc<JwtProvider>]>,
    /// The first that takes a request says what it needs; where none does it needs nothing.
    pub rules: Box<[JwtRule]>,
    /// What routes name.
    pub requirements: Box<[(Box<str>, JwtRequirement)]>,
    /// Preflights of other origins need nothing.
    pub bypass_preflight: bool,
    /// Refusals do not say why.
    pub strip_failure_response: bool,
}

/// What the requests of a part of the paths need.
#[derive(Clone, Debug, PartialEq)]
pub struct JwtRule {
    /// Which requests.
    pub matcher: RouteMatcher,
    /// None: nothing.
    pub requirement: Option<JwtRequirement>,
}

/// What a request needs.
#[derive(Clone, Debug, PartialEq)]
pub enum JwtRequirement {
    /// A token of this provider, by its place in [`JwtAuthn::providers`].
    Provider {
        /// Its place.
        provider: usize,
        /// Other audiences than the provider's.
        audiences: Option<Box<[Box<str>]>>,
    },
    /// One of these, or what `otherwise` allows where all fail.
    Any {
        /// The requirements.
        of: Box<[JwtRequirement]>,
        /// What else is good enough.
        otherwise: Option<JwtAllowance>,
    },
    /// All of these.
    All(Box<[JwtRequirement]>),
    /// Tokens of any provider, or none.
    Allow(JwtAllowance),
}

/// What is good enough without a good token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum JwtAllowance {
    /// No token at all.
    Missing,
    /// Anything.
    MissingOrFailed,
}

/// What a route says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtRoute {
    /// The name of a requirement of the filter; a name that the filter does not have refuses all requests. None: nothing is required, and
    /// all that the filter does is to take out headers that only claims may fill.
    pub requirement: Option<Box<str>>,
}

/// Who gives tokens out, and what happens with good ones.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "the switches are Envoy's")]
pub struct JwtProvider {
    /// Its name in the filter.
    pub name: Box<str>,
    /// What `iss` has to be; empty: anything.
    pub issuer: Box<str>,
    /// One of these has to be in `aud`; empty: anything. In the form of [`audience`].
    pub audiences: Box<[Box<str>]>,
    /// What `sub` has to be.
    pub subjects: Option<StringMatcher>,
    /// There has to be an `exp`.
    pub require_expiration: bool,
    /// `exp` may be no further away.
    pub max_lifetime: Option<Duration>,
    /// Where its keys come from.
    pub keys: JwksSource,
    /// The token goes on to the upstream.
    pub forward: bool,
    /// Where tokens are.
    pub locations: JwtLocations,
    /// The payload goes on in this header, in base64url.
    pub payload_header: Option<HeaderName>,
    /// With padding.
    pub pad_payload_header: bool,
    /// The payload's name in the dynamic metadata.
    pub payload_metadata: Option<Box<str>>,
    /// Claims that become lists there.
    pub space_delimited_claims: Box<[Box<str>]>,
    /// The header's name in the dynamic metadata.
    pub header_metadata: Option<Box<str>>,
    /// The failure's name in the dynamic metadata.
    pub failure_metadata: Option<Box<str>>,
    /// How far clocks may differ.
    pub clock_skew: Duration,
    /// Claims that go on in headers.
    pub claim_headers: Box<[ClaimHeader]>,
    /// The route is chosen anew after that.
    pub clear_route_cache: bool,
}

/// A claim that goes on in a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimHeader {
    /// The header.
    pub header: HeaderName,
    /// The keys that lead to the claim.
    pub path: Box<[Box<str>]>,
}

/// Where keys come from. There is no other source: where it has none, all tokens are refused.
#[derive(Clone, Debug, PartialEq)]
pub enum JwksSource {
    /// The configuration.
    Local(Arc<Jwks>),
    /// A service.
    Remote(Arc<RemoteJwks>),
}

/// Keys that a service gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteJwks {
    /// The service.
    pub service: HttpService,
    /// How long they hold.
    pub cache: Duration,
    /// They are fetched before they are needed; the value is the wait after a failure.
    pub prefetch: Option<Duration>,
    /// Retries of each fetch.
    pub retries: ServiceRetries,
}

/// Where a provider's tokens are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JwtLocations {
    /// Headers, and what stands before the token.
    pub headers: Box<[(HeaderName, Box<str>)]>,
    /// Query parameters.
    pub params: Box<[Box<str>]>,
    /// Cookies.
    pub cookies: Box<[Box<str>]>,
}

/// An audience without scheme and slash at the end: `https://a/` and `a` are one.
#[must_use]
pub fn audience(text: &str) -> &str {
    let bare = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
    bare.strip_suffix('/').unwrap_or(bare)
}
