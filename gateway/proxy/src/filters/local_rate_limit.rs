// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A rate limit that this process keeps alone, over all its workers.

use super::Counter;
use crate::format::Values;
use crate::mutations::{apply_to_request, apply_to_response};
use bytes::Bytes;
use gateway_config::{LocalRateLimit, Taken};
use gateway_filter_api::{FilterContext, HttpFilter, LocalResponse, Outcome, ResponseFlags, ResponseHead};
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

static LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
static REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
static RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
/// The clock of all buckets.
#[allow(clippy::disallowed_types, reason = "buckets outlive any runtime whose clock could be paused")]
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// gRPC's RESOURCE_EXHAUSTED.
const RESOURCE_EXHAUSTED: u32 = 8;

/// The filter's numbers on one worker.
#[derive(Clone, Debug)]
pub(crate) struct Counters {
    pub(crate) enabled: Counter,
    pub(crate) enforced: Counter,
    pub(crate) rate_limited: Counter,
    pub(crate) ok: Counter,
}

/// Looks at one request.
#[derive(Debug)]
pub(crate) struct Limit {
    config: Arc<LocalRateLimit>,
    counters: Counters,
    taken: Option<Taken>,
}

impl Limit {
    /// Nothing is taken yet.
    pub(crate) fn new(config: &Arc<LocalRateLimit>, counters: &Counters) -> Self {
        Self { config: Arc::clone(config), counters: counters.clone(), taken: None }
    }

    fn refuse(&self, context: &FilterContext<'_>, taken: Taken) -> Box<LocalResponse> {
        let mut head = ResponseHead { status: self.config.status, headers: HeaderMap::new() };
        let values = Values {
            status: Some(self.config.status),
            route: Some(context.route),
            metadata: Some(context.metadata),
            ..Values::of(context.connection)
        };
        apply_to_response(&mut head, context.request, &self.config.response_headers, &values);
        if self.config.retry_after {
            head.headers.insert(RETRY_AFTER, HeaderValue::from(seconds(taken)));
        }
        self.tell(&mut head.headers, taken);
        Box::new(LocalResponse {
            headers: head.headers,
            body: Bytes::from_static(b"local_rate_limited"),
            grpc_status: self.config.resource_exhausted.then_some(RESOURCE_EXHAUSTED),
            ..LocalResponse::new(self.config.status, "local_rate_limited")
        })
    }

    fn tell(&self, headers: &mut HeaderMap, taken: Taken) {
        let Some(bucket) = self.config.bucket.as_ref().filter(|_| self.config.rate_limit_headers) else {
            return;
        };
        headers.insert(LIMIT.clone(), HeaderValue::from(bucket.max_tokens()));
        headers.insert(REMAINING.clone(), HeaderValue::from(taken.remaining));
        headers.insert(RESET.clone(), HeaderValue::from(seconds(taken)));
    }
}

impl HttpFilter for Limit {
    fn on_request_headers(&mut self, context: &mut FilterContext<'_>, _end_of_stream: bool) -> Outcome {
        let Some(bucket) = &self.config.bucket else { return Outcome::Continue };
        if !self.config.enabled.accepts(rand::random()) {
            return Outcome::Continue;
        }
        self.counters.enabled.increment();
        let taken = bucket.take(START.elapsed());
        if taken.allowed {
            self.counters.ok.increment();
            self.taken = Some(taken);
            return Outcome::Continue;
        }
        self.counters.rate_limited.increment();
        if !self.config.enforced.accepts(rand::random()) {
            let values = Values {
                route: Some(context.route),
                metadata: Some(context.metadata),
                ..Values::of(context.connection)
            };
            apply_to_request(context.request, &self.config.not_enforced_headers, &values);
            return Outcome::Continue;
        }
        self.counters.enforced.increment();
        *context.flags |= ResponseFlags::RATE_LIMITED;
        Outcome::Respond(self.refuse(context, taken))
    }

    fn is_finished(&self) -> bool {
        !self.config.rate_limit_headers || self.taken.is_none()
    }

    fn on_response_headers(&mut self, context: &mut FilterContext<'_>, _end_of_stream: bool) -> Outcome {
        if let (Some(taken), Some(response)) = (self.taken, &mut context.response) {
            self.tell(&mut response.headers, taken);
        }
        Outcome::Continue
    }
}

/// Whole seconds until the next token, at least one where none is left.
fn seconds(taken: Taken) -> u64 {
    taken.next.as_secs() + u64::from(taken.next.subsec_nanos() > 0)
}
