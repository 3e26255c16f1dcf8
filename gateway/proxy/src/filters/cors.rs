// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Cross-origin resource sharing, as Envoy's filter does it (Fetch standard, "CORS protocol").

use gateway_config::CorsPolicy;
use gateway_filter_api::{FilterContext, HttpFilter, LocalResponse, Outcome};
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use std::sync::Arc;

/// Decides about one request.
#[derive(Debug)]
pub(crate) struct Cors {
    policy: Arc<CorsPolicy>,
    /// Set where it is a request across origins that is allowed: the answer gets headers.
    origin: Option<HeaderValue>,
}

impl Cors {
    /// Nothing is decided yet.
    pub(crate) fn new(policy: &Arc<CorsPolicy>) -> Self {
        Self { policy: Arc::clone(policy), origin: None }
    }

    fn preflight_answer(&self, origin: &HeaderValue) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        if self.policy.allow_credentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        let optional = [
            (ACCESS_CONTROL_ALLOW_METHODS, &self.policy.allow_methods),
            (ACCESS_CONTROL_ALLOW_HEADERS, &self.policy.allow_headers),
            (ACCESS_CONTROL_MAX_AGE, &self.policy.max_age),
            (ACCESS_CONTROL_EXPOSE_HEADERS, &self.policy.expose_headers),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                headers.insert(name, value.clone());
            }
        }
        headers
    }
}

impl HttpFilter for Cors {
    fn on_request_headers(&mut self, context: &mut FilterContext<'_>, _end_of_stream: bool) -> Outcome {
        let head = &*context.request;
        let Some(origin) = head.headers.get(ORIGIN) else { return Outcome::Continue };
        let preflight = head.method == Method::OPTIONS
            && head.headers.get(ACCESS_CONTROL_REQUEST_METHOD).is_some_and(|method| !method.is_empty());
        let allowed = self.policy.allows(origin.as_bytes());
        let headers = match (preflight, allowed) {
            (false, false) => return Outcome::Continue,
            (false, true) => {
                self.origin = Some(origin.clone());
                return Outcome::Continue;
            }
            (true, false) if self.policy.forward_unmatched_preflights => return Outcome::Continue,
            (true, false) => HeaderMap::new(),
            (true, true) => self.preflight_answer(origin),
        };
        Outcome::Respond(Box::new(LocalResponse {
            headers,
            ..LocalResponse::new(StatusCode::OK, "cors_response")
        }))
    }

    fn is_finished(&self) -> bool {
        self.origin.is_none()
    }

    fn on_response_headers(&mut self, context: &mut FilterContext<'_>, _end_of_stream: bool) -> Outcome {
        if let (Some(origin), Some(head)) = (&self.origin, &mut context.response) {
            head.headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            if self.policy.allow_credentials {
                head.headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            }
            if let Some(expose) = &self.policy.expose_headers {
                head.headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
            }
        }
        Outcome::Continue
    }
}
