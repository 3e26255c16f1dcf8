// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What a service is told: heads, bodies, trailers, attributes and metadata.

use crate::access_log::protocol_text;
use crate::filter::Direction;
use crate::protobuf_json::from_json;
use gateway_config::{ExtProc, ProcBody, ProcessingMode, StringMatcher};
use gateway_filter_api::FilterContext;
use gateway_xds_api::pb::envoy::config::core::v3::{
    HeaderMap as PbHeaderMap, HeaderValue as PbHeaderValue, Metadata,
};
use gateway_xds_api::pb::envoy::extensions::filters::http::ext_proc::v3::processing_mode::BodySendMode;
use gateway_xds_api::pb::envoy::service::ext_proc::v3::{
    HttpBody, HttpHeaders, HttpTrailers, ProcessingRequest, ProtocolConfiguration,
    processing_request::Request,
};
use http::{HeaderMap, HeaderValue};
use serde_json::{Map, Value};

/// The key of attributes.
const NAMESPACE: &str = "envoy.filters.http.ext_proc";
/// Larger pieces of a body are cut, as many services take no message above 4 MiB.
const PIECE: usize = 64 << 10;

/// The head of a message.
pub(super) fn head(
    config: &ExtProc,
    direction: Direction,
    context: &FilterContext<'_>,
    end_of_stream: bool,
) -> Request {
    let head = match (direction, &context.response) {
        (Direction::Response, Some(response)) => {
            let status = (":status", response.status.as_str().as_bytes());
            headers(config, std::iter::once(status), &response.headers)
        }
        _ => {
            let request = &*context.request;
            let pseudo = [":method", ":scheme", ":authority", ":path"];
            let pseudo = pseudo.into_iter().filter_map(|name| Some((name, request.get(name)?)));
            headers(config, pseudo, &request.headers)
        }
    };
    let head = HttpHeaders { headers: Some(head), end_of_stream, ..HttpHeaders::default() };
    match direction {
        Direction::Request => Request::RequestHeaders(head),
        Direction::Response => Request::ResponseHeaders(head),
    }
}

fn headers<'a>(
    config: &ExtProc,
    pseudo: impl Iterator<Item = (&'a str, &'a [u8])>,
    headers: &'a HeaderMap,
) -> PbHeaderMap {
    let listed =
        |list: &[StringMatcher], name: &str| list.iter().any(|matcher| matcher.is_match(name.as_bytes()));
    let shown = |name: &str| {
        config.allowed_headers.as_ref().is_none_or(|allowed| listed(allowed, name))
            && !listed(&config.disallowed_headers, name)
    };
    let ordinary = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let all = pseudo.chain(ordinary).filter(|(name, _)| shown(name)).map(|(name, value)| PbHeaderValue {
        key: name.to_owned(),
        raw_value: value.to_vec(),
        ..PbHeaderValue::default()
    });
    PbHeaderMap { headers: all.collect() }
}

/// Bytes of a body.
pub(super) fn body(direction: Direction, bytes: &[u8], end_of_stream: bool) -> Request {
    let body = HttpBody { body: bytes.to_vec(), end_of_stream, ..HttpBody::default() };
    match direction {
        Direction::Request => Request::RequestBody(body),
        Direction::Response => Request::ResponseBody(body),
    }
}

/// A whole body in pieces, at least one.
pub(super) fn pieces(direction: Direction, whole: &[u8], end_of_stream: bool) -> Vec<Request> {
    let count = whole.len().div_ceil(PIECE).max(1);
    (0..count)
        .map(|at| {
            let piece = &whole[at * PIECE..whole.len().min((at + 1) * PIECE)];
            body(direction, piece, end_of_stream && at + 1 == count)
        })
        .collect()
}

/// Trailers.
pub(super) fn trailers(config: &ExtProc, direction: Direction, trailers: &HeaderMap) -> Request {
    let trailers = HttpTrailers { trailers: Some(headers(config, std::iter::empty(), trailers)) };
    match direction {
        Direction::Request => Request::RequestTrailers(trailers),
        Direction::Response => Request::ResponseTrailers(trailers),
    }
}

