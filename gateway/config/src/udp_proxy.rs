// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Datagrams that pass as they are, in sessions.

use crate::AccessLogs;
use std::time::Duration;

/// Where a listener's datagrams go (`envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig`).
#[derive(Debug)]
pub struct UdpProxy {
    /// Prefix of its statistics.
    pub stat_prefix: Box<str>,
    /// The cluster.
    pub cluster: Box<str>,
    /// A session without a datagram in either direction ends (default 60 s).
    pub idle_timeout: Duration,
    /// What a session's endpoint is chosen by, where the cluster balances by hash.
    pub hash: Option<DatagramHash>,
    /// An endpoint is chosen for each datagram; a session is one client with one endpoint then.
    pub per_datagram: bool,
    /// The largest datagram of a client, bytes; larger ones are dropped.
    pub max_received: usize,
    /// The largest datagram of an endpoint, bytes.
    pub max_answered: usize,
    /// Logs with a line for each session, at its end.
    pub access_logs: AccessLogs,
}

/// What a session is hashed by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatagramHash {
    /// The client's address, without the port.
    SourceIp,
    /// The same text for all.
    Key(Box<str>),
}
