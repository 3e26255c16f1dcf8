// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What the upstream is told beside the client's request, and the client beside the answer: Envoy's own headers, hosts and paths.

use super::Exchange;
use crate::answer::Failure;
use crate::format::Values;
use crate::mutations::{apply_to_request, ordered};
use crate::record::Record;
use crate::request_body::RequestBody;
use crate::retry::Tries;
use crate::rewrite;
use crate::routing::Chosen;
use crate::steer::EXPECTED_TIMEOUT;
use gateway_config::{HostRewrite, UpstreamProtocol, expected_timeout};
use gateway_filter_api::ResponseFlags;
use gateway_upstream::Picked;
use http::header::{HOST, TE};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use std::time::Duration;

static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static ORIGINAL_HOST: HeaderName = HeaderName::from_static("x-envoy-original-host");
static ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");
static SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");
static ATTEMPT_COUNT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");
static OVERLOADED: HeaderName = HeaderName::from_static("x-envoy-overloaded");
static IS_TIMEOUT_RETRY: HeaderName = HeaderName::from_static("x-envoy-is-timeout-retry");

impl Exchange<'_, '_> {
    /// Whether `x-envoy-*` tells nothing.
    fn is_discreet(&self) -> bool {
        self.serving.settings.http.router.suppress_envoy_headers
    }

    /// Header changes, host and path for the upstream.
    pub(super) fn change_head(&mut self, record: &Record, chosen: &Chosen<'_>, protocol: UpstreamProtocol) {
        let discreet = self.is_discreet();
        if let Some(expected) = self.steering.expected.take().filter(|_| !discreet) {
            self.head.headers.insert(EXPECTED_TIMEOUT.clone(), expected);
        }
        if self.found.virtual_host.attempts.in_requests {
            self.head.headers.insert(ATTEMPT_COUNT.clone(), HeaderValue::from(1));
        }
        let (route, cluster) = (&*self.found.route.name, chosen.cluster);
        let values = Values {
            route: Some(route),
            cluster: Some(chosen.name()),
            record: Some(record),
            ..Values::of(record.connection.info())
        };
        let (host, route) = (&self.found.virtual_host.request_headers, &self.found.route.request_headers);
        for mutations in ordered(
            &self.table.settings,
            &self.table.settings.request_headers,
            host,
            route,
            &cluster.request_headers,
        ) {
            apply_to_request(self.head, mutations, &values);
        }
        let host = match (&cluster.host_rewrite, &self.forward.host_rewrite) {
            (Some(host), _) | (None, Some(HostRewrite::Literal(host))) => Some(host.clone()),
            (None, Some(HostRewrite::Header(name))) => self.head.headers.get(name).cloned(),
            (None, Some(HostRewrite::FromPath { pattern, substitution })) => {
                rewrite::host_of_path(pattern, substitution, self.head.path.path())
            }
            (None, Some(HostRewrite::FromEndpoint) | None) => None,
        };
        if let Some(host) = host.filter(|host| gateway_filter_api::is_authority(host.as_bytes())) {
            let before = std::mem::replace(&mut self.head.authority, host);
            // What one cluster of several wants is told to nobody (as in Envoy).
            if cluster.host_rewrite.is_none() {
                tell_host(&mut self.head.headers, before, self.forward.append_forwarded_host, discreet);
            }
        }
        if let Some(changed) = self
            .forward
            .path_rewrite
            .as_ref()
            .and_then(|new| rewrite::path(new, self.found.route, &self.head.path))
        {
            let before = std::mem::replace(&mut self.head.path, changed);
            if !discreet && let Ok(before) = HeaderValue::try_from(before.as_str()) {
                self.head.headers.insert(ORIGINAL_PATH.clone(), before);
            }
        }
        if protocol == UpstreamProtocol::Http1 {
            // It would need `Connection: TE`; trailers of HTTP/1.1 are not negotiated onwards.
            self.head.headers.remove(TE);
        }
    }

    /// Tells the client how long the upstream took.
    pub(super) fn tell_time(&self, record: &Record, headers: &mut HeaderMap) {
        if let Some(time) = record.since_request().filter(|_| !self.is_discreet()) {
            let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            headers.insert(SERVICE_TIME.clone(), HeaderValue::from(millis));
        }
    }

    /// Says that a circuit breaker gave the answer, so that a proxy in front does not try again.
    pub(super) fn tell_overflow(&self, failure: Failure, headers: &mut HeaderMap) {
        if failure.flags.contains(ResponseFlags::UPSTREAM_OVERFLOW) && !self.is_discreet() {
            headers.insert(OVERLOADED.clone(), HeaderValue::from_static("true"));
        }
    }

    /// Tells the client how often it was tried.
    pub(super) fn tell_attempts(&self, record: &Record, headers: &mut HeaderMap) {
        if self.found.virtual_host.attempts.in_answers {
            headers.insert(ATTEMPT_COUNT.clone(), HeaderValue::from(record.attempts.max(1)));
        }
    }

    /// What another attempt says that the first one did not.
    pub(super) fn mark_retry(&self, record: &Record, tries: &Tries<'_>, headers: &mut HeaderMap) {
        let attempts = self.found.virtual_host.attempts;
        if attempts.in_requests {
            headers.insert(ATTEMPT_COUNT.clone(), HeaderValue::from(record.attempts));
        }
        if attempts.after_timeout {
            let value = if tries.follows_timeout() { "true" } else { "false" };
            headers.insert(IS_TIMEOUT_RETRY.clone(), HeaderValue::from_static(value));
        }
        let left = |timeout: Duration| {
            // Zero would mean no limit.
            timeout.saturating_sub(record.since_request().unwrap_or_default()).max(Duration::from_millis(1))
        };
        let timeout = self.steering.timeout.filter(|timeout| !timeout.is_zero()).map(left);
        if let Some(time) = expected_timeout(timeout, self.steering.per_try).filter(|_| !self.is_discreet()) {
            let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            headers.insert(EXPECTED_TIMEOUT.clone(), HeaderValue::from(millis));
        }
    }

    /// The authority of one attempt, where it is the endpoint's name.
    pub(super) fn address(
        &self,
        record: &mut Record,
        request: &mut Request<RequestBody>,
        picked: &Picked<RequestBody>,
    ) {
        if matches!(self.forward.host_rewrite, Some(HostRewrite::FromEndpoint))
            && let Some(host) = picked.hostname().and_then(|name| HeaderValue::from_str(name).ok())
        {
            let before = self.head.authority.clone();
            if !request.headers().contains_key(&ORIGINAL_HOST) || self.is_discreet() {
                let append = self.forward.append_forwarded_host;
                tell_host(request.headers_mut(), before, append, self.is_discreet());
            }
            record.keep_authority(&host);
            request.headers_mut().insert(HOST, host);
        }
    }
}

/// Tells the host that was replaced.
fn tell_host(headers: &mut HeaderMap, before: HeaderValue, append: bool, discreet: bool) {
    if append {
        let known = headers.get(&X_FORWARDED_HOST).map(HeaderValue::as_bytes).unwrap_or_default();
        let last = known.rsplit(|&byte| byte == b',').next().unwrap_or_default().trim_ascii();
        if known.is_empty() {
            headers.insert(X_FORWARDED_HOST.clone(), before.clone());
        } else if last != before.as_bytes()
            && let Ok(joined) = HeaderValue::from_bytes(&[known, b",", before.as_bytes()].concat())
        {
            headers.insert(X_FORWARDED_HOST.clone(), joined);
        }
    }
    if !discreet {
        headers.insert(ORIGINAL_HOST.clone(), before);
    }
}