/// What goes with the messages: once for the call, and once for each direction.
pub(super) fn message(
    request: Request,
    mode: Option<ProcessingMode>,
    attributes: Option<Map<String, Value>>,
    metadata: Option<Metadata>,
) -> ProcessingRequest {
    let kind = |body: ProcBody| match body {
        ProcBody::None => BodySendMode::None,
        ProcBody::Streamed => BodySendMode::Streamed,
        ProcBody::Buffered => BodySendMode::Buffered,
        ProcBody::BufferedPartial => BodySendMode::BufferedPartial,
        ProcBody::FullDuplex => BodySendMode::FullDuplexStreamed,
    };
    ProcessingRequest {
        request: Some(request),
        metadata_context: metadata,
        attributes: attributes
            .filter(|attributes| !attributes.is_empty())
            .map(|attributes| (NAMESPACE.to_owned(), from_json(&attributes)))
            .into_iter()
            .collect(),
        protocol_config: mode.map(|mode| ProtocolConfiguration {
            request_body_mode: kind(mode.request_body).into(),
            response_body_mode: kind(mode.response_body).into(),
            send_body_without_waiting_for_header_response: false,
        }),
        ..ProcessingRequest::default()
    }
}

/// Dynamic metadata of some namespaces.
pub(super) fn metadata(namespaces: &[Box<str>], context: &FilterContext<'_>) -> Option<Metadata> {
    if namespaces.is_empty() {
        return None;
    }
    let values =
        namespaces.iter().filter_map(|name| Some((name.to_string(), from_json(context.metadata.get(name)?))));
    Some(Metadata { filter_metadata: values.collect(), ..Metadata::default() })
}

/// The attributes of these names; those without a value are left out.
pub(super) fn attributes(names: &[Box<str>], context: &FilterContext<'_>) -> Map<String, Value> {
    names.iter().filter_map(|name| Some((name.to_string(), attribute(name, context)?))).collect()
}

fn attribute(name: &str, context: &FilterContext<'_>) -> Option<Value> {
    let (head, connection) = (&*context.request, context.connection);
    let tls = connection.tls.as_ref();
    let peer = tls.and_then(|tls| tls.peer.as_deref());
    let header = |name: &str| Some(text(head.headers.get(name)?));
    Some(match name {
        "request.path" => head.path.as_str().into(),
        "request.url_path" => head.path.path().into(),
        "request.query" => head.path.query().unwrap_or_default().into(),
        "request.host" => head.authority().into(),
        "request.scheme" => head.scheme().into(),
        "request.method" => head.method.as_str().into(),
        "request.headers" => all(&head.headers),
        "request.referer" => header("referer")?,
        "request.useragent" => header("user-agent")?,
        "request.id" => header("x-request-id")?,
        "request.protocol" => protocol_text(head.version).into(),
        "response.code" => context.response.as_ref()?.status.as_u16().into(),
        "response.headers" => all(&context.response.as_ref()?.headers),
        "source.address" => connection.remote.to_string().into(),
        "source.port" => connection.remote.port().into(),
        "destination.address" => connection.local.to_string().into(),
        "destination.port" => connection.local.port().into(),
        "connection.id" => connection.id.into(),
        "connection.mtls" => tls.is_some_and(|tls| tls.peer_certificate.is_some()).into(),
        "connection.requested_server_name" => tls?.server_name.as_deref()?.into(),
        "connection.tls_version" => tls?.version.into(),
        "connection.subject_peer_certificate" => (&*peer?.subject).into(),
        "connection.dns_san_peer_certificate" => (&**peer?.dns.first()?).into(),
        "connection.uri_san_peer_certificate" => (&**peer?.uris.first()?).into(),
        "xds.route_name" => context.route.into(),
        _ => return None,
    })
}

fn all(headers: &HeaderMap) -> Value {
    let joined = headers.keys().map(|name| {
        let values: Vec<_> = headers.get_all(name).iter().map(lossy).collect();
        (name.to_string(), Value::String(values.join(",")))
    });
    Value::Object(joined.collect())
}

fn text(value: &HeaderValue) -> Value {
    Value::String(lossy(value))
}

fn lossy(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}
