// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The value of one command.

use super::peer::write_peer;
use super::time::write_time;
use super::values::{Headers, Values};
use crate::access_log::protocol_text;
use crate::record::Record;
use gateway_config::{
    AddressOf, AddressPart, Command, EndpointAddress, GrpcForm, HeaderSource, Operator, Precision,
    RequestHeader, TimePoint,
};
use http::HeaderName;
use serde_json::Value;
use std::fmt::Display;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

/// What was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Nothing: there is no value.
    Absent,
    /// A number.
    Number,
    /// Text as it is.
    Text,
    /// JSON.
    Json,
}

/// Appends a command's value.
pub(super) fn write_command(out: &mut Vec<u8>, command: &Command, values: &Values<'_>) -> Shape {
    let start = out.len();
    let shape = write_operator(out, &command.operator, values);
    if let Some(limit) = command.max_length
        && shape == Shape::Text
        && out.len() - start > limit
    {
        out.truncate(start + limit);
    }
    shape
}

fn write_operator(out: &mut Vec<u8>, operator: &Operator, values: &Values<'_>) -> Shape {
    match operator {
        Operator::LocalReplyBody => bytes(out, values.reply_body),
        Operator::Request(_)
        | Operator::RequestWithoutQuery(_)
        | Operator::Response(..)
        | Operator::Trailer(..)
        | Operator::QueryParameter(_)
        | Operator::Protocol
        | Operator::GrpcStatus(_)
        | Operator::StreamId
        | Operator::TraceId => {
            values.headers.map_or(Shape::Absent, |headers| of_headers(out, operator, headers, values))
        }
        Operator::StartTime(format) => {
            text_if(values.start.is_some_and(|start| write_time(out, start, format.as_deref())))
        }
        Operator::EmitTime(format) => text_if(write_time(out, SystemTime::now(), format.as_deref())),
        // Of a session of datagrams Envoy says 0.
        Operator::ResponseCode => {
            let status = values.status.map(|status| status.as_u16());
            number(out, status.or(values.session.map(|_| 0)))
        }
        Operator::Address(of, part) => address(out, *of, *part, values),
        Operator::UpstreamHostName => text(out, values.upstream.map(ToString::to_string).as_deref()),
        Operator::RouteName => text(out, values.route.filter(|name| !name.is_empty())),
        Operator::Cluster => text(out, values.cluster),
        Operator::ConnectionId => number(out, Some(values.connection.id)),
        Operator::ServerName => {
            text(out, values.connection.tls.as_ref().and_then(|tls| tls.server_name.as_deref()))
        }
        Operator::TlsVersion => text(out, values.connection.tls.as_ref().map(|tls| tls.version)),
        Operator::TlsCipher => {
            text(out, values.connection.tls.as_ref().map(|tls| tls.cipher).filter(|name| !name.is_empty()))
        }
        Operator::Peer(field) => text_if(write_peer(out, *field, values.connection.tls.as_ref())),
        Operator::DynamicMetadata(namespace, path) => metadata(out, namespace, path, values),
        Operator::LogType => {
            let kind = if values.session.is_some() { "UdpSessionEnd" } else { "DownstreamEnd" };
            text(out, values.duration.map(|_| kind))
        }
        Operator::Hostname => text(out, Some(hostname())),
        Operator::Environment(name) => text(out, std::env::var(&**name).ok().as_deref()),
        Operator::Blank => Shape::Absent,
        Operator::UpstreamProtocol
        | Operator::ResponseCodeDetails
        | Operator::ResponseFlags
        | Operator::ResponseFlagsLong
        | Operator::BytesReceived
        | Operator::BytesSent
        | Operator::Duration(..)
        | Operator::Attempts
        | Operator::UpstreamFailure => of_record(out, operator, values),
    }
}

