// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Clients that show a key, as Envoy's filter takes it.

use super::joined::joined;
use super::{Counter, Site};
use bytes::Bytes;
use gateway_config::{ApiKeyAuth, ApiKeySource};
use gateway_filter_api::{FilterContext, HttpFilter, LocalResponse, Outcome, RequestHead};
use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderValue, StatusCode};
use std::borrow::Cow;
use std::sync::Arc;

/// The filter's numbers on one worker.
#[derive(Clone, Debug)]
pub(crate) struct Counters {
    pub(crate) allowed: Counter,
    pub(crate) unauthorized: Counter,
    pub(crate) forbidden: Counter,
}

impl Counters {
    pub(crate) fn new(site: Site<'_>) -> Self {
        Self {
            allowed: site.http("http_api_key_auth_allowed"),
            unauthorized: site.http("http_api_key_auth_unauthorized"),
            forbidden: site.http("http_api_key_auth_forbidden"),
        }
    }
}

/// Looks at one request: the route's settings where it has some, else the listener's.
#[derive(Debug)]
pub(crate) struct CheckKey {
    pub(crate) listener: Arc<ApiKeyAuth>,
    pub(crate) route: Option<Arc<ApiKeyAuth>>,
    pub(crate) counters: Counters,
}

impl CheckKey {
    fn setting<T>(&self, read: impl Fn(&ApiKeyAuth) -> &T, is_set: impl Fn(&T) -> bool) -> &T {
        let own = self.route.as_deref().map(&read).filter(|value| is_set(value));
        own.unwrap_or_else(|| read(&self.listener))
    }

    fn refuse(&self, status: StatusCode, body: &'static str, details: &'static str) -> Outcome {
        let counter = if status == StatusCode::FORBIDDEN {
            &self.counters.forbidden
        } else {
            &self.counters.unauthorized
        };
        counter.increment();
        Outcome::Respond(Box::new(LocalResponse {
            body: Bytes::from_static(body.as_bytes()),
            ..LocalResponse::new(status, details)
        }))
    }
}

impl HttpFilter for CheckKey {
    fn on_request_headers(&mut self, context: &mut FilterContext<'_>, _end_of_stream: bool) -> Outcome {
        const FAILED: &str = "Client authentication failed.";
        let sources = self.setting(|all| &all.sources, |sources| !sources.is_empty());
        let Some(key) = sources.iter().find_map(|source| key(source, context.request)) else {
            return self.refuse(StatusCode::UNAUTHORIZED, FAILED, "missing_api_key");
        };
        let credentials = self.setting(|all| &all.credentials, |credentials| !credentials.is_empty());
        let Some(client) = credentials.get(&*key) else {
            return self.refuse(StatusCode::UNAUTHORIZED, FAILED, "unknown_api_key");
        };
        let allowed = self.route.as_ref().and_then(|route| route.allowed_clients.as_ref());
        if allowed.is_some_and(|allowed| !allowed.contains(client)) {
            return self.refuse(StatusCode::FORBIDDEN, "Client is forbidden.", "client_not_allowed");
        }
        let own =
            self.route.as_deref().filter(|route| route.forward_client.is_some() || route.hide_credentials);
        let forwarding = own.unwrap_or(&self.listener);
        let told = forwarding.forward_client.clone().zip(HeaderValue::from_str(client).ok());
        if forwarding.hide_credentials {
            // All of them: another place may have a key too.
            sources.iter().for_each(|source| hide(source, context.request));
        }
        if let Some((name, value)) = told {
            context.request.headers.insert(name, value);
        }
        self.counters.allowed.increment();
        Outcome::Continue
    }

    fn is_finished(&self) -> bool {
        true
    }
}

/// The key at a place; an empty one is none.
fn key<'a>(source: &ApiKeySource, head: &'a RequestHead) -> Option<Cow<'a, str>> {
    let found = match source {
        ApiKeySource::Header(name) => {
            // A header that is there twice has one key at the most.
            let value = match name == AUTHORIZATION {
                true => joined(&head.headers, name)?,
                false => Cow::Borrowed(head.headers.get(name)?.as_bytes()),
            };
            let value = String::from_utf8(value.into_owned()).ok()?;
            let bearer = value.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("bearer "));
            Cow::Owned(if bearer { value[7..].trim_start().to_owned() } else { value })
        }
        ApiKeySource::Query(name) => {
            let query = head.path.query()?;
            let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
            Cow::Borrowed(pairs.find(|(other, _)| *other == &**name)?.1)
        }
        ApiKeySource::Cookie(name) => {
            let cookies = head.headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
            let mut pairs =
                cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
            Cow::Borrowed(pairs.find(|(other, _)| *other == &**name)?.1.trim_matches('"'))
        }
    };
    Some(found).filter(|key| !key.is_empty())
}

/// Takes the key out of the request.
fn hide(source: &ApiKeySource, head: &mut RequestHead) {
    match source {
        ApiKeySource::Header(name) => {
            head.headers.remove(name);
        }
        ApiKeySource::Query(name) => {
            let kept = head.path.query().into_iter().flat_map(|query| query.split('&'));
            let kept: Vec<&str> = kept.filter(|pair| pair.split('=').next() != Some(&**name)).collect();
            let text = match kept.is_empty() {
                true => head.path.path().to_owned(),
                false => format!("{}?{}", head.path.path(), kept.join("&")),
            };
            // Parts of a path are a path.
            if let Ok(path) = text.parse() {
                head.path = path;
            }
        }
        ApiKeySource::Cookie(name) => {
            let all: Vec<HeaderValue> = head.headers.get_all(COOKIE).iter().cloned().collect();
            head.headers.remove(COOKIE);
            for value in all.iter().filter_map(|value| value.to_str().ok()) {
                let kept: Vec<&str> = value
                    .split(';')
                    .map(str::trim)
                    .filter(|pair| pair.split('=').next() != Some(&**name))
                    .collect();
                if let Some(value) = HeaderValue::from_str(&kept.join("; ")).ok().filter(|_| !kept.is_empty())
                {
                    head.headers.append(COOKIE, value);
                }
            }
        }
    }
}
