// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Whom a listener believes about the client's address, and which clients belong to the house.

use http::{HeaderName, StatusCode};
use ipnet::IpNet;
use std::net::IpAddr;

/// Where the client's address comes from, and which addresses are internal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clients {
    /// Who may steer requests by `x-envoy-*` (`internal_address_config`); as in Envoy nobody where it is empty.
    pub internal: Box<[IpNet]>,
    /// Asked in order where the peer is not the client; empty with `use_remote_address`.
    pub sources: Box<[AddressSource]>,
}

/// One way to learn the client's address (`original_ip_detection_extensions`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressSource {
    /// `x-forwarded-for`.
    ForwardedFor {
        /// Entries from the right that trusted proxies wrote.
        trusted_hops: u32,
        /// Instead of a number: entries from the right that are trusted proxies, and the peer must be one.
        trusted: Box<[IpNet]>,
        /// The peer's address is appended.
        append: bool,
    },
    /// A header with nothing but the address.
    Header {
        /// Its name.
        name: HeaderName,
        /// The address may be an internal one.
        trusted: bool,
        /// The answer where the header is missing or no address.
        reject: Option<StatusCode>,
    },
}

impl Clients {
    /// Whether an address is one of the house.
    #[must_use]
    pub fn is_internal(&self, address: IpAddr) -> bool {
        self.internal.iter().any(|range| range.contains(&address))
    }
}
