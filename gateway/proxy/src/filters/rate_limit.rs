// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Rate limits that a service keeps for many gateways.

mod answer;
pub(super) mod descriptors;

use super::awaited::Awaited;
use super::{Counter, Site};
use crate::callout::{Callout, GrpcError};
use crate::connection::Connection;
use crate::format::Values;
use crate::mutations::apply_to_response;
use crate::protobuf_json::to_json;
use crate::routing::Routing;
use crate::service_changes::{ChangeAction, HeaderChange};
use answer::Told;
use bytes::Bytes;
use descriptors::{Surroundings, descriptor};
use gateway_config::{Action, HostRules, RateLimit, RateLimitRoute, RateLimitRule, Route, VirtualHost};
use gateway_filter_api::{
    FilterContext, HttpFilter, LocalResponse, Outcome, Phase, ResponseFlags, ResponseHead,
};
use gateway_xds_api::pb::envoy::config::core::v3::HeaderValue as PbHeaderValue;
use gateway_xds_api::pb::envoy::service::ratelimit::v3::{
    RateLimitRequest, RateLimitResponse, rate_limit_response::Code,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

const SHOULD_RATE_LIMIT: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
/// Where the configuration has no limit; it always has one.
const LIMIT: Duration = Duration::from_millis(20);
/// gRPC's RESOURCE_EXHAUSTED.
const RESOURCE_EXHAUSTED: u32 = 8;
static RATE_LIMITED: HeaderName = HeaderName::from_static("x-envoy-ratelimited");

/// The filter in its place on one worker.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    config: Arc<RateLimit>,
    counters: Rc<Counters>,
}

#[derive(Debug)]
struct Counters {
    ok: Counter,
    over_limit: Counter,
    error: Counter,
    failure_mode_allowed: Counter,
}

impl Place {
    pub(crate) fn new(config: &Arc<RateLimit>, site: Site<'_>) -> Self {
        let counters = Counters {
            ok: site.http("http_ratelimit_ok"),
            over_limit: site.http("http_ratelimit_over_limit"),
            error: site.http("http_ratelimit_error"),
            failure_mode_allowed: site.http("http_ratelimit_failure_mode_allowed"),
        };
        Self { config: Arc::clone(config), counters: Rc::new(counters) }
    }

    /// The filter of one request.
    pub(crate) fn limit(
        &self,
        own: Option<&Arc<RateLimitRoute>>,
        connection: &Rc<Connection>,
        routing: &Routing<'_>,
    ) -> Limit {
        Limit {
            place: self.clone(),
            own: own.map(Arc::clone),
            route: Arc::clone(routing.found.route),
            host: Arc::clone(routing.found.virtual_host),
            cluster: routing.chosen.as_ref().map(|chosen| chosen.name().into()).unwrap_or_default(),
            connection: Rc::clone(connection),
            client: routing.client.address,
            waiting: None,
            told: Told::default(),
        }
    }
}

/// Asks about one request.
#[derive(Debug)]
pub(crate) struct Limit {
    place: Place,
    own: Option<Arc<RateLimitRoute>>,
    route: Arc<Route>,
    host: Arc<VirtualHost>,
    /// The cluster that it is forwarded to.
    cluster: Box<str>,
    connection: Rc<Connection>,
    client: IpAddr,
    waiting: Option<Awaited<Result<RateLimitResponse, GrpcError>>>,
    /// What the client is told with the upstream's answer.
    told: Told,
}

impl Limit {
    /// The rules that count for this route.
    fn rules(&self) -> Vec<&RateLimitRule> {
        let own = self.own.as_ref().filter(|own| !own.rules.is_empty());
        let instead = own.map_or(&self.place.config.rules, |own| &own.rules);
        let host_rules = self.own.as_ref().map(|own| own.host_rules);
        rules((&self.route, &self.host), instead, host_rules, self.place.config.stage)
    }

    /// The question; none where no rule fits.
    fn request(&self, context: &FilterContext<'_>) -> Option<RateLimitRequest> {
        if !matches!(self.route.action, Action::Forward(_)) {
            return None;
        }
        let surroundings = Surroundings { cluster: &self.cluster, client: self.client };
        let rules = self.rules();
        let descriptors: Vec<_> =
            rules.into_iter().filter_map(|rule| descriptor(rule, context, surroundings)).collect();
        let domain = self.own.as_ref().map(|own| &own.domain).filter(|domain| !domain.is_empty());
        (!descriptors.is_empty()).then(|| RateLimitRequest {
            domain: domain.unwrap_or(&self.place.config.domain).to_string(),
            descriptors,
            hits_addend: 0,
        })
    }

    fn failed(&self, error: GrpcError, context: &mut FilterContext<'_>) -> Outcome {
        let Place { config, counters } = &self.place;
        counters.error.increment();
        tracing::debug!(cluster = %config.service.cluster, %error, "rate limit service failed");
        if config.failure_deny.is_none_or(|share| !share.accepts(rand::random())) {
            counters.failure_mode_allowed.increment();
            return Outcome::Continue;
        }
        *context.flags |= ResponseFlags::RATE_LIMIT_SERVICE_ERROR;
        Outcome::Respond(Box::new(LocalResponse::new(config.status_on_error, "rate_limiter_error")))
    }

