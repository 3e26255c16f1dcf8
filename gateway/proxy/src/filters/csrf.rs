// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Refuses requests that another site made a browser send: what changes something must come from a known origin.

use super::Counter;
use super::joined::joined;
use bytes::Bytes;
use gateway_config::CsrfPolicy;
use gateway_filter_api::{FilterContext, HttpFilter, LocalResponse, Outcome, RequestHead};
use http::header::{ORIGIN, REFERER};
use http::{HeaderName, Method, StatusCode};
use std::borrow::Cow;
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
        let known = *source == *head.authority.as_bytes()
            || self.policy.additional_origins.iter().any(|origin| origin.is_match(&source));
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
fn origin_of<'a>(head: &'a RequestHead, name: &HeaderName) -> Option<Cow<'a, [u8]>> {
    let value = joined(&head.headers, name).filter(|value| !value.is_empty())?;
    let start = [&b"http://"[..], b"https://"].into_iter().find(|scheme| value.starts_with(scheme));
    let Some(start) = start.map(|scheme| scheme.len()) else { return Some(value) };
    let rest = &value[start..];
    let end = start + rest.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(rest.len());
    Some(match value {
        Cow::Borrowed(value) => Cow::Borrowed(&value[start..end]),
        Cow::Owned(value) => Cow::Owned(value[start..end].to_vec()),
    })
}
