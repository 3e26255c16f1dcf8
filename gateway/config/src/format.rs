// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Envoy's substitution formats, read ahead: what access logs and header values are put together from.

use crate::HeaderSource;
use http::HeaderName;

/// Text with commands in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Format {
    /// In order.
    pub pieces: Box<[Piece]>,
}

/// A piece of a format.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// Fixed text.
    Text(Box<str>),
    /// What a command gives.
    Command(Command),
}

/// `%OPERATOR(parameters):length%`.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// What is shown.
    pub operator: Operator,
    /// Bytes that are shown at most.
    pub max_length: Option<usize>,
}

/// The format of a JSON line, from a `Struct`.
#[derive(Clone, Debug, PartialEq)]
pub enum JsonFormat {
    /// Keys, ready to write with quotes and colon, in alphabetical order as Envoy writes them.
    Object(Box<[(Box<str>, Self)]>),
    /// Values in order.
    Array(Box<[Self]>),
    /// JSON that is the same on every line.
    Literal(Box<str>),
    /// One command alone: numbers stay numbers, what is not there is null.
    Value(Command),
    /// Text with commands in it.
    Text(Format),
}

/// One end of a `%COMMON_DURATION%`, and what other durations are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimePoint {
    /// The request's head was there (`DS_RX_BEG`).
    RequestStart,
    /// The request's last byte was there (`DS_RX_END`).
    RequestEnd,
    /// The head was handed to an upstream (`US_TX_BEG`).
    UpstreamStart,
    /// The upstream had the whole request (`US_TX_END`).
    UpstreamSent,
    /// The answer's head came (`US_RX_BEG`).
    ResponseStart,
    /// The answer's last byte came (`US_RX_END`).
    ResponseEnd,
    /// The answer's first byte went out (`DS_TX_BEG`).
    AnswerStart,
    /// The answer's last byte went out (`DS_TX_END`).
    AnswerEnd,
}

/// Unit of a duration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Milliseconds.
    #[default]
    Millis,
    /// Microseconds.
    Micros,
    /// Nanoseconds.
    Nanos,
}

/// Which address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressOf {
    /// The client, as trusted headers say.
    Client,
    /// The peer of the connection.
    Peer,
    /// The gateway's end of the client's connection.
    Local,
    /// The endpoint.
    Upstream,
}

/// Which part of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressPart {
    /// With its port.
    Whole,
    /// Without its port.
    Ip,
    /// The port alone, a number.
    Port,
}

/// What of the peer's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerField {
    /// Subject (RFC 2253).
    Subject,
    /// Issuer (RFC 2253).
    Issuer,
    /// Serial number, hexadecimal.
    Serial,
    /// URIs of the subject alternative name.
    UriSan,
    /// DNS names of the subject alternative name.
    DnsSan,
    /// SHA-256 of the certificate, hexadecimal.
    Sha256,
    /// The certificate as PEM, URL-encoded.
    Pem,
    /// Begin of its life.
    NotBefore,
    /// End of its life.
    NotAfter,
}

/// Which form of the gRPC status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GrpcForm {
    /// `NotFound`.
    #[default]
    Camel,
    /// `NOT_FOUND`.
    Snake,
    /// `5`.
    Number,
}

/// A header and what is read where it is absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// The header that is read.
    pub main: HeaderSource,
    /// Read where the first is absent.
    pub fallback: Option<HeaderSource>,
}

