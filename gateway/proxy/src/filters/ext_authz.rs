// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! External authorization: a service decides about each request. Whatever is not a clear consent is a refusal.

mod decision;
mod grpc;
mod http;

use super::awaited::Awaited;
use super::{Counter, Site};
use crate::callout::Callout;
use crate::connection::Connection;
use crate::service_changes::{HeaderChange, NotChanged, remove};
use ::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use bytes::{Bytes, BytesMut};
use decision::{Allowed, Decision, Denial};
use gateway_config::{AuthzBody, AuthzService, ExtAuthz, ExtAuthzRoute};
use gateway_filter_api::{
    FilterContext, HttpFilter, LocalResponse, Outcome, Phase, ResponseFlags, ResponseHead,
};
use std::rc::Rc;
use std::sync::Arc;

/// The namespace of what the service tells later filters.
const NAMESPACE: &str = "envoy.filters.http.ext_authz";

static ALLOWED_BY_FAILURE: HeaderName = HeaderName::from_static("x-envoy-auth-failure-mode-allowed");

/// The filter in its place on one worker.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    config: Arc<ExtAuthz>,
    counters: Rc<Counters>,
}

/// Its numbers.
#[derive(Debug)]
struct Counters {
    ok: Counter,
    denied: Counter,
    error: Counter,
    disabled: Counter,
    failure_mode_allowed: Counter,
    invalid: Counter,
}

impl Place {
    pub(crate) fn new(config: &Arc<ExtAuthz>, site: Site<'_>) -> Self {
        let counters = Counters {
            ok: site.http("http_ext_authz_ok"),
            denied: site.http("http_ext_authz_denied"),
            error: site.http("http_ext_authz_error"),
            disabled: site.http("http_ext_authz_disabled"),
            failure_mode_allowed: site.http("http_ext_authz_failure_mode_allowed"),
            invalid: site.http("http_ext_authz_invalid"),
        };
        Self { config: Arc::clone(config), counters: Rc::new(counters) }
    }

    /// The filter of one request.
    pub(crate) fn check(&self, route: Option<&Arc<ExtAuthzRoute>>, connection: &Rc<Connection>) -> Check {
        Check {
            place: self.clone(),
            route: route.map(Arc::clone),
            connection: Rc::clone(connection),
            waiting: None,
            for_client: Vec::new(),
            reads_body: false,
        }
    }
}

/// Asks about one request.
#[derive(Debug)]
pub(crate) struct Check {
    place: Place,
    route: Option<Arc<ExtAuthzRoute>>,
    connection: Rc<Connection>,
    waiting: Option<Awaited<Decision>>,
    /// Headers that the client gets with the upstream's answer.
    for_client: Vec<HeaderChange>,
    reads_body: bool,
}

impl Check {
    fn body(&self) -> Option<AuthzBody> {
        let own = self.route.as_ref().and_then(|route| route.body);
        own.unwrap_or(self.place.config.body)
    }

    /// Puts the question; `body` is what the service may see of the request's.
    fn ask(&mut self, context: &mut FilterContext<'_>, body: Option<Shown>) -> Outcome {
        let config = &self.place.config;
        let own = self.route.as_ref().and_then(|route| route.service.as_ref());
        let callout = Callout::new(self.connection.worker());
        let (waiting, pause) = match own.unwrap_or(&config.service) {
            AuthzService::Grpc(service) => {
                let message = grpc::request(config, self.route.as_deref(), context, body);
                let service = service.clone();
                Awaited::pause(async move { grpc::ask(&callout, &service, &message).await })
            }
            AuthzService::Http(service) => {
                let Some(request) = http::request(config, service, context.request, body) else {
                    return self.decided(Decision::Error(None), context);
                };
                let service = (**service).clone();
                Awaited::pause(async move { http::ask(&callout, &service, request).await })
            }
        };
        self.waiting = Some(waiting);
        Outcome::Pause(pause)
    }

    fn decided(&mut self, decision: Decision, context: &mut FilterContext<'_>) -> Outcome {
        let Place { config, counters } = self.place.clone();
        match decision {
            Decision::Allow(allowed) => {
                counters.ok.increment();
                self.allow(*allowed, context)
            }
            Decision::Deny(denial) => {
                counters.denied.increment();
                *context.flags |= ResponseFlags::UNAUTHORIZED_EXTERNAL;
                self.refuse(*denial, StatusCode::FORBIDDEN, "ext_authz_denied")
            }
            Decision::Error(_) if config.failure_mode_allow => {
                counters.error.increment();
                counters.failure_mode_allowed.increment();
                if config.failure_mode_header {
                    context
                        .request
                        .headers
                        .insert(ALLOWED_BY_FAILURE.clone(), HeaderValue::from_static("true"));
                }
                Outcome::Continue
            }
            Decision::Error(denial) => {
                counters.error.increment();
                *context.flags |= ResponseFlags::UNAUTHORIZED_EXTERNAL;
                let denial = denial.map(|denial| *denial).unwrap_or_default();
                self.refuse(denial, config.status_on_error, "ext_authz_error")
            }
        }
    }

