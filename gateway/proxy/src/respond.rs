// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Last phase: the answer in the form that the client's connection wants.

use crate::answer::Answer;
use crate::record::Record;
use crate::response_body::{Payload, ResponseBody};
use crate::upgrade::Tunnel;
use crate::via;
use gateway_config::ServerHeader;
use http::header::{CONNECTION, CONTENT_LENGTH, SERVER, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version};

static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
pub(crate) static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// The answer with its record; from here on the connection drives it.
pub(crate) fn respond(
    answer: Answer<'_>,
    mut record: Box<Record>,
    version: Version,
    head_only: bool,
) -> Response<ResponseBody> {
    let Answer { head, payload, .. } = answer;
    let (status, mut headers) = (head.status, head.headers);
    strip(&mut headers);
    let http = &record.serving.settings.http;
    match http.server_header {
        ServerHeader::Overwrite => drop(headers.insert(SERVER, http.server_name.clone())),
        ServerHeader::AppendIfAbsent => {
            headers.entry(SERVER).or_insert_with(|| http.server_name.clone());
        }
        ServerHeader::PassThrough => {}
    }
    if let Some(name) = &http.via {
        via::append(&mut headers, name);
    }
    if let Some(id) = record.request_id.take() {
        headers.insert(X_REQUEST_ID.clone(), id);
    }
    if let Payload::Tunnel(tunnel) = payload {
        return open(*tunnel, record, version, (status, headers));
    }
    if version != Version::HTTP_2 && record.connection.is_ending() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    record.status = status.as_u16();
    record.keep_answer(&headers);
    let bodiless = head_only || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
    if let Payload::Full(body) = &payload
        && head_only
    {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    // On HTTP/2 a body behind an answer to HEAD would break the stream.
    let payload = if bodiless && matches!(payload, Payload::Full(_)) { Payload::Empty } else { payload };
    let mut response = Response::new(ResponseBody::new(payload, record, bodiless));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// The head of an answer behind which a tunnel begins. What is logged is the answer of HTTP/1.1, whatever the client speaks (as in Envoy).
fn open(
    tunnel: Tunnel,
    mut record: Box<Record>,
    version: Version,
    (status, mut headers): (StatusCode, HeaderMap),
) -> Response<ResponseBody> {
    let told = tunnel.dress(status, &mut headers, version);
    record.status = status.as_u16();
    record.keep_answer(&headers);
    tunnel.start(record, version);
    let mut response = Response::new(ResponseBody::none());
    *response.status_mut() = told;
    *response.headers_mut() = headers;
    response
}

/// Removes what concerned the upstream's connection (RFC 9110, 7.6.1).
fn strip(headers: &mut HeaderMap) {
    let (mut connection, mut other) = (false, false);
    for name in headers.keys() {
        match name.as_str() {
            "connection" => connection = true,
            "transfer-encoding" | "upgrade" | "te" | "keep-alive" | "proxy-connection" => other = true,
            _ => {}
        }
    }
    if connection {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
            .filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok())
            .collect();
        for name in named.iter().filter(|name| **name != CONTENT_LENGTH) {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    if other {
        for name in [&TRANSFER_ENCODING, &UPGRADE, &TE, &KEEP_ALIVE, &PROXY_CONNECTION] {
            headers.remove(name);
        }
    }
}
