// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A rate limit that this process keeps alone, over all its workers.

use super::Counter;
use super::rate_limit::descriptors::{Surroundings, descriptor};
use super::rate_limit::rules;
use crate::connection::Connection;
use crate::format::Values;
use crate::mutations::{apply_to_request, apply_to_response};
use crate::routing::Routing;
use bytes::Bytes;
use gateway_config::{HostRules, LocalRateLimit, RequestDescriptor, Route, Taken, VirtualHost};
use gateway_filter_api::{FilterContext, HttpFilter, LocalResponse, Outcome, ResponseFlags, ResponseHead};
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

static LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
static REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
static RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
/// The clock of all buckets.
#[allow(clippy::disallowed_types, reason = "buckets outlive any runtime whose clock could be paused")]
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The time on that clock.
pub(crate) fn bucket_time() -> Duration {
    START.elapsed()
}

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

/// Where a request goes and who sent it.
#[derive(Debug)]
struct Place {
    route: Arc<Route>,
    host: Arc<VirtualHost>,
    cluster: Box<str>,
    client: IpAddr,
}

/// Looks at one request.
#[derive(Debug)]
pub(crate) struct Limit {
    config: Arc<LocalRateLimit>,
    counters: Counters,
    /// Only where descriptors are limited.
    place: Option<Place>,
    connection: Rc<Connection>,
    /// What the bucket said, and the most tokens that it holds.
    taken: Option<(Taken, u32)>,
}

impl Limit {
    /// Nothing is taken yet.
    pub(crate) fn new(
        config: &Arc<LocalRateLimit>,
        counters: &Counters,
        connection: &Rc<Connection>,
        routing: &Routing<'_>,
    ) -> Self {
        let place = (!config.buckets.descriptors.is_empty()).then(|| Place {
            route: Arc::clone(routing.found.route),
            host: Arc::clone(routing.found.virtual_host),
            cluster: routing.chosen.as_ref().map(|chosen| chosen.name().into()).unwrap_or_default(),
            client: routing.client.address,
        });
        Self {
            config: Arc::clone(config),
            counters: counters.clone(),
            place,
            connection: Rc::clone(connection),
            taken: None,
        }
    }

    /// What the rules say of the request.
    fn descriptors(&self, context: &FilterContext<'_>) -> Vec<RequestDescriptor> {
        let Some(Place { route, host, cluster, client }) = &self.place else { return Vec::new() };
        let surroundings = Surroundings { cluster, client: *client };
        let config = &self.config;
        // A route's own word counts where the filter says nothing else.
        let host_rules = Some(config.host_rules).filter(|rules| *rules != HostRules::Override);
        rules((route, host), &config.rules, host_rules, config.stage)
            .into_iter()
            .filter_map(|rule| descriptor(rule, context, surroundings))
            .map(|descriptor| {
                let entries =
                    descriptor.entries.into_iter().map(|entry| (entry.key.into(), entry.value.into()));
                (entries.collect(), descriptor.hits_addend.map_or(1, |hits| hits.value))
            })
            .collect()
    }

    fn take(&self, context: &FilterContext<'_>) -> Option<(Taken, u32)> {
        let descriptors = self.descriptors(context);
        let now = bucket_time();
        match self.config.per_connection {
            true => self.connection.own_buckets(&self.config.buckets).take(&descriptors, now),
            false => self.config.buckets.take(&descriptors, now),
        }
    }

    fn refuse(&self, context: &FilterContext<'_>, (taken, most): (Taken, u32)) -> Box<LocalResponse> {
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
        self.tell(&mut head.headers, (taken, most));
        Box::new(LocalResponse {
            headers: head.headers,
            body: Bytes::from_static(b"local_rate_limited"),
            grpc_status: self.config.resource_exhausted.then_some(RESOURCE_EXHAUSTED),
            ..LocalResponse::new(self.config.status, "local_rate_limited")
        })
    }

    fn tell(&self, headers: &mut HeaderMap, (taken, most): (Taken, u32)) {
        if !self.config.rate_limit_headers {
            return;
        }
        headers.insert(LIMIT.clone(), HeaderValue::from(most));
        headers.insert(REMAINING.clone(), HeaderValue::from(taken.remaining));
        headers.insert(RESET.clone(), HeaderValue::from(seconds(taken)));
    }
}

impl HttpFilter for Limit {
    fn on_request_headers(&mut self, context: &mut FilterContext<'_>, _end_of_stream: bool) -> Outcome {
        if self.config.buckets.is_empty() || !self.config.enabled.accepts(rand::random()) {
            return Outcome::Continue;
        }
        self.counters.enabled.increment();
        let taken = match self.take(context) {
            Some(taken) if !taken.0.allowed => taken,
            taken => {
                self.counters.ok.increment();
                self.taken = taken;
                return Outcome::Continue;
            }
        };
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
