// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The last form of the gateway's own answers: as `local_reply_config` says, and for gRPC clients as a status of gRPC.

use crate::access_log::is_wanted;
use crate::answer::{Answer, Form};
use crate::format::{Headers, LiveHeaders, Values, write_json, write_text};
use crate::mutations::apply_to_response;
use crate::record::Record;
use crate::response_body::Payload;
use bytes::Bytes;
use gateway_config::{BodyFormat, LogLine};
use gateway_filter_api::RequestHead;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};

/// Brings an own answer into its form; others stay as they are. `request` is not there where it could not be read.
pub(crate) fn finish(answer: &mut Answer<'_>, record: &Record, request: Option<&RequestHead>) {
    let Some(form) = answer.form else { return };
    if let Some(replies) = &record.serving.settings.http.local_replies {
        let mapper = replies.mappers.iter().find(|mapper| {
            with_values(answer, record, request, |values| is_wanted(&mapper.filter, values, record.flags))
        });
        if let Some(body) = mapper.and_then(|mapper| mapper.body.as_ref()) {
            answer.payload = payload(body.clone());
        }
        if let (Some(mapper), Some(request)) = (mapper, request)
            && !mapper.headers.add.is_empty()
        {
            let mut head = answer.head.clone();
            with_values(answer, record, Some(request), |values| {
                apply_to_response(&mut head, request, &mapper.headers, values);
            });
            answer.head = head;
        }
        if let Some(status) = mapper.and_then(|mapper| mapper.status) {
            answer.head.status = status;
        }
        if let Some(format) = mapper.and_then(|mapper| mapper.format.as_ref()).or(replies.format.as_ref()) {
            write(answer, record, request, format);
        }
    }
    answer.form = None;
    match form {
        Form::Plain => name_type(answer),
        Form::Grpc(status) => answer.become_grpc(status),
    }
}

/// Writes the body anew.
pub(crate) fn write(
    answer: &mut Answer<'_>,
    record: &Record,
    request: Option<&RequestHead>,
    format: &BodyFormat,
) {
    let mut body = Vec::new();
    with_values(answer, record, request, |values| match &format.line {
        LogLine::Text(text) => {
            write_text(&mut body, text, values, if format.omit_empty { "" } else { "-" });
        }
        LogLine::Json(json) => {
            write_json(&mut body, json, values, format.omit_empty);
            // What a status of gRPC says is no line.
            if !matches!(answer.form, Some(Form::Grpc(_))) {
                body.push(b'\n');
            }
        }
    });
    answer.payload = payload(body.into());
    answer.head.headers.insert(CONTENT_TYPE, format.content_type.clone());
}

fn payload(body: Bytes) -> Payload {
    if body.is_empty() { Payload::Empty } else { Payload::Full(body) }
}

/// A body has a type, and nothing has none.
fn name_type(answer: &mut Answer<'_>) {
    let headers = &mut answer.head.headers;
    headers.remove(CONTENT_LENGTH);
    if answer.payload.is_empty() || answer.head.status == StatusCode::NO_CONTENT {
        return;
    }
    headers.entry(CONTENT_TYPE).or_insert_with(|| HeaderValue::from_static("text/plain"));
}

fn with_values<T>(
    answer: &Answer<'_>,
    record: &Record,
    request: Option<&RequestHead>,
    look: impl FnOnce(&Values<'_>) -> T,
) -> T {
    let headers = request.map(|request| LiveHeaders { request, response: Some(&answer.head.headers) });
    let body = match &answer.payload {
        Payload::Full(body) => &**body,
        _ => &[],
    };
    let metadata = record.streams.as_ref().map(|streams| streams.metadata());
    let (route, cluster) = record.kept_names();
    let values = Values {
        headers: headers.as_ref().map(|headers| headers as &dyn Headers),
        upstream: record.upstream.as_ref().map(|host| host.address()),
        status: Some(answer.head.status),
        route,
        cluster,
        metadata: metadata.as_deref(),
        record: Some(record),
        client: Some(record.client.address),
        duration: Some(record.began().elapsed()),
        reply_body: Some(body),
        ..Values::of(record.connection.info())
    };
    look(&values)
}
