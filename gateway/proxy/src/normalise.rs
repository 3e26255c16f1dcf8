// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! First phase: one host, one canonical path, no header that only concerned the client's connection, trusted `x-forwarded-*`.

mod authority;
mod client_certificate;
mod headers;

use crate::client_address::Client;
use crate::connection::Connection;
use crate::path::{Canonical, canonical};
use authority::HostForm;
use gateway_config::{HttpConnectionManager, StripPort};
use gateway_filter_api::RequestHead;
use headers::{Stripped, Trusted};
use http::header::HOST;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, StatusCode};

/// A request that is fit for routing.
#[derive(Debug)]
pub(crate) struct Normalised {
    /// Its head.
    pub(crate) head: RequestHead,
    /// The protocol that the client wants to change to.
    pub(crate) upgrade: Option<HeaderValue>,
    /// Who sent it.
    pub(crate) client: Client,
}

/// Why a request goes no further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// 400, with the access log's `response_code_details`.
    BadRequest(&'static str),
    /// 431: more headers than allowed, or larger ones.
    TooManyHeaders,
    /// The client's address is not told as it must be.
    UnknownClient(StatusCode),
    /// 307 to the unescaped path.
    Redirect(PathAndQuery),
}

/// Normalises the head of a request. Of one that is refused, the headers stay where they are.
pub(crate) fn normalise(
    parts: &mut Parts,
    http: &HttpConnectionManager,
    connection: &Connection,
) -> Result<Normalised, Refused> {
    let Parts { method, uri, version, headers, .. } = parts;
    // HTTP/1's parser counts by itself.
    if headers.len() > http.limits.max_headers as usize {
        return Err(Refused::TooManyHeaders);
    }
    let connect = *method == Method::CONNECT;
    let form = HostForm {
        // The port is all that CONNECT says beside the host.
        strip_port: if connect { StripPort::Keep } else { http.strip_port },
        strip_dot: http.strip_trailing_dot,
        local_port: connection.local_port(),
    };
    let authority = authority::take(uri, headers, form)?;
    if connect && !authority::has_port(&authority) {
        return Err(Refused::BadRequest("invalid_authority"));
    }
    let target =
        std::mem::take(uri).into_parts().path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
    let path = path_of(method, target, http);
    let rest = path.and_then(|path| {
        let Stripped { upgrade, envoy } = headers::strip(headers, http.underscores)?;
        let tls = connection.info().tls.as_ref();
        client_certificate::apply(headers, http.client_certificate, tls);
        Ok((path, upgrade, headers::trust(headers, http, connection, envoy)?))
    });
    let (path, upgrade, Trusted { https, client }) = match rest {
        Ok(rest) => rest,
        Err(refused) => {
            // For the log.
            headers.insert(HOST, authority);
            return Err(refused);
        }
    };
    let (method, headers) = (std::mem::take(method), std::mem::take(headers));
    let head = RequestHead { method, https, authority, path, headers, version: *version };
    Ok(Normalised { head, upgrade, client })
}

/// The one form of a path.
fn path_of(
    method: &Method,
    target: PathAndQuery,
    http: &HttpConnectionManager,
) -> Result<PathAndQuery, Refused> {
    if *method == Method::CONNECT {
        // No path: what conditions on paths look at must not be taken for one.
        return Ok(PathAndQuery::from_static("*"));
    }
    if *method == Method::OPTIONS && target.as_str() == "*" {
        return Ok(target);
    }
    match canonical(&target, http.path) {
        Canonical::Same => Ok(target),
        Canonical::Changed(changed) => Ok(changed),
        Canonical::Redirect(to) => Err(Refused::Redirect(to)),
        Canonical::Refused => Err(Refused::BadRequest("path_normalization_failed")),
    }
}

#[cfg(test)]
mod tests;