    /// The request goes on, changed as the service asks.
    fn allow(&mut self, allowed: Allowed, context: &mut FilterContext<'_>) -> Outcome {
        let config = Arc::clone(&self.place.config);
        let rules = config.mutation_rules.as_ref();
        let mut results = Vec::new();
        for name in &allowed.remove {
            // Names of what must stay are passed over.
            results.push(remove(name, context.request, rules).or_else(|not| match not {
                NotChanged::Invalid => Ok(()),
                not => Err(not),
            }));
        }
        results.extend(allowed.request.iter().map(|change| change.apply(context.request, rules)));
        let changed = !results.is_empty() || allowed.changes_query();
        results.push(allowed.change_query(context.request));
        if results.into_iter().any(|result| self.is_fatal(result)) {
            self.place.counters.invalid.increment();
            *context.flags |= ResponseFlags::UNAUTHORIZED_EXTERNAL;
            return self.refuse(Denial::default(), StatusCode::INTERNAL_SERVER_ERROR, "ext_authz_invalid");
        }
        if config.take_metadata && !allowed.metadata.is_empty() {
            context.metadata.merge(NAMESPACE, allowed.metadata);
        }
        context.reroute |= changed && config.clear_route_cache;
        self.for_client = allowed.response;
        Outcome::Continue
    }

    fn is_fatal(&self, result: Result<(), NotChanged>) -> bool {
        let config = &self.place.config;
        match result {
            Ok(()) => false,
            Err(NotChanged::Invalid) => config.validate_mutations,
            Err(NotChanged::Disallowed) => {
                config.mutation_rules.as_ref().is_some_and(|rules| rules.disallow_is_error)
            }
        }
    }

    fn refuse(&self, denial: Denial, status: StatusCode, details: &'static str) -> Outcome {
        let Denial { status: own, headers, mut body } = denial;
        let mut head = ResponseHead { status: own.unwrap_or(status), headers: HeaderMap::new() };
        for change in headers.iter().filter(|change| change.name != ":status") {
            if change.apply(&mut head, None).is_err() && self.place.config.validate_mutations {
                self.place.counters.invalid.increment();
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                return Outcome::Respond(Box::new(LocalResponse::new(status, "ext_authz_invalid")));
            }
        }
        let limit = self.place.config.max_denied_body;
        if limit > 0 {
            body.truncate(limit);
        }
        Outcome::Respond(Box::new(LocalResponse {
            headers: head.headers,
            body,
            ..LocalResponse::new(head.status, details)
        }))
    }
}

/// What the service sees of a body.
#[derive(Clone, Debug)]
struct Shown {
    bytes: Bytes,
    partial: bool,
    as_bytes: bool,
}

impl HttpFilter for Check {
    fn on_request_headers(&mut self, context: &mut FilterContext<'_>, end_of_stream: bool) -> Outcome {
        let config = &self.place.config;
        if config.enabled.is_some_and(|share| !share.accepts(rand::random())) {
            self.place.counters.disabled.increment();
            if config.deny_at_disable {
                *context.flags |= ResponseFlags::UNAUTHORIZED_EXTERNAL;
                return self.refuse(Denial::default(), config.status_on_error, "ext_authz_error");
            }
            return Outcome::Continue;
        }
        if !end_of_stream && self.body().is_some() {
            self.reads_body = true;
            return Outcome::Buffer;
        }
        self.ask(context, None)
    }

    fn buffer_limit(&self) -> Option<usize> {
        self.body().filter(|body| !body.allow_partial).map(|body| body.max)
    }

    fn wants_request_body(&self) -> bool {
        self.reads_body
    }

    fn on_request_body(
        &mut self,
        context: &mut FilterContext<'_>,
        chunk: &mut BytesMut,
        _end_of_stream: bool,
    ) -> Outcome {
        let Some(settings) = self.body() else { return Outcome::Continue };
        self.reads_body = false;
        let partial = chunk.len() > settings.max;
        if partial && !settings.allow_partial {
            return Outcome::Respond(Box::new(LocalResponse::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "request_payload_too_large",
            )));
        }
        let bytes = Bytes::copy_from_slice(&chunk[..chunk.len().min(settings.max)]);
        self.ask(context, Some(Shown { bytes, partial, as_bytes: settings.as_bytes }))
    }

    fn on_resume(&mut self, context: &mut FilterContext<'_>, phase: Phase) -> Outcome {
        if !matches!(phase, Phase::RequestHeaders | Phase::RequestBody) {
            return Outcome::Continue;
        }
        let decision = self.waiting.take().and_then(|waiting| waiting.take());
        self.decided(decision.unwrap_or(Decision::Error(None)), context)
    }

    fn is_finished(&self) -> bool {
        self.for_client.is_empty()
    }

    fn on_response_headers(&mut self, context: &mut FilterContext<'_>, _end_of_stream: bool) -> Outcome {
        if let Some(head) = &mut context.response {
            for change in self.for_client.iter().filter(|change| change.name != ":status") {
                // What is not fit for the wire is passed over.
                let _ = change.apply(&mut **head, None);
            }
        }
        Outcome::Continue
    }
}
