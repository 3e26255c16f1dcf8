// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Cross-origin resource sharing, as Envoy's filter does it (Fetch standard, "CORS protocol").

use crate::answer::{Answer, local};
use bytes::Bytes;
use gateway_config::CorsPolicy;
use gateway_filter_api::{RequestHead, ResponseHead};
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use std::sync::Arc;

/// A request from an origin that is allowed.
#[derive(Clone, Debug)]
pub(crate) struct Allowed {
    policy: Arc<CorsPolicy>,
    origin: HeaderValue,
}

/// What the filter does with a request.
#[derive(Debug)]
pub(crate) enum Decision<'a> {
    /// Nothing: not a request across origins, or from one that is not allowed.
    Pass,
    /// The answer gets headers.
    Allow(Allowed),
    /// A preflight is answered here.
    Answer(Answer<'a>),
}

/// Looks at a request.
pub(crate) fn decide<'a>(policy: &Arc<CorsPolicy>, head: &RequestHead) -> Decision<'a> {
    let Some(origin) = head.headers.get(ORIGIN) else { return Decision::Pass };
    let preflight = head.method == Method::OPTIONS
        && head.headers.get(ACCESS_CONTROL_REQUEST_METHOD).is_some_and(|method| !method.is_empty());
    let allowed = policy.allows(origin.as_bytes());
    match (preflight, allowed) {
        (false, false) => Decision::Pass,
        (false, true) => Decision::Allow(Allowed { policy: Arc::clone(policy), origin: origin.clone() }),
        (true, false) if policy.forward_unmatched_preflights => Decision::Pass,
        (true, false) => Decision::Answer(local(StatusCode::OK, HeaderMap::new(), Bytes::new(), false)),
        (true, true) => Decision::Answer(preflight_answer(policy, origin)),
    }
}

fn preflight_answer<'a>(policy: &CorsPolicy, origin: &HeaderValue) -> Answer<'a> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    if policy.allow_credentials {
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    let optional = [
        (ACCESS_CONTROL_ALLOW_METHODS, &policy.allow_methods),
        (ACCESS_CONTROL_ALLOW_HEADERS, &policy.allow_headers),
        (ACCESS_CONTROL_MAX_AGE, &policy.max_age),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            headers.insert(name, value.clone());
        }
    }
    local(StatusCode::OK, headers, Bytes::new(), false)
}

impl Allowed {
    /// Adds the headers to the answer of an allowed request.
    pub(crate) fn apply(&self, head: &mut ResponseHead) {
        head.headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, self.origin.clone());
        if self.policy.allow_credentials {
            head.headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        if let Some(expose) = &self.policy.expose_headers {
            head.headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
        }
    }
}
