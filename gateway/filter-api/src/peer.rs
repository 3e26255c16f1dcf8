// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What a client's certificate says of it, read once for each connection.

use std::net::IpAddr;

/// Names in a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerNames {
    /// URIs of the subject alternative name.
    pub uris: Box<[Box<str>]>,
    /// DNS names of the subject alternative name.
    pub dns: Box<[Box<str>]>,
    /// Addresses of the subject alternative name.
    pub ips: Box<[IpAddr]>,
    /// Mail addresses of the subject alternative name.
    pub emails: Box<[Box<str>]>,
    /// The subject (RFC 2253).
    pub subject: Box<str>,
}

impl PeerNames {
    /// Who the peer is: its URIs, else its DNS names, else the subject, as Envoy's RBAC takes them.
    pub fn principals(&self) -> impl Iterator<Item = &str> {
        let alternatives = if self.uris.is_empty() { &self.dns } else { &self.uris };
        let subject = alternatives.is_empty().then_some(&*self.subject);
        alternatives.iter().map(|name| &**name).chain(subject)
    }
}
