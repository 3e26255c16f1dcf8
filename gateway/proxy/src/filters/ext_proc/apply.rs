// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What a service asks for, done to heads, bodies and trailers within the rules.

use crate::service_changes::{ChangeAction, Head, HeaderChange, NotChanged, remove};
use bytes::{Bytes, BytesMut};
use gateway_config::MutationRules;
use gateway_filter_api::{FilterError, LocalResponse, ResponseHead};
use gateway_xds_api::pb::envoy::config::core::v3::HeaderValueOption;
use gateway_xds_api::pb::envoy::service::ext_proc::v3::{
    BodyMutation, HeaderMutation, ImmediateResponse, ProcessingResponse, StreamedBodyResponse,
    body_mutation::Mutation, processing_response::Response,
};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// A change that ends the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rejected;

/// Changes a head or trailers; the number of changes that were passed over.
pub(super) fn mutate(
    mutation: &HeaderMutation,
    head: &mut impl Head,
    rules: Option<&MutationRules>,
    most: usize,
) -> Result<u64, Rejected> {
    let HeaderMutation { set_headers, remove_headers } = mutation;
    if set_headers.len() > most || remove_headers.len() > most {
        return Err(Rejected);
    }
    let mut passed_over = 0;
    let mut judge = |result: Result<(), NotChanged>| match result {
        Err(NotChanged::Disallowed) if rules.is_some_and(|rules| rules.disallow_is_error) => Err(Rejected),
        Err(_) => {
            passed_over += 1;
            Ok(())
        }
        Ok(()) => Ok(()),
    };
    for name in remove_headers {
        if !is_name(name) {
            return Err(Rejected);
        }
        judge(remove(name, head, rules))?;
    }
    for option in set_headers {
        let Some(change) = change(option)? else { continue };
        judge(change.apply(head, rules))?;
    }
    Ok(passed_over)
}

/// A change that is fit for the wire.
fn change(option: &HeaderValueOption) -> Result<Option<HeaderChange>, Rejected> {
    let Some(header) = &option.header else { return Ok(None) };
    let both = !header.value.is_empty() && !header.raw_value.is_empty();
    let bytes = if header.raw_value.is_empty() { header.value.as_bytes() } else { &header.raw_value };
    if both || !is_name(&header.key) || HeaderValue::from_bytes(bytes).is_err() {
        return Err(Rejected);
    }
    Ok(HeaderChange::read(option.clone(), ChangeAction::Set, ChangeAction::Append))
}

fn is_name(name: &str) -> bool {
    HeaderName::from_bytes(name.strip_prefix(':').unwrap_or(name).as_bytes()).is_ok()
}

/// Changes the bytes of a body.
pub(super) fn change_body(mutation: &BodyMutation, chunk: &mut BytesMut) {
    match &mutation.mutation {
        Some(Mutation::Body(body)) => {
            chunk.clear();
            chunk.extend_from_slice(body);
        }
        Some(Mutation::ClearBody(true)) => chunk.clear(),
        // Only where the body goes in pieces both ways; see `streamed`.
        Some(Mutation::ClearBody(false) | Mutation::StreamedResponse(_)) | None => {}
    }
}

/// The piece of a body in an answer.
pub(super) fn streamed(answer: &ProcessingResponse) -> Option<&StreamedBodyResponse> {
    let (Response::RequestBody(body) | Response::ResponseBody(body)) = answer.response.as_ref()? else {
        return None;
    };
    match body.response.as_ref()?.body_mutation.as_ref()?.mutation.as_ref()? {
        Mutation::StreamedResponse(piece) => Some(piece),
        _ => None,
    }
}

