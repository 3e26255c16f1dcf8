// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Redirects of upstreams that the gateway follows itself (`envoy.config.route.v3.InternalRedirectPolicy`).

use http::{HeaderName, StatusCode};

/// Which redirects are followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InternalRedirects {
    /// So many for one request (default 1).
    pub max: u32,
    /// Answers that count as redirects (default 302).
    pub statuses: Box<[StatusCode]>,
    /// Also from http to https or back.
    pub cross_scheme: bool,
    /// Conditions on the route that the new location has; all must hold.
    pub conditions: Box<[RedirectCondition]>,
    /// Headers of the answer that the new request gets; one that the answer has not is removed.
    pub copied_headers: Box<[HeaderName]>,
}

/// A condition on the route of a redirect's location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedirectCondition {
    /// Its name is one of these.
    Allowed(Box<[Box<str>]>),
    /// No redirect of this request led there before.
    NotPrevious,
    /// The client came by https, or the location is http.
    SafeScheme,
}
