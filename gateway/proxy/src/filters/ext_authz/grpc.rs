// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The question and answer of `envoy.service.auth.v3.Authorization`.

use super::Shown;
use super::decision::{Allowed, Decision, Denial};
use crate::access_log::protocol_text;
use crate::callout::Callout;
use crate::protobuf_json::{from_json, to_json};
use crate::service_changes::{ChangeAction, HeaderChange};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gateway_config::{ExtAuthz, ExtAuthzRoute, GrpcService, StringMatcher};
use gateway_filter_api::{FilterContext, RequestHead};
use gateway_xds_api::pb::envoy::config::core::v3::{
    Address, HeaderMap as PbHeaderMap, HeaderValue as PbHeaderValue, HeaderValueOption, Metadata,
    SocketAddress, address, socket_address,
};
use gateway_xds_api::pb::envoy::service::auth::v3::{
    AttributeContext, CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
    attribute_context::{HttpRequest, Peer, Request, TlsSession},
    check_response::HttpResponse,
};
use gateway_xds_api::pb::google::protobuf::Timestamp;
use http::StatusCode;
use http::header::{CONTENT_LENGTH, HeaderValue};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";
/// Envoy's default limit.
const LIMIT: Duration = Duration::from_millis(200);
/// Tells the service whether it sees only the start of the body.
pub(super) const PARTIAL_BODY: &str = "x-envoy-auth-partial-body";

/// Asks the service.
pub(super) async fn ask(callout: &Callout, service: &GrpcService, message: &CheckRequest) -> Decision {
    match callout.unary::<CheckResponse>(service, CHECK, message, LIMIT).await {
        Ok(answer) => read(answer),
        Err(error) => {
            tracing::debug!(cluster = %service.cluster, %error, "authorization service failed");
            Decision::Error(None)
        }
    }
}

/// The question about a request.
pub(super) fn request(
    config: &ExtAuthz,
    route: Option<&ExtAuthzRoute>,
    context: &FilterContext<'_>,
    body: Option<Shown>,
) -> CheckRequest {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let extensions = route.map(|route| &*route.context_extensions).unwrap_or_default();
    let namespaces = config
        .metadata_namespaces
        .iter()
        .filter_map(|namespace| Some((namespace.to_string(), from_json(context.metadata.get(namespace)?))));
    let server_name = || context.connection.tls.as_ref()?.server_name.as_deref().map(str::to_owned);
    let attributes = AttributeContext {
        source: Some(source(config, context)),
        destination: Some(Peer { address: address(context.connection.local), ..Peer::default() }),
        request: Some(Request {
            time: Some(Timestamp {
                seconds: i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
                nanos: i32::try_from(now.subsec_nanos()).unwrap_or_default(),
            }),
            http: Some(http_request(config, context.request, body)),
        }),
        context_extensions: extensions
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect(),
        metadata_context: Some(Metadata { filter_metadata: namespaces.collect(), ..Metadata::default() }),
        route_metadata_context: None,
        tls_session: config
            .include_tls_session
            .then(|| TlsSession { sni: server_name().unwrap_or_default() }),
    };
    CheckRequest { attributes: Some(attributes) }
}

fn source(config: &ExtAuthz, context: &FilterContext<'_>) -> Peer {
    let tls = context.connection.tls.as_ref();
    let certificate =
        tls.and_then(|tls| tls.peer_certificate.as_deref()).filter(|_| config.include_peer_certificate);
    let principal = tls.and_then(|tls| tls.peer.as_deref()).and_then(|peer| peer.principals().next());
    let service = context.request.headers.get("x-envoy-downstream-service-cluster");
    Peer {
        address: address(context.connection.remote),
        service: service.map(text).unwrap_or_default(),
        principal: principal.map(str::to_owned).unwrap_or_default(),
        certificate: certificate.map(url_encoded_pem).unwrap_or_default(),
        ..Peer::default()
    }
}

fn address(at: SocketAddr) -> Option<Address> {
    let socket = SocketAddress {
        address: at.ip().to_canonical().to_string(),
        port_specifier: Some(socket_address::PortSpecifier::PortValue(at.port().into())),
        ..SocketAddress::default()
    };
    Some(Address { address: Some(address::Address::SocketAddress(socket)) })
}

/// PEM with everything but unreserved characters percent-encoded, as Envoy sends it.
fn url_encoded_pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut out = String::from("-----BEGIN%20CERTIFICATE-----%0A");
    for (at, c) in text.chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            out.push_str("%0A");
        }
        match c {
            '+' => out.push_str("%2B"),
            '/' => out.push_str("%2F"),
            '=' => out.push_str("%3D"),
            c => out.push(c),
        }
    }
    out + "%0A-----END%20CERTIFICATE-----%0A"
}

