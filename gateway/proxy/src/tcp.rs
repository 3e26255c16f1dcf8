// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Connections whose bytes pass as they are: a host is picked, then both directions run until they end.

use crate::filters::Counter;
use crate::listener::{ListenerState, Phase};
use crate::metrics::WorkerMetrics;
use crate::worker::Worker;
use gateway_config::TcpProxy;
use gateway_filter_api::ConnectionInfo;
use gateway_upstream::{Client, PickContext, PickError, RawConnection};
use std::cell::Cell;
use std::future::pending;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};
use tokio::time::{Instant, sleep, sleep_until};

/// Bytes of each direction that are on their way.
const BUFFER: usize = 16 << 10;

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
    stream: S,
    info: ConnectionInfo,
) {
    let counters = Counters::new(worker.metrics(), &proxy.stat_prefix);
    counters.total.increment();
    let Some(upstream) = connect(&worker, &proxy, &counters, &info).await else { return };
    let passed = Rc::new(Passed::default());
    let client = Counted {
        inner: stream,
        passed: Rc::clone(&passed),
        received: &counters.received,
        sent: &counters.sent,
    };
    pass(client, upstream, &proxy, &counters, (&passed, &listener)).await;
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

async fn pass<S: AsyncRead + AsyncWrite + Unpin>(
    mut client: Counted<'_, S>,
    mut upstream: RawConnection,
    proxy: &TcpProxy,
    counters: &Counters,
    (passed, listener): (&Passed, &Rc<ListenerState>),
) {
    let both = copy_bidirectional_with_sizes(&mut client, &mut upstream, BUFFER, BUFFER);
    let lifetime = async {
        match proxy.max_duration {
            Some(duration) => sleep(duration).await,
            None => pending().await,
        }
    };
    tokio::select! {
        result = both => {
            if let Err(error) = result {
                tracing::debug!(%error, "connection ended");
            }
        }
        () = idle(passed, proxy.idle_timeout) => counters.idle_timeout.increment(),
        () = lifetime => counters.max_duration.increment(),
        () = Rc::clone(listener).reached(Phase::Closed) => {}
    }
}

/// Ends once nothing has passed for so long. The time is looked at when it would be over, not with every byte.
async fn idle(passed: &Passed, limit: Option<Duration>) {
    let Some(limit) = limit else { return pending().await };
    let mut since = Instant::now();
    let mut seen = passed.0.get();
    loop {
        sleep_until(since + limit).await;
        let now = passed.0.get();
        if now == seen {
            return;
        }
        (seen, since) = (now, Instant::now());
    }
}

/// How often bytes have passed, in either direction.
#[derive(Debug, Default)]
struct Passed(Cell<u64>);

/// The client's stream, counted.
struct Counted<'a, S> {
    inner: S,
    passed: Rc<Passed>,
    received: &'a Counter,
    sent: &'a Counter,
}

impl<S> Counted<'_, S> {
    fn note(&self, counter: &Counter, bytes: usize) {
        if bytes > 0 {
            counter.add(bytes as u64);
            self.passed.0.set(self.passed.0.get().wrapping_add(1));
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<'_, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.inner).poll_read(context, buffer);
        self.note(self.received, buffer.filled().len() - before);
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<'_, S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = &result {
            self.note(self.sent, *count);
        }
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
