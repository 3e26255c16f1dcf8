// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The table of Envoy's command operators (1.40, "Access logging: command operators").

use super::Parts;
use crate::{
    AddressOf, AddressPart, Command, GrpcForm, HeaderSource, Operator, PeerField, Precision, RequestHeader,
    TimePoint,
};
use http::HeaderName;

/// Operators that Envoy has and this gateway cannot fill: they print `-`, which a warning says.
const BLANK: &[&str] = &[
    "BYTES_RETRANSMITTED",
    "CLUSTER_METADATA",
    "CONNECTION_TERMINATION_DETAILS",
    "CUSTOM_FLAGS",
    "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED",
    "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT",
    "DOWNSTREAM_DETECTED_CLOSE_TYPE",
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS",
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_DIRECT_LOCAL_PORT",
    "DOWNSTREAM_HANDSHAKE_DURATION",
    "DOWNSTREAM_HEADER_BYTES_RECEIVED",
    "DOWNSTREAM_HEADER_BYTES_SENT",
    "DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID",
    "DOWNSTREAM_LOCAL_CLOSE_REASON",
    "DOWNSTREAM_LOCAL_DNS_SAN",
    "DOWNSTREAM_LOCAL_EMAIL_SAN",
    "DOWNSTREAM_LOCAL_IP_SAN",
    "DOWNSTREAM_LOCAL_OTHERNAME_SAN",
    "DOWNSTREAM_LOCAL_SUBJECT",
    "DOWNSTREAM_LOCAL_URI_SAN",
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1",
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256",
    "DOWNSTREAM_PEER_CHAIN_SERIALS",
    "DOWNSTREAM_PEER_EMAIL_SAN",
    "DOWNSTREAM_PEER_FINGERPRINT_1",
    "DOWNSTREAM_PEER_IP_SAN",
    "DOWNSTREAM_PEER_OTHERNAME_SAN",
    "DOWNSTREAM_TLS_SESSION_ID",
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
    "DOWNSTREAM_WIRE_BYTES_RECEIVED",
    "DOWNSTREAM_WIRE_BYTES_SENT",
    "FILTER_CHAIN_NAME",
    "FILTER_STATE",
    "PACKETS_RETRANSMITTED",
    "PATH",
    "PER_REQUEST_STATE",
    "QUERY_PARAMS",
    "REQUEST_HEADERS_BYTES",
    "RESPONSE_HEADERS_BYTES",
    "RESPONSE_TRAILERS_BYTES",
    "ROUNDTRIP_DURATION",
    "SPAN_ID",
    "START_TIME_LOCAL",
    "EMIT_TIME_LOCAL",
    "TLS_JA3_FINGERPRINT",
    "TLS_JA4_FINGERPRINT",
    "UNIQUE_ID",
    "UPSTREAM_CLUSTER_RAW",
    "UPSTREAM_CONNECTION_ID",
    "UPSTREAM_CONNECTION_IDS_ATTEMPTED",
    "UPSTREAM_CONNECTION_POOL_READY_DURATION",
    "UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED",
    "UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT",
    "UPSTREAM_DETECTED_CLOSE_TYPE",
    "UPSTREAM_FILTER_STATE",
    "UPSTREAM_HEADER_BYTES_RECEIVED",
    "UPSTREAM_HEADER_BYTES_SENT",
    "UPSTREAM_HOSTS_ATTEMPTED",
    "UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT",
    "UPSTREAM_HOST_NAMES_ATTEMPTED",
    "UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT",
    "UPSTREAM_LOCAL_ADDRESS",
    "UPSTREAM_LOCAL_ADDRESS_ENDPOINT_ID",
    "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    "UPSTREAM_LOCAL_CLOSE_REASON",
    "UPSTREAM_LOCAL_DNS_SAN",
    "UPSTREAM_LOCAL_IP_SAN",
    "UPSTREAM_LOCAL_PORT",
    "UPSTREAM_LOCAL_SUBJECT",
    "UPSTREAM_LOCAL_URI_SAN",
    "UPSTREAM_METADATA",
    "UPSTREAM_PEER_CERT",
    "UPSTREAM_PEER_CERT_V_END",
    "UPSTREAM_PEER_CERT_V_START",
    "UPSTREAM_PEER_DNS_SAN",
    "UPSTREAM_PEER_IP_SAN",
    "UPSTREAM_PEER_ISSUER",
    "UPSTREAM_PEER_SUBJECT",
    "UPSTREAM_PEER_URI_SAN",
    "UPSTREAM_TLS_CIPHER",
    "UPSTREAM_TLS_SESSION_ID",
    "UPSTREAM_TLS_VERSION",
    "UPSTREAM_WIRE_BYTES_RECEIVED",
    "UPSTREAM_WIRE_BYTES_SENT",
    "VIRTUAL_CLUSTER_NAME",
];

