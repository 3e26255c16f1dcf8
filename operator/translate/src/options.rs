// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What depends on where the proxies run.

use std::net::IpAddr;

/// How listeners are bound.
#[derive(Clone, Debug)]
pub struct BindOptions {
    /// Address to listen on.
    pub address: IpAddr,
    /// Added to ports below 1024, which an unprivileged pod cannot open. 0 binds them as declared.
    pub privileged_port_offset: u16,
    /// Added to every port.
    pub port_offset: u16,
    /// Where plugins are fetched from: the relay's issuance address, as `https://host:port`.
    pub plugin_source: String,
}

impl BindOptions {
    /// The port that is bound for a declared one; `None` where it would pass 65535.
    #[must_use]
    pub fn port(&self, declared: u16) -> Option<u16> {
        let privileged = if declared < 1024 { self.privileged_port_offset } else { 0 };
        declared.checked_add(privileged)?.checked_add(self.port_offset)
    }
}
