// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Cross-origin policies (`envoy.extensions.filters.http.cors.v3.CorsPolicy`).

use crate::StringMatcher;
use http::HeaderValue;

/// What browsers on other origins may do.
#[derive(Clone, Debug, PartialEq)]
pub struct CorsPolicy {
    /// Origins that are allowed.
    pub allow_origins: Box<[StringMatcher]>,
    /// `access-control-allow-methods`.
    pub allow_methods: Option<HeaderValue>,
    /// `access-control-allow-headers`.
    pub allow_headers: Option<HeaderValue>,
    /// `access-control-expose-headers`.
    pub expose_headers: Option<HeaderValue>,
    /// `access-control-max-age`, seconds.
    pub max_age: Option<HeaderValue>,
    /// Whether credentials may be sent.
    pub allow_credentials: bool,
    /// Preflights of origins that do not match go on to the upstream.
    pub forward_unmatched_preflights: bool,
}

impl CorsPolicy {
    /// Whether an origin is allowed.
    #[must_use]
    pub fn allows(&self, origin: &[u8]) -> bool {
        self.allow_origins.iter().any(|matcher| matcher.is_match(origin))
    }
}