/// A command operator that this gateway can fill.
#[derive(Clone, Debug, PartialEq)]
pub enum Operator {
    /// `START_TIME` in this `strftime` format; none: RFC 3339 with milliseconds.
    StartTime(Option<Box<str>>),
    /// `EMIT_TIME`, the same for the time of the log line.
    EmitTime(Option<Box<str>>),
    /// `REQ(X?Y)`.
    Request(RequestHeader),
    /// `REQ_WITHOUT_QUERY(X?Y)`.
    RequestWithoutQuery(RequestHeader),
    /// `RESP(X?Y)`.
    Response(HeaderName, Option<HeaderName>),
    /// `TRAILER(X?Y)`.
    Trailer(HeaderName, Option<HeaderName>),
    /// `QUERY_PARAM(X)`.
    QueryParameter(Box<str>),
    /// `PROTOCOL`.
    Protocol,
    /// `LOCAL_REPLY_BODY`; has no value but in own answers.
    LocalReplyBody,
    /// `UPSTREAM_PROTOCOL`.
    UpstreamProtocol,
    /// `RESPONSE_CODE`.
    ResponseCode,
    /// `RESPONSE_CODE_DETAILS`.
    ResponseCodeDetails,
    /// `RESPONSE_FLAGS`.
    ResponseFlags,
    /// `RESPONSE_FLAGS_LONG`.
    ResponseFlagsLong,
    /// `BYTES_RECEIVED`.
    BytesReceived,
    /// `BYTES_SENT`.
    BytesSent,
    /// A duration between two points.
    Duration(TimePoint, TimePoint, Precision),
    /// `ROUTE_NAME`.
    RouteName,
    /// `UPSTREAM_CLUSTER`.
    Cluster,
    /// `UPSTREAM_HOST_NAME`.
    UpstreamHostName,
    /// `UPSTREAM_REQUEST_ATTEMPT_COUNT`.
    Attempts,
    /// `UPSTREAM_TRANSPORT_FAILURE_REASON`.
    UpstreamFailure,
    /// The addresses.
    Address(AddressOf, AddressPart),
    /// `CONNECTION_ID`.
    ConnectionId,
    /// `STREAM_ID`: the request's `x-request-id`.
    StreamId,
    /// `REQUESTED_SERVER_NAME`.
    ServerName,
    /// `DOWNSTREAM_TLS_VERSION`.
    TlsVersion,
    /// `DOWNSTREAM_TLS_CIPHER`.
    TlsCipher,
    /// `DOWNSTREAM_PEER_*`.
    Peer(PeerField),
    /// `DYNAMIC_METADATA(namespace:key:...)`.
    DynamicMetadata(Box<str>, Box<[Box<str>]>),
    /// `GRPC_STATUS(form)`.
    GrpcStatus(GrpcForm),
    /// `TRACE_ID`.
    TraceId,
    /// `ACCESS_LOG_TYPE`.
    LogType,
    /// `HOSTNAME`.
    Hostname,
    /// `ENVIRONMENT(X)`.
    Environment(Box<str>),
    /// An operator of Envoy's that this gateway has nothing to say to; a warning said so.
    Blank,
}

impl Operator {
    /// Headers of the request that it reads.
    pub fn request_headers(&self) -> impl Iterator<Item = &HeaderName> {
        let header = match self {
            Self::Request(header) | Self::RequestWithoutQuery(header) => Some(header),
            _ => None,
        };
        header.into_iter().flat_map(RequestHeader::names)
    }
}

impl RequestHeader {
    /// The names of both.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        [Some(&self.main), self.fallback.as_ref()].into_iter().flatten().filter_map(|source| match source {
            HeaderSource::Header(name) => Some(name),
            HeaderSource::Method | HeaderSource::Path | HeaderSource::Authority | HeaderSource::Scheme => {
                None
            }
        })
    }
}

impl Format {
    /// All commands.
    pub fn commands(&self) -> impl Iterator<Item = &Command> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Command(command) => Some(command),
            Piece::Text(_) => None,
        })
    }
}

impl JsonFormat {
    /// Calls `each` with all commands.
    pub fn each_command<'a>(&'a self, each: &mut dyn FnMut(&'a Command)) {
        match self {
            Self::Object(fields) => fields.iter().for_each(|(_, value)| value.each_command(each)),
            Self::Array(values) => values.iter().for_each(|value| value.each_command(each)),
            Self::Literal(_) => {}
            Self::Value(command) => each(command),
            Self::Text(format) => format.commands().for_each(each),
        }
    }
}
