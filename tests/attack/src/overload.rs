// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A gateway at its limits: of connections, of those of one source, of memory. It says no, goes on with what it has, and takes everything
//! again afterwards; its admin and readiness pages answer throughout.

use crate::crowd::settle;
use crate::origin::Origin;
use crate::process::{self, Process};
use crate::report::Report;
use crate::resources::{Speaks, cluster, listener_at, table};
use crate::wire;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;

/// Memory above that of an idle gateway that the process may use, bytes.
const ROOM: u64 = 64 * 1024 * 1024;
/// From where on the crowd grows slowly until somebody is refused, percent of the budget: each step of the gateway's lasts a while then.
const SLOWLY: u64 = 85;
/// What a burst between two looks of the gateway's may still use, bytes: its requests are taken at once and fill their buffers later.
const BURST: u64 = 128 * 1024 * 1024;
/// Deaf readers: without a limit they would use several times as much.
const CROWD: usize = 3000;
/// Time for a page or an answer.
const LIMIT: Duration = Duration::from_secs(5);

async fn start(
    program: &Path,
    folder: &Path,
    limits: Value,
    origin: &Origin,
) -> anyhow::Result<(Process, SocketAddr)> {
    let at = process::free().await?;
    let resources = vec![
        cluster("origin", &[origin.address], false),
        table("table", &[("/", "origin")]),
        listener_at("limited", at, Speaks::Plain, "table"),
    ];
    Ok((Process::start(program, folder, limits, resources).await?, at))
}

/// Connections: of one source, then of the listener.
pub(crate) async fn connections(report: &mut Report, program: &Path, folder: &Path) -> anyhow::Result<()> {
    let origin = Origin::start("served").await?;
    let limits = json!({"listenerConnections": 50, "sourceConnections": 30});
    let (gateway, at) = start(program, folder, limits, &origin).await?;
    let mut held = Vec::new();
    let mut taken = Vec::new();
    for (source, count) in [(1, 31), (2, 20), (3, 1)] {
        let mut served = 0;
        for _ in 0..count {
            let mut stream = connect(Ipv4Addr::new(127, 0, 0, source), at).await?;
            served += usize::from(is_served(&mut stream).await);
            held.push(stream);
        }
        taken.push(served);
    }
    report.check(
        "one source gets 30 of its 31 connections, others the rest up to 50",
        taken == [30, 20, 0],
        || format!("{taken:?}"),
    );
    let sources = gateway.metric("gatefleet_listener_source_overflow_total", "").await;
    let listener = gateway.metric("envoy_listener_downstream_cx_overflow", "").await;
    report
        .check("both limits are counted", (sources, listener) == (1, 1), || format!("{sources}, {listener}"));
    report.check("it is ready at its limit", gateway.is_ready().await, || "it is not".into());
    held.clear();
    let again =
        settle(|| async { wire::get(at, "/", LIMIT).await.is_ok_and(|reply| reply.status() == Some(200)) })
            .await;
    report.check("afterwards connections are taken", again, || "they are not".into());
    Ok(())
}

async fn connect(from: Ipv4Addr, to: SocketAddr) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    Ok(socket.connect(to).await?)
}

/// Whether a connection gets an answer and stays.
async fn is_served(stream: &mut TcpStream) -> bool {
    if stream.write_all(b"GET / HTTP/1.1\r\nHost: limits.example\r\n\r\n").await.is_err() {
        return false;
    }
    let mut bytes = [0; 1024];
    let read = tokio::time::timeout(LIMIT, stream.read(&mut bytes)).await;
    matches!(read, Ok(Ok(count)) if bytes[..count].starts_with(b"HTTP/1.1 200"))
}

/// Memory: deaf readers of large answers until it runs short, and more of them.
pub(crate) async fn memory(report: &mut Report, program: &Path, folder: &Path) -> anyhow::Result<()> {
    let origin = Origin::start("served").await?;
    let (idle, _) = start(program, folder, Value::Null, &origin).await?;
    let budget = idle.resident() * 1024 + ROOM;
    drop(idle);
    let (mut gateway, at) = start(program, folder, json!({"memory": budget.to_string()}), &origin).await?;
    let asking = Asking::start(at);
    let (mut held, mut worst, mut pages) = (Vec::new(), 0, true);
    for round in 0..CROWD {
        if let Ok(stream) = deaf(at).await {
            held.push(stream);
        }
        let used = gateway.resident();
        worst = worst.max(used);
        if used * 1024 > budget / 100 * SLOWLY && !asking.was_refused() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if round % 50 == 49 {
            pages &= gateway.is_ready().await && gateway.page("/ready").await.is_some();
        }
    }
    let refused = asking.stop().await;
    let entered = gateway.metric("gatefleet_overload_entered_total", "stop_accepting_requests").await;
    report.check(
        "short of memory, requests are answered 503 with Retry-After",
        refused && entered > 0,
        || format!("{} connections, {worst} KiB of {} KiB, entered {entered}", held.len(), budget / 1024),
    );
    report.check("admin and readiness answer meanwhile", pages, || "they did not".into());
    report.check("memory stays near the budget", worst * 1024 <= budget + BURST, || {
        format!("{worst} KiB of {} KiB", budget / 1024)
    });
    let connections = held.len();
    drop(held);
    let start = Instant::now();
    let again = settle(|| async {
        wire::get(at, "/probe", LIMIT).await.is_ok_and(|reply| reply.status() == Some(200))
    })
    .await;
    let recovered = start.elapsed();
    report.check("it recovers within 5 s", again && recovered < LIMIT, || {
        format!("{again} after {recovered:?}")
    });
    report.check("it is not killed", gateway.is_alive(), || "it is gone".into());
    report.figure("overload", json!({
        "budget_kib": budget / 1024, "worst_kib": worst, "connections": connections, "recovered_s": recovered.as_secs_f64(),
    }));
    Ok(())
}

/// A client that asks while memory runs short, and notes whether it was told to come back.
struct Asking {
    refused: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Asking {
    fn start(at: SocketAddr) -> Self {
        let refused = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&refused);
        let task = tokio::spawn(async move {
            loop {
                let reply = wire::get(at, "/probe", LIMIT).await;
                if reply.is_ok_and(|reply| reply.status() == Some(503) && reply.says("retry-after: 1")) {
                    told.store(true, Ordering::Relaxed);
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        Self { refused, task }
    }

    fn was_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    /// Stops, and tells whether it was ever refused.
    async fn stop(self) -> bool {
        self.task.abort();
        // Aborted on purpose.
        drop(self.task.await);
        self.refused.load(Ordering::Relaxed)
    }
}

/// Asks for a large answer and does not read it.
async fn deaf(to: SocketAddr) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4096)?;
    let mut stream = socket.connect(to).await?;
    stream.write_all(b"GET /large HTTP/1.1\r\nHost: deaf.example\r\n\r\n").await?;
    Ok(stream)
}