fn http_request(config: &ExtAuthz, head: &RequestHead, body: Option<Shown>) -> HttpRequest {
    let listed =
        |list: &[StringMatcher], name: &str| list.iter().any(|matcher| matcher.is_match(name.as_bytes()));
    let shown = |name: &str| {
        config.allowed_headers.as_ref().is_none_or(|allowed| listed(allowed, name))
            && !listed(&config.disallowed_headers, name)
    };
    let pseudo = [":authority", ":method", ":path", ":scheme"];
    let pseudo = pseudo.into_iter().filter_map(|name| Some((name, head.get(name)?)));
    let ordinary = head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let partial = body.as_ref().map(|body| if body.partial { &b"true"[..] } else { b"false" });
    let all = pseudo
        .chain(ordinary.filter(|(name, _)| *name != PARTIAL_BODY))
        .filter(|(name, _)| shown(name))
        .chain(partial.map(|value| (PARTIAL_BODY, value)));
    let (mut headers, mut raw) = (HashMap::<String, String>::new(), Vec::new());
    for (name, value) in all {
        if config.raw_headers {
            raw.push(PbHeaderValue {
                key: name.to_owned(),
                raw_value: value.to_vec(),
                ..PbHeaderValue::default()
            });
            continue;
        }
        let before = headers.entry(name.to_owned()).or_default();
        if !before.is_empty() {
            before.push(',');
        }
        before.push_str(&readable(value));
    }
    let declared = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let Shown { bytes, as_bytes, .. } =
        body.unwrap_or(Shown { bytes: Default::default(), partial: false, as_bytes: false });
    HttpRequest {
        id: head.headers.get("x-request-id").map(text).unwrap_or_default(),
        method: head.method.to_string(),
        headers,
        header_map: config.raw_headers.then_some(PbHeaderMap { headers: raw }),
        path: head.path.as_str().to_owned(),
        host: head.authority().to_owned(),
        scheme: head.scheme().to_owned(),
        size: declared.unwrap_or(-1),
        protocol: protocol_text(head.version).to_owned(),
        body: if as_bytes { String::new() } else { readable(&bytes) },
        raw_body: if as_bytes { bytes.to_vec() } else { Vec::new() },
        ..HttpRequest::default()
    }
}

fn text(value: &HeaderValue) -> String {
    readable(value.as_bytes())
}

/// Bytes as text, each part that is no UTF-8 as `!`.
fn readable(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            out.push('!');
        }
    }
    out
}

/// The answer: only the status OK is a consent.
fn read(answer: CheckResponse) -> Decision {
    let CheckResponse { status, http_response, dynamic_metadata } = answer;
    // A status of OK is the message's default: it may be left out on the wire, but the message itself may not.
    let Some(status) = status else { return Decision::Error(None) };
    match (status.code, http_response) {
        (_, Some(HttpResponse::ErrorResponse(error))) => Decision::Error(Some(Box::new(denial(error)))),
        (0, response) => {
            let mut allowed = match response {
                Some(HttpResponse::OkResponse(ok)) => allowed(ok),
                _ => Allowed::default(),
            };
            if let Some(metadata) = dynamic_metadata {
                allowed.metadata.extend(to_json(metadata));
            }
            Decision::Allow(Box::new(allowed))
        }
        (_, Some(HttpResponse::DeniedResponse(denied))) => Decision::Deny(Box::new(denial(denied))),
        (_, _) => Decision::Deny(Box::default()),
    }
}

#[allow(deprecated, reason = "older services still use the older field")]
fn allowed(ok: OkHttpResponse) -> Allowed {
    let OkHttpResponse {
        headers,
        headers_to_remove,
        dynamic_metadata,
        response_headers_to_add,
        query_parameters_to_set,
        query_parameters_to_remove,
    } = ok;
    Allowed {
        request: changes(headers, ChangeAction::JoinIfPresent),
        remove: headers_to_remove,
        query_set: query_parameters_to_set.into_iter().map(|query| (query.key, query.value)).collect(),
        query_remove: query_parameters_to_remove,
        response: changes(response_headers_to_add, ChangeAction::Append),
        metadata: dynamic_metadata.map(to_json).unwrap_or_default(),
    }
}

fn denial(denied: DeniedHttpResponse) -> Denial {
    let DeniedHttpResponse { status, headers, body } = denied;
    let status = status.and_then(|status| StatusCode::from_u16(u16::try_from(status.code).ok()?).ok());
    Denial {
        // Success would hand an unauthorized client what looks like the upstream's answer; a service may want that all the same.
        status: status.filter(|status| !status.is_informational()),
        headers: changes(headers, ChangeAction::Append),
        body: body.into(),
    }
}

fn changes(options: Vec<HeaderValueOption>, append: ChangeAction) -> Vec<HeaderChange> {
    options.into_iter().filter_map(|option| HeaderChange::read(option, ChangeAction::Set, append)).collect()
}
