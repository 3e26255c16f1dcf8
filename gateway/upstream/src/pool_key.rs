// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What divides a host's connections: requests with different keys never share one.

use crate::connect::ConnectSettings;
use gateway_config::RoutingPriority;
use http::Request;
use http::header::HOST;
use rustls::pki_types::ServerName;
use std::net::SocketAddr;

/// The client's connection, for clusters that tell the endpoint about it or keep clients apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Client {
    /// Unique among the connections of this process.
    pub id: u64,
    /// The client's address.
    pub remote: SocketAddr,
    /// The address that it connected to.
    pub local: SocketAddr,
}

/// What divides a host's connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct PoolKey {
    pub(crate) priority: RoutingPriority,
    /// The server name that the request asks for.
    pub(crate) name: Option<ServerName<'static>>,
    /// Client and its destination, where a PROXY protocol header tells them.
    pub(crate) addresses: Option<(SocketAddr, SocketAddr)>,
    /// The client's connection, where clients do not share any.
    connection: Option<u64>,
}

impl PoolKey {
    /// The key of a request.
    pub(crate) fn of<B>(
        settings: &ConnectSettings,
        request: &Request<B>,
        priority: RoutingPriority,
        client: Option<Client>,
    ) -> Self {
        if !settings.divided {
            return Self { priority, ..Self::default() };
        }
        let names = settings.request_names.as_ref().filter(|_| settings.tls.is_some());
        let name = names.and_then(|names| {
            let header = names.header.as_ref().and_then(|name| request.headers().get(name));
            let text = header.map_or_else(|| authority(request), |value| value.to_str().ok());
            let name = text.and_then(server_name);
            // What is no name is never verified: no certificate is for this one (RFC 6761, 6.4).
            name.or_else(|| ServerName::try_from("invalid").ok().filter(|_| names.verify))
        });
        let own = settings.own_connections;
        Self {
            priority,
            name,
            addresses: client
                .filter(|_| settings.proxy_header.is_some())
                .map(|client| (client.remote, client.local)),
            connection: client.filter(|_| own).map(|client| client.id),
        }
    }

    /// The key of a client that speaks no HTTP.
    pub(crate) fn of_client(settings: &ConnectSettings, client: Option<Client>) -> Self {
        let told = client.filter(|_| settings.proxy_header.is_some());
        Self { addresses: told.map(|client| (client.remote, client.local)), ..Self::default() }
    }

    /// Whether the request shares connections with all others.
    pub(crate) fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

fn authority<B>(request: &Request<B>) -> Option<&str> {
    match request.uri().authority() {
        Some(authority) => Some(authority.as_str()),
        None => request.headers().get(HOST)?.to_str().ok(),
    }
}

/// The name of an authority, without its port; an address is a name that is verified, but not sent.
fn server_name(authority: &str) -> Option<ServerName<'static>> {
    let host = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    ServerName::try_from(host.to_ascii_lowercase()).ok()
}

#[cfg(test)]
mod tests {
    use super::server_name;

    #[test]
    fn names_have_no_port() {
        for (authority, expected) in [
            ("Shop.example", Some("shop.example")),
            ("shop.example:8443", Some("shop.example")),
            ("10.0.0.1:80", Some("10.0.0.1")),
            ("[::1]:80", Some("::1")),
            ("a b", None),
            ("", None),
        ] {
            let found = server_name(authority);
            assert_eq!(
                found.as_ref().map(|name| name.to_str().into_owned()).as_deref(),
                expected,
                "{authority:?}"
            );
        }
    }
}