    fn over_limit(&self, answer: RateLimitResponse, told: &Told, context: &mut FilterContext<'_>) -> Outcome {
        let config = &self.place.config;
        *context.flags |= ResponseFlags::RATE_LIMITED;
        let mut head = ResponseHead { status: config.status, headers: HeaderMap::new() };
        if config.mark_refusals {
            head.headers.insert(RATE_LIMITED.clone(), HeaderValue::from_static("true"));
        }
        let values = Values {
            status: Some(config.status),
            route: Some(context.route),
            metadata: Some(context.metadata),
            ..Values::of(context.connection)
        };
        apply_to_response(&mut head, context.request, &config.response_headers, &values);
        told.apply(&mut head);
        if config.retry_after && config.status == StatusCode::TOO_MANY_REQUESTS {
            answer::retry_after(&answer.statuses, &mut head.headers);
        }
        Outcome::Respond(Box::new(LocalResponse {
            headers: head.headers,
            body: Bytes::from(answer.raw_body),
            grpc_status: config.resource_exhausted.then_some(RESOURCE_EXHAUSTED),
            ..LocalResponse::new(config.status, "request_rate_limited")
        }))
    }
}

/// The rules of a stage that count for a route: `instead` of all others where there are such.
pub(super) fn rules<'a>(
    (route, host): (&'a Route, &'a VirtualHost),
    instead: &'a [RateLimitRule],
    host_rules: Option<HostRules>,
    stage: u32,
) -> Vec<&'a RateLimitRule> {
    let Action::Forward(forward) = &route.action else { return Vec::new() };
    if !instead.is_empty() {
        return instead.iter().collect();
    }
    let with_host = match host_rules {
        Some(HostRules::Include) => true,
        None if forward.include_host_rate_limits => true,
        Some(HostRules::Override) | None => forward.rate_limits.is_empty(),
        Some(HostRules::Ignore) => false,
    };
    let host = host.rate_limits.iter().filter(|_| with_host);
    forward.rate_limits.iter().chain(host).filter(|rule| rule.stage == stage).collect()
}

/// Headers as the service gives them: each is one more value.
fn changes(headers: Vec<PbHeaderValue>) -> impl Iterator<Item = HeaderChange> {
    headers.into_iter().map(|header| {
        let value = if header.raw_value.is_empty() { header.value.into_bytes() } else { header.raw_value };
        HeaderChange::new(&header.key, &value, ChangeAction::Append)
    })
}

impl HttpFilter for Limit {
    fn on_request_headers(&mut self, context: &mut FilterContext<'_>, _end_of_stream: bool) -> Outcome {
        let config = &self.place.config;
        if config.enabled.is_some_and(|share| !share.accepts(rand::random())) {
            return Outcome::Continue;
        }
        let Some(request) = self.request(context) else { return Outcome::Continue };
        let (callout, config) = (Callout::new(self.connection.worker()), Arc::clone(config));
        let (waiting, pause) = Awaited::pause(async move {
            callout.unary(&config.service, SHOULD_RATE_LIMIT, &request, LIMIT).await
        });
        self.waiting = Some(waiting);
        Outcome::Pause(pause)
    }

    fn on_resume(&mut self, context: &mut FilterContext<'_>, _phase: Phase) -> Outcome {
        let result = self.waiting.take().and_then(|waiting| waiting.take());
        let mut answer = match result.unwrap_or(Err(GrpcError::Malformed)) {
            Ok(answer) => answer,
            Err(error) => return self.failed(error, context),
        };
        let Place { config, counters } = self.place.clone();
        if let Some(metadata) = answer.dynamic_metadata.take() {
            context.metadata.merge(&config.metadata_namespace, to_json(metadata));
        }
        let mut told =
            Told { headers: changes(std::mem::take(&mut answer.response_headers_to_add)).collect() };
        if config.rate_limit_headers {
            told.limits(&answer.statuses);
        }
        match Code::try_from(answer.overall_code) {
            Ok(Code::Ok) => counters.ok.increment(),
            Ok(Code::OverLimit) => {
                counters.over_limit.increment();
                if config.enforced.is_none_or(|share| share.accepts(rand::random())) {
                    return self.over_limit(answer, &told, context);
                }
            }
            Ok(Code::Unknown) | Err(_) => return self.failed(GrpcError::Malformed, context),
        }
        for change in changes(answer.request_headers_to_add) {
            // What is not fit for the wire is passed over.
            let _ = change.apply(context.request, None);
        }
        self.told = told;
        Outcome::Continue
    }

    fn is_finished(&self) -> bool {
        self.told.headers.is_empty()
    }

    fn on_response_headers(&mut self, context: &mut FilterContext<'_>, _end_of_stream: bool) -> Outcome {
        if let Some(head) = &mut context.response {
            self.told.apply(head);
        }
        Outcome::Continue
    }
}
