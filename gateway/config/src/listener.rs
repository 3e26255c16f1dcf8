// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Listeners: an address, and what happens to its connections or datagrams.

use crate::{FilterChains, UdpProxy};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// A listener (`envoy.config.listener.v3.Listener`).
#[derive(Debug)]
pub struct Listener {
    /// Its name: from our control plane `listener/<port>`.
    pub name: Box<str>,
    /// Where it listens.
    pub address: SocketAddr,
    /// What happens to connections; nothing where it takes datagrams.
    pub chains: FilterChains,
    /// What happens to datagrams; none: it takes connections (TCP).
    pub udp: Option<Arc<UdpProxy>>,
    /// A connection starts with a PROXY protocol header.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// The first bytes of a connection are looked at for a TLS hello, also where no chain asks for it.
    pub tls_inspector: bool,
    /// How long a connection's PROXY protocol header and TLS hello may take; none: the gateway's own limit.
    pub filters_timeout: Option<Duration>,
    /// The listen backlog.
    pub backlog: Option<u32>,
    /// Soft limit of a connection's buffers, bytes.
    pub buffer_limit: Option<u32>,
}

/// The PROXY protocol header before a connection's bytes
/// (`envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProxyProtocol {
    /// Connections without one are taken too; only for clients that are all trusted, as any of them may then tell any address.
    pub optional: bool,
    /// The text form (version 1) is refused.
    pub refuse_v1: bool,
    /// The binary form (version 2) is refused.
    pub refuse_v2: bool,
}

/// TLS towards clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownstreamTls {
    /// Names of the certificates (SDS), at least one.
    pub certificates: Box<[Box<str>]>,
    /// Protocols offered by ALPN, best first.
    pub alpn: Box<[Box<str>]>,
    /// Name of the roots for client certificates (SDS).
    pub client_roots: Option<Box<str>>,
    /// A client without certificate is refused.
    pub require_client_certificate: bool,
    /// TLS 1.2 is allowed beside 1.3.
    pub allow_tls12: bool,
    /// TLS 1.3 is allowed.
    pub allow_tls13: bool,
}
