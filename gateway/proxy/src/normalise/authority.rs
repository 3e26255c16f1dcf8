// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The one host that a request is for (RFC 9110, section 7.2; RFC 9113, section 8.3.1).

use super::Refused;
use gateway_config::StripPort;
use gateway_filter_api::is_authority;
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Uri};

const BAD: Refused = Refused::BadRequest("invalid_authority");

/// What becomes of a host before routing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HostForm {
    pub(super) strip_port: StripPort,
    /// A dot at the end goes.
    pub(super) strip_dot: bool,
    pub(super) local_port: u16,
}

/// Takes the host out of target and headers. A target with a host wins over `Host` in HTTP/1.1 (RFC 9112, 3.2.2).
pub(super) fn take(uri: &Uri, headers: &mut HeaderMap, form: HostForm) -> Result<HeaderValue, Refused> {
    let host = if headers.contains_key(HOST) { single_host(headers)? } else { None };
    let authority = match (uri.authority(), host) {
        (None, Some(host)) => host,
        (Some(target), Some(host)) if host.as_bytes().eq_ignore_ascii_case(target.as_str().as_bytes()) => {
            host
        }
        // A host beside another authority is an attempt to be routed by one and served by the other.
        (Some(_), Some(_)) => return Err(BAD),
        (Some(target), None) => HeaderValue::from_str(target.as_str()).map_err(|_| BAD)?,
        (None, None) => return Err(Refused::BadRequest("missing_host_header")),
    };
    if !is_authority(authority.as_bytes()) {
        return Err(BAD);
    }
    let authority = if form.strip_dot { without_dot(authority)? } else { authority };
    match form.strip_port {
        StripPort::Keep => Ok(authority),
        StripPort::Any | StripPort::Matching => without_port(authority, form),
    }
}

/// Whether an authority names a port.
pub(super) fn has_port(authority: &HeaderValue) -> bool {
    let bytes = authority.as_bytes();
    let port = bytes.iter().rposition(|&byte| byte == b':').map(|colon| &bytes[colon + 1..]);
    port.and_then(|port| std::str::from_utf8(port).ok()).is_some_and(|port| port.parse::<u16>().is_ok())
}

fn single_host(headers: &mut HeaderMap) -> Result<Option<HeaderValue>, Refused> {
    if headers.get_all(HOST).iter().nth(1).is_some() {
        return Err(BAD);
    }
    Ok(headers.remove(HOST))
}

fn without_dot(authority: HeaderValue) -> Result<HeaderValue, Refused> {
    let bytes = authority.as_bytes();
    let Some(dot) = bytes.iter().rposition(|&byte| byte == b'.') else { return Ok(authority) };
    match bytes.get(dot + 1) {
        None | Some(b':') => {
            HeaderValue::from_bytes(&[&bytes[..dot], &bytes[dot + 1..]].concat()).map_err(|_| BAD)
        }
        Some(_) => Ok(authority),
    }
}

fn without_port(authority: HeaderValue, form: HostForm) -> Result<HeaderValue, Refused> {
    let bytes = authority.as_bytes();
    let colon = match bytes.iter().rposition(|&byte| byte == b':') {
        Some(colon) if !bytes[colon..].contains(&b']') => colon,
        _ => return Ok(authority),
    };
    let port = std::str::from_utf8(&bytes[colon + 1..]).ok().and_then(|port| port.parse::<u16>().ok());
    if port.is_none() || form.strip_port == StripPort::Matching && port != Some(form.local_port) {
        return Ok(authority);
    }
    HeaderValue::from_bytes(&bytes[..colon]).map_err(|_| BAD)
}