/// Reads one command.
pub(super) fn command(parts: &Parts<'_>) -> Result<Command, String> {
    let Parts { name, parameters, max_length } = *parts;
    let operator = match (parameters, plain(name)) {
        (None, Some(operator)) => operator,
        (Some(_), Some(_)) => return Err(format!("%{name}% takes no parameters")),
        (_, None) => with_parameters(name, parameters)?,
    };
    let cuts = matches!(
        operator,
        Operator::Request(_)
            | Operator::RequestWithoutQuery(_)
            | Operator::Response(..)
            | Operator::Trailer(..)
            | Operator::QueryParameter(_)
            | Operator::DynamicMetadata(..)
            | Operator::Environment(_)
            | Operator::Blank
    );
    if max_length.is_some() && !cuts {
        return Err(format!("%{name}% takes no length"));
    }
    Ok(Command { operator, max_length })
}

fn plain(name: &str) -> Option<Operator> {
    if let Some(address) = address(name) {
        return Some(address);
    }
    let millis = |from, to| Operator::Duration(from, to, Precision::Millis);
    Some(match name {
        "PROTOCOL" => Operator::Protocol,
        "LOCAL_REPLY_BODY" => Operator::LocalReplyBody,
        "UPSTREAM_PROTOCOL" => Operator::UpstreamProtocol,
        "RESPONSE_CODE" => Operator::ResponseCode,
        "RESPONSE_CODE_DETAILS" => Operator::ResponseCodeDetails,
        "RESPONSE_FLAGS" => Operator::ResponseFlags,
        "RESPONSE_FLAGS_LONG" => Operator::ResponseFlagsLong,
        "BYTES_RECEIVED" => Operator::BytesReceived,
        "BYTES_SENT" => Operator::BytesSent,
        "DURATION" => millis(TimePoint::RequestStart, TimePoint::AnswerEnd),
        "REQUEST_DURATION" => millis(TimePoint::RequestStart, TimePoint::RequestEnd),
        "REQUEST_TX_DURATION" => millis(TimePoint::RequestStart, TimePoint::UpstreamSent),
        "RESPONSE_DURATION" => millis(TimePoint::RequestStart, TimePoint::ResponseStart),
        "RESPONSE_TX_DURATION" => millis(TimePoint::ResponseStart, TimePoint::AnswerEnd),
        "ROUTE_NAME" => Operator::RouteName,
        "UPSTREAM_CLUSTER" => Operator::Cluster,
        "UPSTREAM_HOST_NAME" | "UPSTREAM_HOST_NAME_WITHOUT_PORT" => Operator::UpstreamHostName,
        "UPSTREAM_REQUEST_ATTEMPT_COUNT" => Operator::Attempts,
        "UPSTREAM_TRANSPORT_FAILURE_REASON" => Operator::UpstreamFailure,
        "CONNECTION_ID" => Operator::ConnectionId,
        "STREAM_ID" => Operator::StreamId,
        "REQUESTED_SERVER_NAME" => Operator::ServerName,
        "DOWNSTREAM_TLS_VERSION" => Operator::TlsVersion,
        "DOWNSTREAM_TLS_CIPHER" => Operator::TlsCipher,
        "DOWNSTREAM_PEER_SUBJECT" => Operator::Peer(PeerField::Subject),
        "DOWNSTREAM_PEER_ISSUER" => Operator::Peer(PeerField::Issuer),
        "DOWNSTREAM_PEER_SERIAL" => Operator::Peer(PeerField::Serial),
        "DOWNSTREAM_PEER_URI_SAN" => Operator::Peer(PeerField::UriSan),
        "DOWNSTREAM_PEER_DNS_SAN" => Operator::Peer(PeerField::DnsSan),
        "DOWNSTREAM_PEER_FINGERPRINT_256" => Operator::Peer(PeerField::Sha256),
        "DOWNSTREAM_PEER_CERT" => Operator::Peer(PeerField::Pem),
        "DOWNSTREAM_PEER_CERT_V_START" => Operator::Peer(PeerField::NotBefore),
        "DOWNSTREAM_PEER_CERT_V_END" => Operator::Peer(PeerField::NotAfter),
        "TRACE_ID" => Operator::TraceId,
        "ACCESS_LOG_TYPE" => Operator::LogType,
        "GRPC_STATUS_NUMBER" => Operator::GrpcStatus(GrpcForm::Number),
        "HOSTNAME" => Operator::Hostname,
        _ => return None,
    })
}

