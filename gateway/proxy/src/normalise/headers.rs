// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Which of the client's headers go on, and what the gateway says about the client.

use super::Refused;
use crate::client_address::{Client, learn};
use crate::connection::Connection;
use crate::one_line;
use crate::via;
use gateway_config::{Forwarding, HttpConnectionManager, Underscores};
use http::header::{CONNECTION, EXPECT, TE, TRANSFER_ENCODING, UPGRADE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};
use rand::RngExt;

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static X_ENVOY_INTERNAL: HeaderName = HeaderName::from_static("x-envoy-internal");
static X_ENVOY_EXTERNAL_ADDRESS: HeaderName = HeaderName::from_static("x-envoy-external-address");
static DOWNSTREAM_CLUSTER: HeaderName = HeaderName::from_static("x-envoy-downstream-service-cluster");
static DOWNSTREAM_NODE: HeaderName = HeaderName::from_static("x-envoy-downstream-service-node");
static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
static HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
static HTTP: HeaderValue = HeaderValue::from_static("http");
static HTTPS: HeaderValue = HeaderValue::from_static("https");
static TRAILERS: HeaderValue = HeaderValue::from_static("trailers");

/// What clients outside of the house may not say (Envoy, "HTTP header sanitizing").
const INTERNAL_ONLY: [&str; 14] = [
    "x-envoy-retriable-status-codes",
    "x-envoy-retriable-header-names",
    "x-envoy-retry-on",
    "x-envoy-retry-grpc-on",
    "x-envoy-max-retries",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-force-trace",
    "x-envoy-ip-tags",
    "x-envoy-original-url",
    "x-envoy-hedge-on-per-try-timeout",
];
/// What they may not say to the first proxy of the house.
const NOT_FROM_OUTSIDE: [&str; 5] = [
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-original-path",
    "x-envoy-original-host",
];

/// What one look at all names found.
#[derive(Default)]
struct Seen {
    connection: bool,
    te: bool,
    underscore: bool,
    envoy: bool,
    other_hop: bool,
}

/// What is left to do once the client's own connection is out of the headers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stripped {
    /// The protocol of an upgrade.
    pub(super) upgrade: Option<HeaderValue>,
    /// There are headers `x-envoy-*`.
    pub(super) envoy: bool,
}

/// What the gateway makes of a client.
#[derive(Debug)]
pub(super) struct Trusted {
    pub(super) https: bool,
    pub(super) client: Client,
}

/// Removes the headers of the client's own connection (RFC 9110, 7.6.1) and underscores where not wanted; what is one header becomes
/// one line.
pub(super) fn strip(headers: &mut HeaderMap, underscores: Underscores) -> Result<Stripped, Refused> {
    let seen = look(headers);
    if seen.underscore && underscores == Underscores::Reject {
        return Err(Refused::BadRequest("header_name_with_underscore"));
    }
    let mut upgrade = None;
    if seen.connection {
        upgrade = strip_connection(headers);
    }
    if seen.te {
        let trailers = headers.get_all(TE).iter().any(|value| has_token(value, "trailers"));
        headers.remove(TE);
        if trailers {
            headers.insert(TE, TRAILERS.clone());
        }
    }
    if seen.other_hop {
        for name in [&TRANSFER_ENCODING, &UPGRADE, &EXPECT, &KEEP_ALIVE, &PROXY_CONNECTION, &HTTP2_SETTINGS] {
            headers.remove(name);
        }
    }
    if seen.underscore && underscores == Underscores::Drop {
        remove_where(headers, |name| name.contains('_'));
    }
    one_line::join(headers);
    Ok(Stripped { upgrade, envoy: seen.envoy })
}

fn look(headers: &HeaderMap) -> Seen {
    let mut seen = Seen::default();
    for name in headers.keys() {
        let name = name.as_str();
        match name {
            "connection" => seen.connection = true,
            "te" => seen.te = true,
            "transfer-encoding" | "upgrade" | "expect" | "keep-alive" | "proxy-connection"
            | "http2-settings" => seen.other_hop = true,
            _ => {
                seen.envoy |= name.starts_with("x-envoy-");
                seen.underscore |= name.contains('_');
            }
        }
    }
    seen
}

/// Removes `Connection` and what it names.
fn strip_connection(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let mut upgrade = None;
    let values: Vec<HeaderValue> = headers.get_all(CONNECTION).iter().cloned().collect();
    for token in values.iter().flat_map(tokens) {
        match token {
            token if token.eq_ignore_ascii_case(b"upgrade") => upgrade = headers.remove(UPGRADE),
            token if token.eq_ignore_ascii_case(b"close") || token.eq_ignore_ascii_case(b"keep-alive") => {}
            // `te` has its own rule.
            token if token.eq_ignore_ascii_case(b"te") => {}
            token => {
                if let Ok(name) = HeaderName::from_bytes(token) {
                    headers.remove(name);
                }
            }
        }
    }
    headers.remove(CONNECTION);
    upgrade.filter(|protocol| !protocol.as_bytes().eq_ignore_ascii_case(b"h2c"))
}

