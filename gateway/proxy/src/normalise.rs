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

/// Normalises the head of a request.
pub(crate) fn normalise(
    parts: Parts,
    http: &HttpConnectionManager,
    connection: &Connection,
) -> Result<Normalised, Refused> {
    let Parts { method, uri, version, mut headers, .. } = parts;
    // HTTP/1's parser counts by itself.
    if headers.len() > http.limits.max_headers as usize {
        return Err(Refused::TooManyHeaders);
    }
    let connect = method == Method::CONNECT;
    let form = HostForm {
        // The port is all that CONNECT says beside the host.
        strip_port: if connect { StripPort::Keep } else { http.strip_port },
        strip_dot: http.strip_trailing_dot,
        local_port: connection.local_port(),
    };
    let authority = authority::take(&uri, &mut headers, form)?;
    if connect && !authority::has_port(&authority) {
        return Err(Refused::BadRequest("invalid_authority"));
    }
    let target = uri.into_parts().path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
    let path = if connect {
        // No path: what conditions on paths look at must not be taken for one.
        PathAndQuery::from_static("*")
    } else if method == Method::OPTIONS && target.as_str() == "*" {
        target
    } else {
        match canonical(&target, http.path) {
            Canonical::Same => target,
            Canonical::Changed(changed) => changed,
            Canonical::Redirect(to) => return Err(Refused::Redirect(to)),
            Canonical::Refused => return Err(Refused::BadRequest("path_normalization_failed")),
        }
    };
    let Stripped { upgrade, envoy } = headers::strip(&mut headers, http.underscores)?;
    let tls = connection.info().tls.as_ref();
    client_certificate::apply(&mut headers, http.client_certificate, tls);
    let Trusted { https, client } = headers::trust(&mut headers, http, connection, envoy)?;
    let head = RequestHead { method, https, authority, path, headers, version };
    Ok(Normalised { head, upgrade, client })
}

#[cfg(test)]
mod tests;