fn address(name: &str) -> Option<Operator> {
    if name == "UPSTREAM_HOST" {
        return Some(Operator::Address(AddressOf::Upstream, AddressPart::Whole));
    }
    let (of, rest) = [
        ("DOWNSTREAM_DIRECT_REMOTE_", AddressOf::Peer),
        ("DOWNSTREAM_REMOTE_", AddressOf::Client),
        ("DOWNSTREAM_LOCAL_", AddressOf::Local),
        ("UPSTREAM_REMOTE_", AddressOf::Upstream),
    ]
    .into_iter()
    .find_map(|(prefix, of)| Some((of, name.strip_prefix(prefix)?)))?;
    let part = match rest {
        "ADDRESS" => AddressPart::Whole,
        "ADDRESS_WITHOUT_PORT" => AddressPart::Ip,
        "PORT" => AddressPart::Port,
        _ => return None,
    };
    Some(Operator::Address(of, part))
}

fn with_parameters(name: &str, parameters: Option<&str>) -> Result<Operator, String> {
    let needed = || parameters.ok_or_else(|| format!("%{name}% needs parameters"));
    Ok(match name {
        "START_TIME" => Operator::StartTime(time_format(parameters)?),
        "EMIT_TIME" => Operator::EmitTime(time_format(parameters)?),
        "REQ" => Operator::Request(request_header(needed()?)?),
        "REQ_WITHOUT_QUERY" => Operator::RequestWithoutQuery(request_header(needed()?)?),
        "RESP" => {
            let (main, fallback) = names(needed()?)?;
            Operator::Response(main, fallback)
        }
        "TRAILER" => {
            let (main, fallback) = names(needed()?)?;
            Operator::Trailer(main, fallback)
        }
        "QUERY_PARAM" => Operator::QueryParameter(needed()?.into()),
        "COMMON_DURATION" => common_duration(needed()?)?,
        "DYNAMIC_METADATA" => metadata(needed()?)?,
        "ENVIRONMENT" => Operator::Environment(needed()?.into()),
        "GRPC_STATUS" => Operator::GrpcStatus(match parameters.unwrap_or_default() {
            "" | "CAMEL_STRING" => GrpcForm::Camel,
            "SNAKE_STRING" => GrpcForm::Snake,
            "NUMBER" => GrpcForm::Number,
            other => return Err(format!("%GRPC_STATUS({other})%: use CAMEL_STRING, SNAKE_STRING or NUMBER")),
        }),
        "METADATA" => match needed()?.split_once(':') {
            Some(("DYNAMIC", rest)) => metadata(rest)?,
            Some(("CLUSTER" | "ROUTE" | "UPSTREAM_HOST" | "LISTENER" | "VIRTUAL_HOST", _)) => Operator::Blank,
            _ => return Err("%METADATA% needs a kind of metadata, such as DYNAMIC:namespace:key".to_owned()),
        },
        blank if BLANK.contains(&blank) => Operator::Blank,
        "CEL" | "TYPED_CEL" => return Err(format!("%{name}(...)% is not supported")),
        unknown => return Err(format!("there is no command operator %{unknown}%")),
    })
}

