// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Refuses requests that another site made a browser send: what changes something must come from a known origin.

use super::Counter;
use bytes::Bytes;
use gateway_config::CsrfPolicy;
use gateway_filter_api::{FilterContext, HttpFilter, LocalResponse, Outcome, RequestHead};
use http::header::{ORIGIN, REFERER};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use std::sync::Arc;

/// The filter's numbers on one worker.
#[derive(Clone, Debug)]
pub(crate) struct Counters {
    pub(crate) missing_source_origin: Counter,
    pub(crate) request_invalid: Counter,
    pub(crate) request_valid: Counter,
}

/// Looks at one request.
#[derive(Debug)]
pub(crate) struct Csrf {
    pub(crate) policy: Arc<CsrfPolicy>,
    pub(crate) counters: Counters,
}

impl HttpFilter for Csrf {
    fn on_request_headers(&mut self, context: &mut FilterContext<'_>, _end_of_stream: bool) -> Outcome {
        let head = &*context.request;
        let changes = [Method::POST, Method::PUT, Method::DELETE, Method::PATCH].contains(&head.method);
        let random: u64 = rand::random();
        let enforced = self.policy.enabled.accepts(random);
        if !changes || !(enforced || self.policy.shadow.accepts(random)) {
            return Outcome::Continue;
        }
        let source = origin_of(head, &ORIGIN).or_else(|| origin_of(head, &REFERER));
        let Some(source) = source else {
            self.counters.missing_source_origin.increment();
            return refuse_where(enforced);
        };
        let known = source == head.authority.as_bytes()
            || self.policy.additional_origins.iter().any(|origin| origin.is_match(source));
        if known {
            self.counters.request_valid.increment();
            return Outcome::Continue;
        }
        self.counters.request_invalid.increment();
        refuse_where(enforced)
    }

    fn is_finished(&self) -> bool {
        true
    }
}

fn refuse_where(enforced: bool) -> Outcome {
    if !enforced {
        return Outcome::Continue;
    }
    Outcome::Respond(Box::new(LocalResponse {
        body: Bytes::from_static(b"Invalid origin"),
        ..LocalResponse::new(StatusCode::FORBIDDEN, "csrf_origin_mismatch")
    }))
}

/// Host and port of the URL in a header; what is no URL counts as it stands.
fn origin_of<'a>(head: &'a RequestHead, name: &HeaderName) -> Option<&'a [u8]> {
    let value = head.headers.get(name).map(HeaderValue::as_bytes).filter(|value| !value.is_empty())?;
    let rest = value.strip_prefix(b"http://").or_else(|| value.strip_prefix(b"https://"));
    let Some(rest) = rest else { return Some(value) };
    let end = rest.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(rest.len());
    Some(&rest[..end])
}
