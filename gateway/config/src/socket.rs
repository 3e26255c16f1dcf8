// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What connections to endpoints are made of: plain text or TLS, a PROXY protocol header, a proxy in between; the same for all endpoints of
//! a cluster or by their metadata.

use crate::{LbMetadata, UpstreamTls};
use bytes::Bytes;
use http::HeaderName;
use std::net::SocketAddr;

/// What a connection is made of (`transport_socket`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpstreamSocket {
    /// TLS; none for plain text.
    pub tls: Option<UpstreamTls>,
    /// A PROXY protocol header goes first (`envoy.transport_sockets.upstream_proxy_protocol`).
    pub proxy_protocol: Option<ProxyHeader>,
    /// The way leads through an HTTP proxy (`envoy.transport_sockets.http_11_proxy`).
    pub connect_proxy: Option<ConnectProxy>,
}

impl UpstreamSocket {
    /// TLS alone, or plain text.
    #[must_use]
    pub fn of_tls(tls: Option<UpstreamTls>) -> Self {
        Self { tls, ..Self::default() }
    }
}

/// A PROXY protocol header: it tells the endpoint who the client is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// The version.
    pub version: ProxyHeaderVersion,
    /// Added to headers of version 2.
    pub tlvs: Box<[(u8, Bytes)]>,
}

/// The version of a PROXY protocol header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeaderVersion {
    /// Text.
    V1,
    /// Binary.
    V2,
}

/// A proxy that is asked with `CONNECT` for a way to the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectProxy {
    /// Where it is, for endpoints that do not say so; none: they are connected to directly.
    pub default: Option<SocketAddr>,
}

/// Another socket for endpoints with some metadata (`transport_socket_matches`).
#[derive(Clone, Debug, PartialEq)]
pub struct SocketMatch {
    /// Its name.
    pub name: Box<str>,
    /// What endpoints, or else their localities, must have in `envoy.transport_socket_match`.
    pub criteria: LbMetadata,
    /// The socket.
    pub socket: UpstreamSocket,
}

/// Names for TLS that follow the request (`auto_sni`): requests for different names never share a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestNames {
    /// The header that has the name; none, or where a request lacks it: the authority.
    pub header: Option<HeaderName>,
    /// The certificate must be for that name too (`auto_san_validation`).
    pub verify: bool,
}
