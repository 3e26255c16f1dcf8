// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The other client: asks all the time, on new connections, while somebody attacks.

use crate::wire;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Time between two requests.
const PACE: Duration = Duration::from_millis(20);
/// Time for one.
const LIMIT: Duration = Duration::from_secs(5);

/// A client that asks until it is told to stop.
#[derive(Debug)]
pub(crate) struct Probe {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Served>,
}

/// How it was served.
#[derive(Debug, Default)]
pub(crate) struct Served {
    times: Vec<Duration>,
    /// What was no 200.
    pub(crate) failures: Vec<String>,
}

impl Probe {
    /// Starts to ask.
    pub(crate) fn start(to: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut served = Served::default();
            while !told.load(Ordering::Relaxed) {
                let start = Instant::now();
                match wire::get(to, "/probe", LIMIT).await {
                    Ok(reply) if reply.status() == Some(200) => served.times.push(start.elapsed()),
                    Ok(reply) => {
                        served.failures.push(format!("after {:?}: {:?}", start.elapsed(), reply.text()))
                    }
                    Err(error) => served.failures.push(format!("after {:?}: {error:#}", start.elapsed())),
                }
                tokio::time::sleep(PACE).await;
            }
            served
        });
        Self { stop, task }
    }

    /// Stops and tells.
    pub(crate) async fn stop(self) -> Served {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap_or_default()
    }
}

impl Served {
    /// Requests in all.
    pub(crate) fn count(&self) -> usize {
        self.times.len() + self.failures.len()
    }

    /// The time that 99 of 100 stay below, milliseconds.
    pub(crate) fn p99(&mut self) -> f64 {
        self.times.sort();
        let at = self.times.len() * 99 / 100;
        self.times
            .get(at.min(self.times.len().saturating_sub(1)))
            .map_or(0.0, |time| time.as_secs_f64() * 1000.0)
    }

    /// Whether everything was answered with 200.
    pub(crate) fn is_whole(&self) -> bool {
        self.failures.is_empty() && !self.times.is_empty()
    }
}
