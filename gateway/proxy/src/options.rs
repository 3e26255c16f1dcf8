// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What the binary decides about the proxy; everything else is configuration.

use crate::metrics::IstioSource;
use gateway_config::WasmFilter;
use gateway_filter_api::FilterProvider;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How the proxy runs.
#[derive(Clone, Debug, Default)]
pub struct ProxyOptions {
    /// Threads that serve traffic, each with its own runtime; 0: one for each core.
    pub workers: usize,
    /// Addresses to bind instead of those in the configuration, by listener name.
    pub bind: HashMap<String, SocketAddr>,
    /// How many connections are taken at a time, over all workers; more are closed at once.
    pub connections: ConnectionLimits,
    /// Bytes of memory that the process should stay below; none: it never runs short.
    pub memory: Option<u64>,
    /// Gives memory that a thread's allocator keeps for later back to the system; called on every worker while memory is short.
    pub release_memory: Option<fn()>,
    /// How a drain goes.
    pub drain: DrainOptions,
    /// Limits that hold where the configuration sets none.
    pub limits: Limits,
    /// The cluster that the gateway says it belongs to (`node.cluster`), told in answers to health checks, and to upstreams where asked.
    pub node_cluster: String,
    /// Its own name (`node.id`), told to upstreams where asked.
    pub node_id: String,
    /// Makes plugins; none: listeners with plugins are refused.
    pub plugins: Option<Arc<dyn FilterProvider<WasmFilter>>>,
    /// Who the gateway is in Istio's metrics; none: there are none.
    pub istio: Option<Arc<IstioSource>>,
}

/// How many connections are taken at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// By the process.
    pub process: usize,
    /// By one listener.
    pub listener: usize,
    /// By one listener from one client address, or one network of 64 bits with IPv6; 0: no limit. Where a PROXY protocol header tells
    /// the client, it counts.
    pub source: usize,
}

/// How a drain goes.
#[derive(Clone, Copy, Debug)]
pub struct DrainOptions {
    /// How long new connections are still taken once readiness fails: load balancers need that long to notice.
    pub accept_for: Duration,
    /// How long a connection may wait for its next request before it is closed.
    pub idle: Duration,
    /// How long connections of a listener may go on that is no longer configured.
    pub removed: Duration,
}

/// Limits that hold where the configuration sets none.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A TLS handshake.
    pub handshake: Duration,
    /// A connection's first bytes, and each head from its first byte to its last.
    pub request_headers: Duration,
    /// A request's body without a byte, and a client that takes no byte of an answer.
    pub stalled: Duration,
    /// A connection without requests.
    pub idle: Duration,
    /// Streams at a time on an HTTP/2 connection.
    pub http2_streams: u32,
    /// Window of an HTTP/2 stream, bytes.
    pub http2_stream_window: u32,
    /// Window of an HTTP/2 connection, bytes.
    pub http2_connection_window: u32,
    /// Bytes of a request's body that are kept to send it again, or that a filter may hold.
    pub buffer: usize,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self { process: 100_000, listener: 50_000, source: 25_000 }
    }
}

impl Default for DrainOptions {
    fn default() -> Self {
        Self {
            accept_for: Duration::from_secs(5),
            idle: Duration::from_secs(5),
            removed: Duration::from_secs(45),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            request_headers: Duration::from_secs(10),
            stalled: Duration::from_secs(60),
            idle: Duration::from_hours(1),
            http2_streams: 100,
            http2_stream_window: 64 * 1024,
            http2_connection_window: 1024 * 1024,
            buffer: 1024 * 1024,
        }
    }
}