fn of_headers(out: &mut Vec<u8>, operator: &Operator, headers: &dyn Headers, values: &Values<'_>) -> Shape {
    match operator {
        Operator::Request(header) => bytes(out, request_header(headers, header)),
        Operator::RequestWithoutQuery(header) => {
            let value = request_header(headers, header);
            bytes(out, value.map(|value| value.split(|byte| *byte == b'?').next().unwrap_or_default()))
        }
        Operator::Response(main, other) => {
            let shape = response_header(out, headers, main, values);
            match other {
                Some(other) if shape == Shape::Absent => response_header(out, headers, other, values),
                _ => shape,
            }
        }
        Operator::Trailer(main, other) => {
            bytes(out, headers.trailer(main).or_else(|| headers.trailer(other.as_ref()?)))
        }
        Operator::QueryParameter(name) => {
            let path = headers.request(&HeaderSource::Path).and_then(|path| std::str::from_utf8(path).ok());
            let query = path.and_then(|path| path.split_once('?')).map(|(_, query)| query);
            let mut pairs = query.into_iter().flat_map(|query| query.split('&'));
            text(out, pairs.find_map(|pair| pair.strip_prefix(&**name)?.strip_prefix('=')))
        }
        Operator::Protocol => text(out, Some(protocol_text(headers.version()))),
        Operator::GrpcStatus(form) => grpc_status(out, *form, headers),
        Operator::StreamId => bytes(out, headers.request(&HeaderSource::Header(REQUEST_ID))),
        _ => {
            let parent = headers.request(&HeaderSource::Header(TRACE_PARENT));
            let parent = parent.and_then(|parent| std::str::from_utf8(parent).ok());
            text(out, parent.and_then(|parent| parent.split('-').nth(1)).filter(|id| id.len() == 32))
        }
    }
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
const SERVICE_TIME: &str = "x-envoy-upstream-service-time";

fn request_header<'a>(headers: &'a dyn Headers, header: &RequestHeader) -> Option<&'a [u8]> {
    headers.request(&header.main).or_else(|| headers.request(header.fallback.as_ref()?))
}

/// Envoy's `x-envoy-upstream-service-time` is shown also where it is not written to the client.
fn response_header(
    out: &mut Vec<u8>,
    headers: &dyn Headers,
    name: &HeaderName,
    values: &Values<'_>,
) -> Shape {
    if let Some(value) = headers.response(name) {
        return bytes(out, Some(value));
    }
    match values.record.filter(|_| name == SERVICE_TIME).and_then(Record::service_time) {
        Some(took) => {
            display(out, took.as_millis());
            Shape::Text
        }
        None => Shape::Absent,
    }
}

fn of_record(out: &mut Vec<u8>, operator: &Operator, values: &Values<'_>) -> Shape {
    let Some(record) = values.record else { return of_session(out, operator, values) };
    match operator {
        Operator::ResponseCodeDetails => {
            text(out, record.details.as_deref().or(record.upstream.as_ref().map(|_| "via_upstream")))
        }
        Operator::ResponseFlags => flags(out, record.flags.names()),
        Operator::ResponseFlagsLong => flags(out, record.flags.long_names()),
        Operator::BytesReceived => number(out, Some(record.bytes_received())),
        Operator::BytesSent => number(out, Some(record.bytes_sent)),
        Operator::Attempts => number(out, Some(record.attempts)),
        Operator::UpstreamFailure => text(out, record.upstream_failure.as_deref()),
        Operator::UpstreamProtocol => text(out, record.upstream_version.map(protocol_text)),
        Operator::Duration(from, to, precision) => {
            let (Some(from), Some(to)) = (record.at(*from, values.duration), record.at(*to, values.duration))
            else {
                return Shape::Absent;
            };
            let Some(took) = to.checked_sub(from) else { return Shape::Absent };
            number(out, Some(in_units(took, *precision)))
        }
        _ => Shape::Absent,
    }
}

/// Of what is counted and timed of requests, what a session of datagrams has.
fn of_session(out: &mut Vec<u8>, operator: &Operator, values: &Values<'_>) -> Shape {
    let Some(figures) = values.session else { return Shape::Absent };
    match operator {
        Operator::BytesReceived => number(out, Some(figures.received_bytes)),
        Operator::BytesSent => number(out, Some(figures.sent_bytes)),
        Operator::Attempts => number(out, Some(0)),
        Operator::Duration(TimePoint::RequestStart, TimePoint::AnswerEnd, precision) => {
            number(out, values.duration.map(|duration| in_units(duration, *precision)))
        }
        _ => Shape::Absent,
    }
}

fn in_units(duration: Duration, precision: Precision) -> u128 {
    match precision {
        Precision::Millis => duration.as_millis(),
        Precision::Micros => duration.as_micros(),
        Precision::Nanos => duration.as_nanos(),
    }
}

fn flags(out: &mut Vec<u8>, names: impl Iterator<Item = &'static str>) -> Shape {
    let start = out.len();
    for name in names {
        if out.len() > start {
            out.push(b',');
        }
        out.extend_from_slice(name.as_bytes());
    }
    if out.len() == start { Shape::Absent } else { Shape::Text }
}