/// Envoy takes the time formats of `strftime`, and `%f`, `%3f` ... for fractions of a second.
fn time_format(parameters: Option<&str>) -> Result<Option<Box<str>>, String> {
    let Some(format) = parameters.filter(|format| !format.is_empty() && *format != "%Y-%m-%dT%H:%M:%S.%3fZ")
    else {
        return Ok(None);
    };
    let mut translated = String::with_capacity(format.len() + 4);
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('%') {
        translated.push_str(before);
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let Some(letter) = after[digits..].chars().next() else {
            return Err("the time format ends with a percent sign".to_owned());
        };
        // Envoy's %f has nine digits; %N, what jiff calls it, too.
        translated.push('%');
        translated.push_str(if letter == 'f' && digits == 0 { "9" } else { &after[..digits] });
        translated.push(letter);
        rest = &after[digits + letter.len_utf8()..];
    }
    translated.push_str(rest);
    Ok(Some(translated.into()))
}

fn request_header(text: &str) -> Result<RequestHeader, String> {
    let (main, fallback) = text.split_once('?').map_or((text, None), |(main, other)| (main, Some(other)));
    Ok(RequestHeader { main: source(main)?, fallback: fallback.map(source).transpose()? })
}

fn source(name: &str) -> Result<HeaderSource, String> {
    Ok(match name.to_ascii_lowercase().as_str() {
        ":method" => HeaderSource::Method,
        ":path" => HeaderSource::Path,
        ":authority" | "host" => HeaderSource::Authority,
        ":scheme" => HeaderSource::Scheme,
        name => HeaderSource::Header(header_name(name)?),
    })
}

fn names(text: &str) -> Result<(HeaderName, Option<HeaderName>), String> {
    let (main, fallback) = text.split_once('?').map_or((text, None), |(main, other)| (main, Some(other)));
    Ok((header_name(main)?, fallback.map(header_name).transpose()?))
}

fn header_name(name: &str) -> Result<HeaderName, String> {
    HeaderName::try_from(name).map_err(|_| format!("{name:?} does not name a header"))
}

fn common_duration(text: &str) -> Result<Operator, String> {
    let mut words = text.split(':');
    let mut point = || match words.next().unwrap_or_default() {
        "DS_RX_BEG" => Ok(TimePoint::RequestStart),
        "DS_RX_END" => Ok(TimePoint::RequestEnd),
        "US_TX_BEG" => Ok(TimePoint::UpstreamStart),
        "US_TX_END" => Ok(TimePoint::UpstreamSent),
        "US_RX_BEG" => Ok(TimePoint::ResponseStart),
        "US_RX_END" => Ok(TimePoint::ResponseEnd),
        "DS_TX_BEG" => Ok(TimePoint::AnswerStart),
        "DS_TX_END" => Ok(TimePoint::AnswerEnd),
        other => Err(format!("%COMMON_DURATION({text})%: {other:?} is no point in time")),
    };
    let (start, end) = (point()?, point()?);
    let precision = match (words.next(), words.next()) {
        (None | Some("ms"), None) => Precision::Millis,
        (Some("us"), None) => Precision::Micros,
        (Some("ns"), None) => Precision::Nanos,
        _ => return Err(format!("%COMMON_DURATION({text})%: the precision is ms, us or ns")),
    };
    Ok(Operator::Duration(start, end, precision))
}

/// `namespace:key:key`, or the older `["namespace","key"]`.
fn metadata(text: &str) -> Result<Operator, String> {
    let words: Vec<String> = if text.starts_with('[') {
        serde_json::from_str(text).map_err(|_| format!("{text} is not a list of texts"))?
    } else {
        text.split(':').map(str::to_owned).collect()
    };
    let mut words = words.into_iter().map(String::into_boxed_str);
    let namespace = words.next().filter(|namespace| !namespace.is_empty());
    let namespace = namespace.ok_or("metadata needs a namespace")?;
    Ok(Operator::DynamicMetadata(namespace, words.collect()))
}
