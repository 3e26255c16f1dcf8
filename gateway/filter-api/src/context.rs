// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What a filter sees of the request around it.

use crate::{Metadata, PeerNames, RequestHead, ResponseFlags, ResponseHead};
use http::HeaderMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The connection that a request came on.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// Unique among the connections of this process.
    pub id: u64,
    /// The client's address: the peer's, or what a PROXY protocol header says.
    pub remote: SocketAddr,
    /// The peer's address, whatever a header says.
    pub direct_remote: SocketAddr,
    /// The address that the peer connected to.
    pub local: SocketAddr,
    /// Name of the listener.
    pub listener: Arc<str>,
    /// Set where TLS ended here.
    pub tls: Option<TlsInfo>,
}

/// What the TLS handshake settled.
#[derive(Clone, Debug)]
pub struct TlsInfo {
    /// The server name that the client asked for, in lower case.
    pub server_name: Option<Arc<str>>,
    /// Protocols that the client offered.
    pub offered: Box<[Box<str>]>,
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite, under OpenSSL's name.
    pub cipher: &'static str,
    /// The peer's certificate in DER, where one was asked for.
    pub peer_certificate: Option<Arc<[u8]>>,
    /// What it says of the peer.
    pub peer: Option<Arc<PeerNames>>,
}

/// What a callback may read and change.
#[derive(Debug)]
pub struct FilterContext<'a> {
    /// The request's head; changes count until it is sent upstream, that is in [`crate::HttpFilter::on_request_headers`]
    /// and in the body callback of a request that was held by [`crate::Outcome::Buffer`].
    pub request: &'a mut RequestHead,
    /// The response's head from the response phases on; changes count in
    /// [`crate::HttpFilter::on_response_headers`] and in the body callback of a held response.
    pub response: Option<&'a mut ResponseHead>,
    /// The trailers of the message, in the last callback of its body (empty where there are none); what is left of them is sent on.
    /// Those of a request that was held by [`crate::Outcome::Buffer`] are not there.
    pub trailers: Option<&'a mut HeaderMap>,
    /// The connection.
    pub connection: &'a ConnectionInfo,
    /// Name of the matched route.
    pub route: &'a str,
    /// Name of the cluster, once one is chosen.
    pub cluster: Option<&'a str>,
    /// What filters before this one learned.
    pub metadata: &'a mut Metadata,
    /// Why the request does not go as usual, for the log; a filter adds its own.
    pub flags: &'a mut ResponseFlags,
    /// Set by a filter whose changes (host, path, headers) should choose the route anew.
    pub reroute: bool,
}

/// The end of a request in figures.
#[derive(Clone, Debug)]
pub struct RequestLog {
    /// When its head was complete.
    pub start: SystemTime,
    /// From there to the last byte.
    pub duration: Duration,
    /// The status sent; 0 where the client left before one was.
    pub status: u16,
    /// Envoy's response flags, `-` where none.
    pub response_flags: Arc<str>,
    /// Body bytes from the client.
    pub bytes_received: u64,
    /// Body bytes to the client.
    pub bytes_sent: u64,
    /// The endpoint that answered.
    pub upstream: Option<SocketAddr>,
}