fn address(out: &mut Vec<u8>, of: AddressOf, part: AddressPart, values: &Values<'_>) -> Shape {
    let socket = match of {
        AddressOf::Local => values.connection.local,
        AddressOf::Peer => values.connection.remote,
        AddressOf::Client => match values.client {
            // A header has no port; Envoy shows zero.
            Some(client) if client != values.connection.remote.ip().to_canonical() => {
                SocketAddr::new(client, 0)
            }
            _ => values.connection.remote,
        },
        AddressOf::Upstream => match values.upstream {
            Some(EndpointAddress::Socket(socket)) => *socket,
            Some(named) if part == AddressPart::Whole => return text(out, Some(&named.to_string())),
            Some(_) | None => return Shape::Absent,
        },
    };
    let socket = SocketAddr::new(socket.ip().to_canonical(), socket.port());
    match part {
        AddressPart::Whole => display(out, socket),
        AddressPart::Ip => display(out, socket.ip()),
        AddressPart::Port => return number(out, Some(socket.port())),
    }
    Shape::Text
}

fn metadata(out: &mut Vec<u8>, namespace: &str, path: &[Box<str>], values: &Values<'_>) -> Shape {
    let Some(metadata) = values.metadata else { return Shape::Absent };
    if path.is_empty() {
        let Some(all) = metadata.get(namespace) else { return Shape::Absent };
        let start = out.len();
        if serde_json::to_writer(&mut *out, all).is_err() {
            out.truncate(start);
            return Shape::Absent;
        }
        return Shape::Json;
    }
    match metadata.value(namespace, path.iter().map(|key| &**key)) {
        None | Some(Value::Null) => Shape::Absent,
        Some(Value::String(value)) => text(out, Some(value)),
        Some(Value::Number(value)) => number(out, Some(value)),
        Some(other) => {
            display(out, other);
            Shape::Json
        }
    }
}

/// The names of gRPC's codes, 0 to 16.
const GRPC_CODES: [(&str, &str); 17] = [
    ("OK", "OK"),
    ("Canceled", "CANCELLED"),
    ("Unknown", "UNKNOWN"),
    ("InvalidArgument", "INVALID_ARGUMENT"),
    ("DeadlineExceeded", "DEADLINE_EXCEEDED"),
    ("NotFound", "NOT_FOUND"),
    ("AlreadyExists", "ALREADY_EXISTS"),
    ("PermissionDenied", "PERMISSION_DENIED"),
    ("ResourceExhausted", "RESOURCE_EXHAUSTED"),
    ("FailedPrecondition", "FAILED_PRECONDITION"),
    ("Aborted", "ABORTED"),
    ("OutOfRange", "OUT_OF_RANGE"),
    ("Unimplemented", "UNIMPLEMENTED"),
    ("Internal", "INTERNAL"),
    ("Unavailable", "UNAVAILABLE"),
    ("DataLoss", "DATA_LOSS"),
    ("Unauthenticated", "UNAUTHENTICATED"),
];

/// Only requests whose answer says so have a gRPC status.
fn grpc_status(out: &mut Vec<u8>, form: GrpcForm, headers: &dyn Headers) -> Shape {
    let Some(code) = grpc_code(headers) else { return Shape::Absent };
    let names = usize::try_from(code).ok().and_then(|code| GRPC_CODES.get(code));
    match (form, names) {
        (GrpcForm::Number, _) | (_, None) => number(out, Some(code)),
        (GrpcForm::Camel, Some((camel, _))) => text(out, Some(camel)),
        (GrpcForm::Snake, Some((_, snake))) => text(out, Some(snake)),
    }
}

/// The gRPC status of an answer, from its trailers or its head.
pub(crate) fn grpc_code(headers: &dyn Headers) -> Option<i32> {
    let name = HeaderName::from_static("grpc-status");
    let value = headers.trailer(&name).or_else(|| headers.response(&name))?;
    std::str::from_utf8(value).ok()?.trim().parse().ok()
}

fn hostname() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let read = std::fs::read_to_string("/proc/sys/kernel/hostname");
        read.map_or_else(|_| "-".to_owned(), |name| name.trim().to_owned())
    })
}

fn text(out: &mut Vec<u8>, value: Option<&str>) -> Shape {
    bytes(out, value.map(str::as_bytes))
}

fn bytes(out: &mut Vec<u8>, value: Option<&[u8]>) -> Shape {
    let Some(value) = value else { return Shape::Absent };
    out.extend_from_slice(value);
    Shape::Text
}

fn number(out: &mut Vec<u8>, value: Option<impl Display>) -> Shape {
    let Some(value) = value else { return Shape::Absent };
    display(out, value);
    Shape::Number
}

fn display(out: &mut Vec<u8>, value: impl Display) {
    // Writing to a Vec does not fail.
    let _ = write!(out, "{value}");
}

fn text_if(written: bool) -> Shape {
    if written { Shape::Text } else { Shape::Absent }
}
