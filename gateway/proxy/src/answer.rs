// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What a request is answered with, before the response phases.

use crate::response_body::Payload;
use bytes::Bytes;
use gateway_config::WeightedCluster;
use gateway_filter_api::{LocalResponse, RequestHead, ResponseFlags, ResponseHead};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use std::borrow::Cow;

/// An answer on its way to the client.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) head: ResponseHead,
    pub(crate) payload: Payload,
    pub(crate) source: Source<'a>,
    /// The form that an own answer still has to get; none where it has it, and for answers of upstreams.
    pub(crate) form: Option<Form>,
}

/// The form of own answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Status and body.
    Plain,
    /// A status of gRPC: this one, else what the HTTP status maps to.
    Grpc(Option<u32>),
}

/// Who gives an answer; decides which header changes apply.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source<'a> {
    /// The gateway, for a request without a route: no changes.
    Nowhere,
    /// The gateway, because something went wrong; changes where the route forwards, as in Envoy.
    Gateway,
    /// The configuration: a redirect or a direct response.
    Route,
    /// A cluster.
    Cluster(&'a WeightedCluster),
}

/// An answer of the gateway itself that says what went wrong, in Envoy's words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) body: &'static str,
    pub(crate) flags: ResponseFlags,
    pub(crate) details: &'static str,
}

impl Failure {
    /// 404 without body.
    pub(crate) const NO_ROUTE: Self = Self {
        status: StatusCode::NOT_FOUND,
        body: "",
        flags: ResponseFlags::NO_ROUTE,
        details: "route_not_found",
    };
    /// 503.
    pub(crate) const NO_HEALTHY_UPSTREAM: Self = Self {
        status: StatusCode::SERVICE_UNAVAILABLE,
        body: "no healthy upstream",
        flags: ResponseFlags::NO_HEALTHY_UPSTREAM,
        details: "no_healthy_upstream",
    };
    /// 504.
    pub(crate) const TIMEOUT: Self = Self {
        status: StatusCode::GATEWAY_TIMEOUT,
        body: "upstream request timeout",
        flags: ResponseFlags::UPSTREAM_TIMEOUT,
        details: "response_timeout",
    };
    /// 504, or 408 while the request is still coming.
    pub(crate) const DURATION: Self = Self {
        status: StatusCode::GATEWAY_TIMEOUT,
        body: "downstream duration timeout",
        flags: ResponseFlags::NONE,
        details: "max_duration_timeout",
    };
    /// 504, or 408 while the request is still coming.
    pub(crate) const IDLE: Self = Self {
        status: StatusCode::GATEWAY_TIMEOUT,
        body: "stream timeout",
        flags: ResponseFlags::STREAM_IDLE_TIMEOUT,
        details: "stream_idle_timeout",
    };
    /// 503: memory is short.
    pub(crate) const OVERLOAD: Self = Self {
        status: StatusCode::SERVICE_UNAVAILABLE,
        body: "overloaded",
        flags: ResponseFlags::OVERLOAD,
        details: "overload",
    };
    /// 403: an upgrade that is not allowed.
    pub(crate) const UPGRADE: Self = Self {
        status: StatusCode::FORBIDDEN,
        body: "",
        flags: ResponseFlags::NONE,
        details: "upgrade_failed",
    };
    /// 400.
    pub(crate) const fn bad_request(details: &'static str) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            body: "",
            flags: ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR,
            details,
        }
    }

    /// The failure as an answer; a gRPC client gets it as a gRPC status.
    pub(crate) fn answer<'a>(self, grpc: bool) -> Answer<'a> {
        let mut answer = local(self.status, HeaderMap::new(), Bytes::from_static(self.body.as_bytes()), grpc);
        if grpc && self.details == Self::DURATION.details {
            // DEADLINE_EXCEEDED
            answer.form = Some(Form::Grpc(Some(4)));
        }
        answer
    }
}

/// An answer with a body of our own.
pub(crate) fn local<'a>(status: StatusCode, headers: HeaderMap, body: Bytes, grpc: bool) -> Answer<'a> {
    let payload = if body.is_empty() { Payload::Empty } else { Payload::Full(body) };
    let form = if grpc { Form::Grpc(None) } else { Form::Plain };
    Answer { head: ResponseHead { status, headers }, payload, source: Source::Gateway, form: Some(form) }
}

/// The answer of a filter, and why it was given.
pub(crate) fn from_filter<'a>(response: LocalResponse, grpc: bool) -> (Answer<'a>, Cow<'static, str>) {
    let mut answer = local(response.status, response.headers, response.body, grpc);
    if grpc {
        answer.form = Some(Form::Grpc(response.grpc_status));
    }
    (answer, response.details)
}

/// A redirect; to a gRPC client as a status of gRPC, as any own answer.
pub(crate) fn redirect<'a>(status: StatusCode, location: HeaderValue, grpc: bool) -> Answer<'a> {
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(LOCATION, location);
    Answer { source: Source::Route, ..local(status, headers, Bytes::new(), grpc) }
}

/// Whether a request is gRPC (and not gRPC-Web).
pub(crate) fn is_grpc(head: &RequestHead) -> bool {
    let Some(kind) = head.headers.get(CONTENT_TYPE) else { return false };
    let kind = kind.as_bytes();
    kind.starts_with(b"application/grpc") && matches!(kind.get(16), None | Some(b'+'))
}

impl Answer<'_> {
    /// Trailers-only, with the status that Envoy maps an HTTP status to where none is given.
    pub(crate) fn become_grpc(&mut self, status: Option<u32>) {
        let code = status.unwrap_or_else(|| grpc_status_of(self.head.status));
        let headers = &mut self.head.headers;
        headers.remove(CONTENT_LENGTH);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from(code));
        if let Payload::Full(message) = std::mem::replace(&mut self.payload, Payload::Empty)
            && let Ok(message) = HeaderValue::try_from(percent_encoded(&message))
        {
            headers.insert(HeaderName::from_static("grpc-message"), message);
        }
        self.head.status = StatusCode::OK;
    }
}

/// The gRPC status that stands for an HTTP status (gRPC, `http-grpc-status-mapping`).
pub(crate) fn grpc_status_of(status: StatusCode) -> u32 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

/// A text for `grpc-message` (gRPC over HTTP/2, "Percent-Encoded").
pub(crate) fn percent_encoded(text: &[u8]) -> String {
    text.iter().fold(String::with_capacity(text.len()), |mut out, &byte| {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(char::from(byte)),
            _ => {
                const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
                out.push('%');
                out.push(char::from(DIGITS[usize::from(byte >> 4)]));
                out.push(char::from(DIGITS[usize::from(byte & 0xf)]));
            }
        }
        out
    })
}
