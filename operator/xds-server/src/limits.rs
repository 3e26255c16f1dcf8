// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Bounds on what peers may cost.

use std::time::Duration;

/// Bounds on connections, streams and messages. The defaults fit one relay with a thousand gateways.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open ADS streams; a further one is refused with RESOURCE_EXHAUSTED.
    pub streams: usize,
    /// Streams that receive their first configuration at the same time; further ones wait.
    pub joining: usize,
    /// How long a joining stream may hold its place.
    pub join_wait: Duration,
    /// Open TCP connections on one port, handshakes included; further ones wait in the kernel's queue.
    pub connections: usize,
    /// TLS handshake, and the wait for a stream's first request.
    pub handshake: Duration,
    /// Bytes of one request; a reconnecting proxy lists all versions that it holds.
    pub request_bytes: usize,
    /// Names that one stream may subscribe to, over all types.
    pub names: usize,
    /// Bytes of resources after which a response is cut; the rest follows after its ACK.
    pub response_bytes: usize,
    /// Interval of HTTP/2 pings on a quiet connection.
    pub keep_alive: Duration,
    /// Body of a certificate request, in bytes.
    pub issue_bytes: usize,
    /// One exchange on the issuance port, from request to answer.
    pub issue_time: Duration,
    /// Certificate requests that one source address may send at once.
    pub issue_burst: u32,
    /// Certificate requests that one source address earns back in a second.
    pub issue_per_second: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            streams: 4096,
            joining: 64,
            join_wait: Duration::from_secs(10),
            connections: 8192,
            handshake: Duration::from_secs(10),
            request_bytes: 16 << 20,
            names: 200_000,
            response_bytes: 3 << 20,
            keep_alive: Duration::from_secs(20),
            issue_bytes: 64 << 10,
            issue_time: Duration::from_secs(10),
            issue_burst: 64,
            issue_per_second: 8.0,
        }
    }
}
