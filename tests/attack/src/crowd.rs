// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Many connections that do nothing: what each costs, and that others are served beside them.

use crate::probe::Probe;
use crate::process::Process;
use crate::report::Report;
use anyhow::{Context, bail};
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Memory for each, KiB.
const EACH: u64 = 20;

/// Opens `count` connections that have had one answer each, holds them, and asks beside them.
pub(crate) async fn idle(
    report: &mut Report,
    gateway: &Process,
    to: SocketAddr,
    count: usize,
) -> anyhow::Result<()> {
    let before = gateway.resident();
    let mut held = Vec::with_capacity(count);
    while held.len() < count {
        let more = (count - held.len()).min(50);
        let opened = futures::future::try_join_all((0..more).map(|_| answered(to)));
        held.extend(opened.await.with_context(|| format!("after {} connections", held.len()))?);
    }
    // Connections come to rest after a second.
    let rested =
        settle(|| async { gateway.metric("gatefleet_http_downstream_cx_resting", "").await >= count as u64 });
    report.check("all idle connections come to rest", rested.await, || "some do not".into());
    let each = gateway.resident().saturating_sub(before) / count as u64;
    report.check(&format!("{count} idle connections: at most {EACH} KiB each"), each <= EACH, || {
        format!("{each} KiB")
    });
    let probe = Probe::start(to);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut served = probe.stop().await;
    report.check("others are served beside idle connections", served.is_whole(), || {
        format!("{} requests, {:?}", served.count(), served.failures.first())
    });
    report.figure("idle", json!({"connections": count, "kib_each": each, "probe_p99_ms": served.p99()}));
    Ok(())
}

/// A connection that got an answer.
async fn answered(to: SocketAddr) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(to).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: idle.example\r\n\r\n").await?;
    let mut bytes = [0; 2048];
    let count = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut bytes)).await??;
    if !bytes[..count].starts_with(b"HTTP/1.1 200") {
        bail!("{}", String::from_utf8_lossy(&bytes[..count]));
    }
    Ok(stream)
}

/// Whether something holds within ten seconds.
pub(crate) async fn settle<F: Future<Output = bool>>(holds: impl Fn() -> F) -> bool {
    for _ in 0..100 {
        if holds().await {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    false
}
