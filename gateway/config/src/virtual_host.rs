// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A virtual host: ordered routes with an index by path.

use crate::path_index::PathIndex;
use crate::{HeaderMutations, RateLimitRule, RequestView, Route};
use std::sync::Arc;

/// The routes of some hosts, first match wins.
#[derive(Debug)]
pub struct VirtualHost {
    /// Its name: for VHDS `<route table>/<host>`.
    pub name: Box<str>,
    /// Lower case: hosts, `*.suffix`, or `*`; with or without port.
    pub domains: Box<[Box<str>]>,
    /// Changes of requests.
    pub request_headers: HeaderMutations,
    /// Changes of answers.
    pub response_headers: HeaderMutations,
    /// What a rate limit service is told, as routes say.
    pub rate_limits: Box<[RateLimitRule]>,
    /// Plain-text requests are redirected to https.
    pub require_tls: RequireTls,
    /// How attempts are counted in headers.
    pub attempts: AttemptHeaders,
    pub(crate) routes: Box<[Arc<Route>]>,
    pub(crate) index: PathIndex,
}

/// Which messages tell the number of attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttemptHeaders {
    /// Requests, by `x-envoy-attempt-count`.
    pub in_requests: bool,
    /// Answers, by `x-envoy-attempt-count`.
    pub in_answers: bool,
    /// Attempts after one that took too long, by `x-envoy-is-timeout-retry`.
    pub after_timeout: bool,
}

/// Whether plain text is redirected to https.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequireTls {
    /// Never.
    #[default]
    None,
    /// For all requests.
    All,
    /// For all but internal ones.
    External,
}

impl VirtualHost {
    /// The first route that takes the request.
    #[must_use]
    pub fn route(&self, request: &RequestView<'_>) -> Option<&Arc<Route>> {
        let found = self.index.first(request.path, request.headers, |at| {
            self.routes.get(at as usize).is_some_and(|r| r.matcher.is_match(request))
        });
        self.routes.get(found? as usize)
    }

    /// All routes in order.
    #[must_use]
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }
}
