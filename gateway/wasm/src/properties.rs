// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What `proxy_get_property` knows: attributes of request, response, connection and plugin.

use crate::state::HostState;
use gateway_filter_api::{RequestHead, ResponseHead};
use http::Version;
use std::net::SocketAddr;

/// Traffic that comes from clients.
const INBOUND: i64 = 1;

/// The value of a property; its path's parts are joined by zero bytes.
pub(crate) fn get(state: &HostState, path: &[u8]) -> Option<Vec<u8>> {
    let path = path.strip_suffix(b"\0").unwrap_or(path);
    if let Some(value) = state.call.as_ref().and_then(|call| call.properties.get(path)) {
        return Some(value.to_vec());
    }
    let parts: Vec<&str> = path.split(|b| *b == 0).map(std::str::from_utf8).collect::<Result<_, _>>().ok()?;
    match parts[..] {
        ["plugin_name"] => text(&state.plugin.name),
        ["plugin_root_id"] => text(&state.plugin.root_id),
        ["plugin_vm_id"] => text(&state.plugin.vm_id),
        ["listener_direction"] => Some(INBOUND.to_le_bytes().to_vec()),
        ["route_name"] | ["xds", "route_name"] => state.call.as_ref().and_then(|_| text(&state.route)),
        ["cluster_name"] | ["xds", "cluster_name"] => text(state.cluster.as_deref()?),
        ["connection_id"] => number(state.call.as_ref()?.connection.id),
        _ => of_stream(state, &parts),
    }
}

fn of_stream(state: &HostState, parts: &[&str]) -> Option<Vec<u8>> {
    let call = state.call.as_ref()?;
    let connection = &call.connection;
    match parts {
        ["request", rest @ ..] => request(&call.request, rest),
        ["response", rest @ ..] => response(call.response.as_ref()?, rest),
        ["source", rest @ ..] => address(connection.remote, rest),
        ["destination", rest @ ..] => address(connection.local, rest),
        ["connection", "id"] => number(connection.id),
        ["connection", "mtls"] => {
            let mutual = connection.tls.as_ref().is_some_and(|tls| tls.peer_certificate.is_some());
            Some(vec![u8::from(mutual)])
        }
        ["connection", "requested_server_name"] => text(connection.tls.as_ref()?.server_name.as_deref()?),
        ["connection", "tls_version"] => text(connection.tls.as_ref()?.version),
        ["xds", "listener_name"] => text(&connection.listener),
        _ => None,
    }
}

fn request(head: &RequestHead, rest: &[&str]) -> Option<Vec<u8>> {
    let header = |name: &str| head.get(name).map(<[u8]>::to_vec);
    match rest {
        ["path"] => text(head.path.as_str()),
        ["url_path"] => text(head.path.path()),
        ["query"] => text(head.path.query().unwrap_or_default()),
        ["host"] => text(head.authority()),
        ["method"] => text(head.method.as_str()),
        ["scheme"] => text(head.scheme()),
        ["protocol"] => text(protocol(head.version)),
        ["id"] => header("x-request-id"),
        ["useragent"] => header("user-agent"),
        ["referer"] => header("referer"),
        ["headers", name] => header(name),
        _ => None,
    }
}

fn response(head: &ResponseHead, rest: &[&str]) -> Option<Vec<u8>> {
    match rest {
        ["code"] => number(u64::from(head.status.as_u16())),
        ["headers", name] => head.get(name).map(<[u8]>::to_vec),
        _ => None,
    }
}

fn address(address: SocketAddr, rest: &[&str]) -> Option<Vec<u8>> {
    match rest {
        ["address"] => text(&SocketAddr::new(address.ip().to_canonical(), address.port()).to_string()),
        ["port"] => number(u64::from(address.port())),
        _ => None,
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}

#[expect(clippy::unnecessary_wraps, reason = "reads as one of the alternatives above")]
fn text(value: &str) -> Option<Vec<u8>> {
    Some(value.as_bytes().to_vec())
}

#[expect(clippy::unnecessary_wraps, reason = "reads as one of the alternatives above")]
fn number(value: u64) -> Option<Vec<u8>> {
    Some(value.to_le_bytes().to_vec())
}