/// Adds what the gateway says about the client, and takes out what it may not say itself; `envoy` where there are headers `x-envoy-*`.
pub(super) fn trust(
    headers: &mut HeaderMap,
    http: &HttpConnectionManager,
    connection: &Connection,
    envoy: bool,
) -> Result<Trusted, Refused> {
    let forwarding = http.forwarding;
    let peer = connection.info().remote.ip().to_canonical();
    let learned = learn(headers, peer, forwarding, &http.clients).map_err(Refused::UnknownClient)?;
    let client = learned.client;
    if learned.append {
        append_forwarded_for(headers, connection.remote_ip());
    }
    let edge = forwarding.use_remote_address && !client.internal;
    let https = forwarded_proto(headers, forwarding, connection.info().tls.is_some());
    let own_port = forwarding.use_remote_address && forwarding.trusted_hops == 0;
    if forwarding.append_port && (own_port || !headers.contains_key(&X_FORWARDED_PORT)) {
        headers.insert(X_FORWARDED_PORT.clone(), connection.local_port().into());
    }
    if envoy {
        take_out(headers, client.internal, edge);
    }
    if client.internal {
        headers.insert(X_ENVOY_INTERNAL.clone(), HeaderValue::from_static("true"));
    } else if edge {
        let told =
            if client.address == peer { connection.remote_ip().clone() } else { address_value(client) };
        headers.insert(X_ENVOY_EXTERNAL_ADDRESS.clone(), told);
    }
    if http.tells_node {
        tell_node(headers, connection);
    }
    if let Some(name) = &http.via {
        via::append(headers, name);
    }
    let keep_id = !forwarding.use_remote_address || forwarding.preserve_request_id;
    if forwarding.generate_request_id && !(keep_id && headers.contains_key(&X_REQUEST_ID)) {
        headers.insert(X_REQUEST_ID.clone(), request_id());
    }
    Ok(Trusted { https, client })
}

/// Tells the upstream which gateway asks, in Envoy's headers; a client that names itself keeps its name.
fn tell_node(headers: &mut HeaderMap, connection: &Connection) {
    let options = &connection.worker().shared().options;
    let told = |name: &str| HeaderValue::from_str(name).ok().filter(|name| !name.is_empty());
    let Some(cluster) = told(&options.node_cluster) else { return };
    if headers.get(USER_AGENT).is_none_or(HeaderValue::is_empty) {
        headers.insert(USER_AGENT, cluster.clone());
    }
    headers.insert(DOWNSTREAM_CLUSTER.clone(), cluster);
    if let Some(node) = told(&options.node_id) {
        headers.insert(DOWNSTREAM_NODE.clone(), node);
    }
}

/// Tells the scheme; gives back whether it is https.
fn forwarded_proto(headers: &mut HeaderMap, forwarding: Forwarding, tls: bool) -> bool {
    let value = |https: bool| if https { HTTPS.clone() } else { HTTP.clone() };
    if let Some(https) = forwarding.https {
        headers.insert(X_FORWARDED_PROTO.clone(), value(https));
        return https;
    }
    let first = forwarding.use_remote_address && forwarding.trusted_hops == 0;
    let said = if first { None } else { headers.get(&X_FORWARDED_PROTO) };
    match said.map(HeaderValue::as_bytes) {
        Some(said) if said.eq_ignore_ascii_case(b"https") => true,
        Some(said) if said.eq_ignore_ascii_case(b"http") => false,
        Some(_) => tls,
        None => {
            headers.insert(X_FORWARDED_PROTO.clone(), value(tls));
            tls
        }
    }
}

pub(super) fn take_out(headers: &mut HeaderMap, internal: bool, edge: bool) {
    headers.remove(&X_ENVOY_INTERNAL);
    if !internal {
        INTERNAL_ONLY.iter().for_each(|name| drop(headers.remove(*name)));
    }
    if edge {
        NOT_FROM_OUTSIDE.iter().for_each(|name| drop(headers.remove(*name)));
    }
}

fn address_value(client: Client) -> HeaderValue {
    HeaderValue::try_from(client.address.to_string()).unwrap_or_else(|_| HeaderValue::from_static("-"))
}

fn append_forwarded_for(headers: &mut HeaderMap, remote: &HeaderValue) {
    let mut joined = Vec::new();
    for value in headers.get_all(&X_FORWARDED_FOR) {
        joined.extend_from_slice(value.as_bytes());
        joined.extend_from_slice(b",");
    }
    let value = if joined.is_empty() {
        remote.clone()
    } else {
        joined.extend_from_slice(remote.as_bytes());
        HeaderValue::from_bytes(&joined).unwrap_or_else(|_| remote.clone())
    };
    headers.insert(X_FORWARDED_FOR.clone(), value);
}

/// A random UUID (RFC 9562, version 4).
fn request_id() -> HeaderValue {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let random = (rand::rng().random::<u128>() & !(0xf << 76 | 0x3 << 62)) | 0x4 << 76 | 0x2 << 62;
    let mut text = [b'-'; 36];
    let mut shift = 128;
    for (at, byte) in text.iter_mut().enumerate() {
        if !matches!(at, 8 | 13 | 18 | 23) {
            shift -= 4;
            *byte = DIGITS[(random >> shift & 0xf) as usize];
        }
    }
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("-"))
}

fn remove_where(headers: &mut HeaderMap, unwanted: impl Fn(&str) -> bool) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| unwanted(name.as_str())).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

fn tokens(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

fn has_token(value: &HeaderValue, wanted: &str) -> bool {
    tokens(value).any(|token| token.eq_ignore_ascii_case(wanted.as_bytes()))
}
