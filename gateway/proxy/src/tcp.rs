// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Connections whose bytes pass as they are: a host is picked, then both directions run until they end.

use crate::filters::Counter;
use crate::listener::ListenerState;
use crate::metrics::WorkerMetrics;
use crate::tunnel::{self, Meters, Traffic, TunnelEnd, TunnelLimits};
use crate::worker::Worker;
use gateway_config::TcpProxy;
use gateway_filter_api::ConnectionInfo;
use gateway_upstream::{Client, PickContext, PickError, RawConnection};
use std::rc::Rc;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

/// Numbers of one `stat_prefix` on one worker.
#[derive(Debug)]
struct Counters {
    total: Counter,
    no_route: Counter,
    received: Counter,
    sent: Counter,
    idle_timeout: Counter,
    max_duration: Counter,
    connect_attempts_exceeded: Counter,
}

impl Counters {
    fn new(metrics: &WorkerMetrics, prefix: &str) -> Self {
        let number = |name| metrics.number(name, "envoy_tcp_prefix", prefix);
        Self {
            total: number("tcp_downstream_cx_total"),
            no_route: number("tcp_downstream_cx_no_route"),
            received: number("tcp_downstream_cx_rx_bytes_total"),
            sent: number("tcp_downstream_cx_tx_bytes_total"),
            idle_timeout: number("tcp_idle_timeout"),
            max_duration: number("tcp_max_downstream_connection_duration"),
            connect_attempts_exceeded: number("tcp_upstream_connect_attempts_exceeded"),
        }
    }
}

/// Serves one connection from its first byte to its last.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    worker: Rc<Worker>,
    listener: Rc<ListenerState>,
    proxy: Arc<TcpProxy>,
    mut stream: S,
    info: ConnectionInfo,
) {
    let counters = Counters::new(worker.metrics(), &proxy.stat_prefix);
    counters.total.increment();
    let Some(mut upstream) = connect(&worker, &proxy, &counters, &info).await else { return };
    let meters = Meters { received: &counters.received, sent: &counters.sent };
    let end = proxy.max_duration.map(|duration| Instant::now() + duration);
    let limits = TunnelLimits { idle: proxy.idle_timeout, end };
    let traffic = Traffic::default();
    match tunnel::pass((&mut stream, &mut upstream), (&traffic, Some(meters)), limits, &listener).await {
        TunnelEnd::Idle => counters.idle_timeout.increment(),
        TunnelEnd::Late => counters.max_duration.increment(),
        TunnelEnd::Broken(error) => tracing::debug!(%error, "connection ended"),
        TunnelEnd::Finished | TunnelEnd::Closed => {}
    }
}

/// Connects to a host of the chosen cluster; tries others as often as the settings say.
async fn connect(
    worker: &Worker,
    proxy: &TcpProxy,
    counters: &Counters,
    info: &ConnectionInfo,
) -> Option<RawConnection> {
    let cluster = proxy.cluster(rand::random())?;
    let snapshot = worker.snapshot();
    let client = Client { id: info.id, remote: info.remote, local: info.local };
    let mut tried = Vec::new();
    for _ in 0..proxy.max_connect_attempts {
        let context =
            PickContext { tried: &tried, attempts: 3, client: Some(client), ..PickContext::default() };
        let picked = match worker.upstreams().pick(&snapshot, &cluster.name, &context) {
            Ok(picked) => picked,
            Err(PickError::NoCluster) => {
                counters.no_route.increment();
                tracing::warn!(cluster = %cluster.name, listener = %info.listener, "no such cluster for a connection");
                return None;
            }
            Err(PickError::NoHealthy) => return None,
        };
        match worker.upstreams().connect(&picked).await {
            Ok(connection) => return Some(connection),
            Err(_) => tried.push(Arc::clone(picked.host())),
        }
    }
    counters.connect_attempts_exceeded.increment();
    None
}
