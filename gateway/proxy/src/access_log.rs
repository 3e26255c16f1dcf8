// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Access logs. A worker writes lines into a buffer of its own and hands it over when it is full, or after a moment, to the thread
//! that owns the file. When that can not keep up, lines are dropped and counted, never waited for.

mod decide;
mod kept;
mod writer;

pub(crate) use decide::is_wanted;
pub(crate) use kept::Kept;
pub(crate) use writer::{LogWriter, WorkerLogs};

use http::Version;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// Batches of lines that may wait for the thread: with [`writer::FULL`] about 8 MiB for each log.
const QUEUE: usize = 256;

/// Lines of one worker.
#[derive(Debug)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    lines: u64,
}

/// All logs of the process, by path.
#[derive(Debug, Default)]
pub(crate) struct AccessLogs {
    sinks: Mutex<HashMap<Box<str>, Arc<AccessLogSink>>>,
}

impl AccessLogs {
    /// The log at `path`, opened where it is not; `/dev/stdout` and `/dev/stderr` are the process's own.
    ///
    /// # Errors
    /// Where the file can not be opened for appending, or no thread be started.
    pub(crate) fn sink(&self, path: &str) -> io::Result<Arc<AccessLogSink>> {
        let mut sinks = self.sinks.lock();
        if let Some(sink) = sinks.get(path) {
            return Ok(Arc::clone(sink));
        }
        let writer: Box<dyn Write + Send> = match path {
            "/dev/stdout" => Box::new(io::stdout()),
            "/dev/stderr" => Box::new(io::stderr()),
            path => Box::new(OpenOptions::new().append(true).create(true).open(path)?),
        };
        let sink = AccessLogSink::start(writer)?;
        sinks.insert(path.into(), Arc::clone(&sink));
        Ok(sink)
    }

    /// Lines dropped so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.sinks.lock().values().map(|sink| sink.dropped.load(Ordering::Relaxed)).sum()
    }

    /// Ends all logs; returns once what was handed over is written.
    pub(crate) fn close(&self) {
        for (_, sink) in self.sinks.lock().drain() {
            sink.close();
        }
    }
}

/// One log.
#[derive(Debug)]
pub(crate) struct AccessLogSink {
    sender: SyncSender<Message>,
    dropped: AtomicU64,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

#[derive(Debug)]
enum Message {
    Lines(Vec<u8>),
    Close,
}

impl AccessLogSink {
    pub(crate) fn start(writer: Box<dyn Write + Send>) -> io::Result<Arc<Self>> {
        let (sender, receiver) = sync_channel(QUEUE);
        let run = move || write_batches(&receiver, writer);
        let thread = thread::Builder::new().name("access-log".to_owned()).spawn(run)?;
        Ok(Arc::new(Self { sender, dropped: AtomicU64::new(0), thread: Mutex::new(Some(thread)) }))
    }

    /// Hands lines over; never waits.
    pub(crate) fn take(&self, batch: Batch) {
        // Full, or the thread is gone.
        if self.sender.try_send(Message::Lines(batch.bytes)).is_err() {
            self.dropped.fetch_add(batch.lines, Ordering::Relaxed);
        }
    }

    fn close(&self) {
        let thread = self.thread.lock().take();
        if self.sender.send(Message::Close).is_ok()
            && let Some(thread) = thread
        {
            drop(thread.join());
        }
    }
}

/// Writes until the log closes.
fn write_batches(receiver: &Receiver<Message>, mut writer: Box<dyn Write + Send>) {
    let mut failed = false;
    while let Ok(Message::Lines(bytes)) = receiver.recv() {
        if let Err(error) = writer.write_all(&bytes).and_then(|()| writer.flush())
            && !failed
        {
            failed = true;
            tracing::error!(%error, "cannot write the access log; further failures are not reported");
        }
    }
}

/// Envoy's `%PROTOCOL%`.
pub(crate) fn protocol_text(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

#[cfg(test)]
mod tests;
