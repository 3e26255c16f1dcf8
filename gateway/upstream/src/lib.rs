// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Connections to endpoints: pools for HTTP/1.1 and HTTP/2, balancing, outlier ejection, circuit breakers.
//!
//! One [`UpstreamRegistry`] for the process holds what workers share: counters, limits and passive health, all atomics. Each worker has
//! its own [`Upstreams`] with its own connections, on its own thread; nothing there is `Send`, nothing is locked.
//!
//! ```text
//! upstreams.pick(&snapshot, "cluster", &context) -> Picked     host by priority, health, policy
//! upstreams.send(&picked, request)               -> Response   connection from the pool, or a new one
//!     body to its end                                           connection back into the pool
//! ```
//!
//! A cluster costs something once it is used. A worker notices a change of a cluster when it picks from it: the parts of a snapshot that did not
//! change are the same allocations. Pools and health of endpoints that stay are kept.

mod balancer;
mod body;
pub mod clock;
mod connect;
mod datagrams;
mod dial;
mod error;
mod hash;
mod hash_table;
mod health_check;
mod histogram;
mod host;
mod lease;
mod metrics;
mod outlier;
mod picker;
mod plan;
mod pool;
mod pool_key;
mod proxy_header;
mod raw;
mod registry;
mod resolve;
mod send;
mod stream;
mod switch;
mod tls;
mod tunnel;
mod upkeep;
mod upstreams;
mod view;
mod wire;
mod worker_cluster;

pub use body::UpstreamBody;
pub use datagrams::{DatagramSocket, Prospect};
pub use error::{ConnectError, PickError, SendError, SendErrorKind};
pub use hash::{combine_hashes, hash_all, hash_key};
pub use histogram::{BUCKETS, Histogram, HistogramValues, bucket_of};
pub use host::{HostState, Outcome, Standing};
pub use metrics::{ClusterMetrics, HostMetrics, Metric, MetricKind, NamedMetric, Statuses};
pub use pool_key::Client;
pub use raw::RawConnection;
pub use registry::{ClusterState, UpstreamRegistry};
pub use switch::{Switch, TunnelStream, UpstreamTunnel};
pub use upstreams::{PickContext, Picked, RetryPermit, Upstreams};

use bytes::Bytes;
use std::error::Error;

/// The body of a request. It stays on its worker's thread, so it need not be `Send`.
pub trait RequestBody:
    http_body::Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin + 'static
{
}

impl<B: http_body::Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin + 'static>
    RequestBody for B
{
}
