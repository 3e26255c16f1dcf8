// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Listeners: an address, and what happens to its connections by server name.

use crate::HttpConnectionManager;
use std::collections::HashMap;
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
    /// What happens to connections.
    pub chains: FilterChains,
    /// A connection starts with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// The listen backlog.
    pub backlog: Option<u32>,
    /// Soft limit of a connection's buffers, bytes.
    pub buffer_limit: Option<u32>,
}

/// The filter chains of a listener, found by server name: exact, longest wildcard, any.
#[derive(Debug, Default)]
pub struct FilterChains {
    pub(crate) chains: Box<[Arc<FilterChain>]>,
    pub(crate) exact: HashMap<Box<str>, u32>,
    pub(crate) suffixes: HashMap<Box<str>, u32>,
    pub(crate) any: Option<u32>,
}

impl FilterChains {
    /// The chain for a connection; `server_name` is the SNI in lower case, none for plain text.
    #[must_use]
    pub fn select(&self, server_name: Option<&str>) -> Option<&Arc<FilterChain>> {
        let named = server_name.and_then(|name| {
            self.exact.get(name).or_else(|| {
                let dots = name.bytes().enumerate().skip(1).filter(|(_, b)| *b == b'.');
                dots.map(|(dot, _)| &name[dot + 1..]).find_map(|suffix| self.suffixes.get(suffix))
            })
        });
        self.chains.get(named.copied().or(self.any)? as usize)
    }

    /// All chains.
    #[must_use]
    pub fn all(&self) -> &[Arc<FilterChain>] {
        &self.chains
    }

    /// Whether connections start with a TLS hello.
    #[must_use]
    pub fn uses_tls(&self) -> bool {
        self.chains.iter().any(|chain| chain.tls.is_some())
    }
}

/// What happens to some of a listener's connections.
#[derive(Debug)]
pub struct FilterChain {
    /// Its name; may be empty.
    pub name: Box<str>,
    /// Lower-case server names it takes: exact, `*.suffix`; none: any.
    pub server_names: Box<[Box<str>]>,
    /// TLS; none for plain text.
    pub tls: Option<DownstreamTls>,
    /// The handling of HTTP.
    pub http: Arc<HttpConnectionManager>,
    /// Limit of the TLS handshake.
    pub handshake_timeout: Option<Duration>,
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
