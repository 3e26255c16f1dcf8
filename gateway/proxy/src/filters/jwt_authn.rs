// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Tokens of requests: found, checked with the keys of whom they say they are from, their claims passed on. Without keys there is no
//! good token.

mod apply;
mod check;
mod extract;
mod remote;

pub(crate) use remote::JwksCache;

use super::awaited::Awaited;
use super::{Counter, Site};
use crate::callout::Callout;
use crate::connection::Connection;
use crate::jwt::JwtError;
use crate::routing::view;
use bytes::Bytes;
use check::{Failure, Report, check};
use extract::extract;
use gateway_config::{Jwks, JwksSource, JwtAuthn, JwtRequirement, JwtRoute};
use gateway_filter_api::{FilterContext, HttpFilter, LocalResponse, Outcome, Phase, RequestHead};
use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use remote::RemoteKeys;
use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

/// The namespace of payloads in the dynamic metadata.
const NAMESPACE: &str = "envoy.filters.http.jwt_authn";
/// The most bytes of a path that a refusal repeats.
const MAX_REALM_PATH: usize = 256;

/// The filter in its place on one worker.
#[derive(Clone, Debug)]
pub(crate) struct Place(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Arc<JwtAuthn>,
    /// By the place of their provider.
    keys: OnceCell<Box<[Keys]>>,
    allowed: Counter,
    denied: Counter,
    bypassed: Counter,
}

/// Where a provider's keys are.
#[derive(Debug)]
enum Keys {
    Local(Arc<Jwks>),
    Remote(Arc<RemoteKeys>),
}

impl Place {
    pub(crate) fn new(config: &Arc<JwtAuthn>, site: Site<'_>) -> Self {
        Self(Rc::new(Inner {
            config: Arc::clone(config),
            keys: OnceCell::new(),
            allowed: site.http("http_jwt_authn_allowed"),
            denied: site.http("http_jwt_authn_denied"),
            bypassed: site.http("http_jwt_authn_cors_preflight_bypassed"),
        }))
    }

    /// The filter of one request.
    pub(crate) fn check(&self, route: Option<&Arc<JwtRoute>>, connection: &Rc<Connection>) -> Check {
        Check {
            place: self.clone(),
            route: route.map(Arc::clone),
            connection: Rc::clone(connection),
            waiting: None,
        }
    }
}

impl Inner {
    /// The keys of all providers; those of services begin to be fetched with the first request, where they are wanted early.
    fn keys(&self, connection: &Connection) -> &[Keys] {
        self.keys.get_or_init(|| {
            let keys = self.config.providers.iter().map(|provider| match &provider.keys {
                JwksSource::Local(keys) => Keys::Local(Arc::clone(keys)),
                JwksSource::Remote(source) => {
                    let worker = connection.worker();
                    let keys = worker.shared().jwks.get(source);
                    keys.prefetch(&Callout::new(worker));
                    Keys::Remote(keys)
                }
            });
            keys.collect()
        })
    }
}

/// Checks the tokens of one request.
#[derive(Debug)]
pub(crate) struct Check {
    place: Place,
    route: Option<Arc<JwtRoute>>,
    connection: Rc<Connection>,
    waiting: Option<Awaited<Report>>,
}

impl Check {
    /// What the request needs.
    fn requirement(&self, head: &RequestHead) -> Result<Option<JwtRequirement>, Box<LocalResponse>> {
        let config = &self.place.0.config;
        let Some(route) = &self.route else {
            let view = view(head, 0);
            let rule = config.rules.iter().find(|rule| rule.matcher.is_match(&view));
            return Ok(rule.and_then(|rule| rule.requirement.clone()));
        };
        let Some(wanted) = &route.requirement else { return Ok(None) };
        let found = config.requirements.iter().find(|(name, _)| name == wanted);
        found.map(|(_, requirement)| Some(requirement.clone())).ok_or_else(|| {
            let details = "jwt_authn_access_denied{Wrong_requirement_name}";
            Box::new(LocalResponse {
                body: Bytes::from_static(b"Failed JWT authentication"),
                ..LocalResponse::new(StatusCode::FORBIDDEN, details)
            })
        })
    }

    fn refuse(&self, error: JwtError, head: &RequestHead) -> Outcome {
        self.place.0.denied.increment();
        let status =
            if error == JwtError::Audience { StatusCode::FORBIDDEN } else { StatusCode::UNAUTHORIZED };
        let text = error.to_string();
        let details = format!("jwt_authn_access_denied{{{}}}", text.replace(' ', "_"));
        let mut response = LocalResponse::new(status, details);
        if !self.place.0.config.strip_failure_response {
            response.body = text.into();
            response.headers = challenge(error, head);
        }
        Outcome::Respond(Box::new(response))
    }
}

/// Tells the client what would be good enough (RFC 6750, 3).
fn challenge(error: JwtError, head: &RequestHead) -> HeaderMap {
    let path = head.path.as_str();
    let path = path.get(..MAX_REALM_PATH).unwrap_or(path);
    let mut value = format!("Bearer realm=\"{}://{}{path}\"", head.scheme(), head.authority());
    if error != JwtError::Missing {
        value.push_str(", error=\"invalid_token\"");
    }
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(WWW_AUTHENTICATE, value);
    }
    headers
}

fn is_preflight(head: &RequestHead) -> bool {
    head.method == Method::OPTIONS
        && head.headers.get(ORIGIN).is_some_and(|origin| !origin.is_empty())
        && head.headers.get(ACCESS_CONTROL_REQUEST_METHOD).is_some_and(|method| !method.is_empty())
}

impl HttpFilter for Check {
    fn on_request_headers(&mut self, context: &mut FilterContext<'_>, _end_of_stream: bool) -> Outcome {
        let inner = Rc::clone(&self.place.0);
        // Whatever the request needs: headers that tell claims are never the client's own.
        apply::sanitize(&inner.config, context.request);
        if inner.config.bypass_preflight && is_preflight(context.request) {
            inner.bypassed.increment();
            return Outcome::Continue;
        }
        let requirement = match self.requirement(context.request) {
            Err(response) => {
                inner.denied.increment();
                return Outcome::Respond(response);
            }
            Ok(None) => {
                inner.allowed.increment();
                return Outcome::Continue;
            }
            Ok(Some(requirement)) => requirement,
        };
        let found = extract(&inner.config, context.request);
        let callout = Callout::new(self.connection.worker());
        // Made here: later ones find them there.
        inner.keys(&self.connection);
        let (waiting, pause) = Awaited::pause(async move {
            let keys = inner.keys.get().map(|keys| &**keys).unwrap_or_default();
            check(&inner.config, keys, &callout, &requirement, &found).await
        });
        self.waiting = Some(waiting);
        Outcome::Pause(pause)
    }

    fn on_resume(&mut self, context: &mut FilterContext<'_>, _phase: Phase) -> Outcome {
        let Some(report) = self.waiting.take().and_then(|waiting| waiting.take()) else {
            return self.refuse(JwtError::Verification, context.request);
        };
        let config = Arc::clone(&self.place.0.config);
        for Failure { provider, error } in &report.failures {
            apply::failed(&config, *provider, *error, context.metadata);
        }
        if let Err(error) = report.result {
            return self.refuse(error, context.request);
        }
        self.place.0.allowed.increment();
        for accepted in &report.accepted {
            context.reroute |= apply::accepted(&config, accepted, context.request, context.metadata);
        }
        Outcome::Continue
    }

    fn is_finished(&self) -> bool {
        true
    }
}
