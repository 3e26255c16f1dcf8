// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The question and answer of an HTTP service: a request like the client's own, whose answer says by its status.

use super::Shown;
use super::decision::{Allowed, Decision, Denial};
use super::grpc::PARTIAL_BODY;
use crate::callout::Callout;
use crate::service_changes::{ChangeAction, HeaderChange};
use bytes::Bytes;
use gateway_config::{AuthzHttp, ExtAuthz, StringMatcher};
use gateway_filter_api::RequestHead;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, LOCATION, TE, WWW_AUTHENTICATE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use serde_json::{Map, Value};

static HEADERS_TO_REMOVE: HeaderName = HeaderName::from_static("x-envoy-auth-headers-to-remove");

fn listed(list: &[StringMatcher], name: &HeaderName) -> bool {
    list.iter().any(|matcher| matcher.is_match(name.as_str().as_bytes()))
}

/// The question about a request; none where it has no form that an HTTP service understands.
pub(super) fn request(
    config: &ExtAuthz,
    service: &AuthzHttp,
    head: &RequestHead,
    body: Option<Shown>,
) -> Option<Request<Bytes>> {
    if head.method == Method::CONNECT {
        return None;
    }
    let allowed = config.allowed_headers.as_ref().or(service.allowed_headers.as_ref());
    let shown = |name: &HeaderName| {
        (*name == AUTHORIZATION || allowed.is_some_and(|allowed| listed(allowed, name)))
            && !listed(&config.disallowed_headers, name)
    };
    let body = body.map(|body| (body.bytes, body.partial));
    let (bytes, partial) = body.map_or((Bytes::new(), None), |(bytes, partial)| (bytes, Some(partial)));
    let length = bytes.len();
    let mut request = Request::new(bytes);
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = Uri::from(path(service, head)?);
    let headers = request.headers_mut();
    for (name, value) in head.headers.iter().filter(|(name, _)| shown(name)) {
        headers.append(name, value.clone());
    }
    headers.remove(TE);
    for (name, value) in &service.headers_to_add {
        headers.insert(name, value.clone());
    }
    match partial {
        Some(partial) => {
            let value = HeaderValue::from_static(if partial { "true" } else { "false" });
            headers.insert(PARTIAL_BODY, value);
        }
        None => drop(headers.remove(PARTIAL_BODY)),
    }
    headers.insert(HOST, head.authority.clone());
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    Some(request)
}

fn path(service: &AuthzHttp, head: &RequestHead) -> Option<PathAndQuery> {
    if !service.path_override.is_empty() {
        return service.path_override.parse().ok();
    }
    if service.path_prefix.is_empty() {
        return Some(head.path.clone());
    }
    format!("{}{}", service.path_prefix, head.path).parse().ok()
}

/// Asks the service.
pub(super) async fn ask(callout: &Callout, service: &AuthzHttp, request: Request<Bytes>) -> Decision {
    let target = &service.service;
    match callout.http_retried(&target.cluster, request, target.timeout, service.retries).await {
        Ok(answer) => read(service, answer),
        Err(error) => {
            tracing::debug!(cluster = %target.cluster, %error, "authorization service failed");
            Decision::Error(None)
        }
    }
}

/// The answer: 200 is a consent, 5xx a failure, anything else a refusal.
fn read(service: &AuthzHttp, answer: Response<Bytes>) -> Decision {
    let (parts, body) = answer.into_parts();
    if parts.status.is_server_error() {
        return Decision::Error(None);
    }
    if parts.status == StatusCode::OK {
        return Decision::Allow(Box::new(allowed(service, &parts.headers)));
    }
    let for_client = |name: &HeaderName| match &service.client_headers {
        None => *name != HOST,
        Some(list) => listed(list, name) || *name == WWW_AUTHENTICATE || *name == LOCATION,
    };
    let headers = parts.headers.iter().filter(|(name, _)| for_client(name) && !is_framing(name));
    Decision::Deny(Box::new(Denial {
        status: Some(parts.status),
        headers: headers.map(|(name, value)| change(name, value, ChangeAction::Append)).collect(),
        body,
    }))
}

fn allowed(service: &AuthzHttp, headers: &HeaderMap) -> Allowed {
    let mut allowed = Allowed::default();
    let mut metadata = Map::new();
    for (name, value) in headers.iter().filter(|(name, _)| !is_framing(name)) {
        if listed(&service.upstream_headers, name) {
            // Several values replace what was there as one.
            let again = allowed.request.iter().any(|change| change.name == name.as_str());
            let action = if again { ChangeAction::Append } else { ChangeAction::Set };
            allowed.request.push(change(name, value, action));
        }
        if listed(&service.upstream_headers_to_append, name) {
            allowed.request.push(change(name, value, ChangeAction::JoinIfPresent));
        }
        if listed(&service.client_headers_on_success, name) {
            allowed.response.push(change(name, value, ChangeAction::Append));
        }
        if listed(&service.metadata_from_headers, name) {
            let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
            metadata.insert(name.as_str().to_owned(), Value::String(text));
        }
    }
    let names = headers.get_all(&HEADERS_TO_REMOVE).iter().filter_map(|value| value.to_str().ok());
    let names = names.flat_map(|names| names.split(',')).map(str::trim).filter(|name| !name.is_empty());
    allowed.remove = names.map(str::to_owned).collect();
    allowed.metadata = metadata;
    allowed
}

fn change(name: &HeaderName, value: &HeaderValue, action: ChangeAction) -> HeaderChange {
    HeaderChange::new(name.as_str(), value.as_bytes(), action)
}

/// How the service's own answer was framed says nothing about other messages.
fn is_framing(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "content-length" | "transfer-encoding" | "connection" | "keep-alive" | "upgrade" | "te" | "trailer"
    )
}