/// The answer that a service gives itself.
pub(super) fn immediate(response: ImmediateResponse, most: usize) -> Result<LocalResponse, Rejected> {
    let ImmediateResponse { status, headers, body, grpc_status, details } = response;
    let status = status
        .and_then(|status| StatusCode::from_u16(u16::try_from(status.code).ok()?).ok())
        .filter(|status| !status.is_informational())
        .unwrap_or(StatusCode::OK);
    let mut head = ResponseHead { status, headers: HeaderMap::new() };
    if !body.is_empty() {
        head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    }
    if let Some(mutation) = headers {
        mutate(&mutation, &mut head, None, most)?;
    }
    let details = details.split_whitespace().collect::<Vec<_>>().join("_");
    Ok(LocalResponse {
        headers: head.headers,
        body: Bytes::from(body),
        grpc_status: grpc_status.map(|grpc| grpc.status),
        ..LocalResponse::new(head.status, details)
    })
}

/// Trailers change like heads, but for what only heads have.
pub(super) struct Trailers<'a>(pub(super) &'a mut HeaderMap);

impl Head for Trailers<'_> {
    fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(HeaderValue::as_bytes)
    }

    fn set(&mut self, name: &str, value: &[u8]) -> Result<(), FilterError> {
        let (name, value) = trailer(name, value)?;
        self.0.insert(name, value);
        Ok(())
    }

    fn add(&mut self, name: &str, value: &[u8]) -> Result<(), FilterError> {
        let (name, value) = trailer(name, value)?;
        self.0.append(name, value);
        Ok(())
    }

    fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }
}

/// Fields that concern framing, routing or authentication are none that a trailer may have (RFC 9110, 6.5.1).
fn trailer(name: &str, value: &[u8]) -> Result<(HeaderName, HeaderValue), FilterError> {
    let invalid = || FilterError::InvalidHeader { name: name.to_owned() };
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
    let forbidden = matches!(
        name.as_str(),
        "transfer-encoding" | "content-length" | "connection" | "host" | "te" | "upgrade" | "trailer"
    );
    if forbidden {
        return Err(invalid());
    }
    Ok((name, HeaderValue::from_bytes(value).map_err(|_| invalid())?))
}

#[cfg(test)]
mod tests {
    use super::{Rejected, mutate};
    use gateway_config::MutationRules;
    use gateway_filter_api::ResponseHead;
    use gateway_xds_api::pb::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
    use gateway_xds_api::pb::envoy::service::ext_proc::v3::HeaderMutation;
    use http::{HeaderMap, StatusCode};

    fn set(name: &str, value: &str) -> HeaderMutation {
        let header = HeaderValue {
            key: name.to_owned(),
            raw_value: value.as_bytes().to_vec(),
            ..HeaderValue::default()
        };
        HeaderMutation {
            set_headers: vec![HeaderValueOption { header: Some(header), ..HeaderValueOption::default() }],
            remove_headers: vec![],
        }
    }

    #[test]
    fn changes_keep_to_the_rules_and_to_what_is_fit_for_the_wire() {
        let strict = MutationRules { disallow_is_error: true, ..MutationRules::default() };
        let lax = MutationRules::default();
        for (name, value, rules, result) in [
            ("x-a", "1", &strict, Ok(0)),
            (":status", "201", &strict, Ok(0)),
            ("content-length", "7", &strict, Ok(1)),
            ("connection", "close", &strict, Ok(1)),
            ("x-envoy-a", "1", &lax, Ok(1)),
            ("x-envoy-a", "1", &strict, Err(Rejected)),
            ("x-a", "1\r\nx-b: 2", &lax, Err(Rejected)),
            ("x a", "1", &lax, Err(Rejected)),
        ] {
            let mut head = ResponseHead { status: StatusCode::OK, headers: HeaderMap::new() };
            assert_eq!(mutate(&set(name, value), &mut head, Some(rules), 100), result, "{name}: {value}");
            assert_eq!(head.headers.contains_key("x-a"), name == "x-a" && result.is_ok(), "{name}");
            assert_eq!(head.status == StatusCode::CREATED, name == ":status");
        }
        let mut head = ResponseHead { status: StatusCode::OK, headers: HeaderMap::new() };
        assert_eq!(mutate(&set("x-a", "1"), &mut head, Some(&lax), 0), Err(Rejected));
    }
}
