// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! One JSON line for each request, under Envoy's field names, written by a thread of its own. The request path only hands over: when
//! the thread can not keep up, lines are dropped and counted, never waited for.

use gateway_filter_api::ResponseFlags;
use gateway_upstream::HostState;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Version};
use parking_lot::Mutex;
use serde::Serialize;
use serde::ser::Serializer;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, SystemTime};

/// Lines that may wait for the thread.
const QUEUE: usize = 8192;

/// The end of one request. What the line shows is formatted by the log's thread.
#[derive(Debug)]
pub(crate) struct AccessLogEntry {
    pub(crate) start: SystemTime,
    pub(crate) duration: Duration,
    pub(crate) method: Method,
    pub(crate) path: PathAndQuery,
    pub(crate) protocol: Version,
    pub(crate) status: u16,
    pub(crate) flags: ResponseFlags,
    pub(crate) details: Option<Cow<'static, str>>,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) upstream_host: Option<Arc<HostState>>,
    pub(crate) upstream_cluster: Option<Box<str>>,
    pub(crate) upstream_attempts: u32,
    pub(crate) route_name: Option<Box<str>>,
    pub(crate) remote: SocketAddr,
    pub(crate) forwarded_for: Option<HeaderValue>,
    pub(crate) user_agent: Option<HeaderValue>,
    pub(crate) request_id: Option<HeaderValue>,
    pub(crate) authority: HeaderValue,
    pub(crate) server_name: Option<Arc<str>>,
}

impl Default for AccessLogEntry {
    fn default() -> Self {
        Self {
            start: SystemTime::UNIX_EPOCH,
            duration: Duration::ZERO,
            method: Method::GET,
            path: PathAndQuery::from_static("/"),
            protocol: Version::HTTP_11,
            status: 0,
            flags: ResponseFlags::default(),
            details: None,
            bytes_received: 0,
            bytes_sent: 0,
            upstream_host: None,
            upstream_cluster: None,
            upstream_attempts: 0,
            route_name: None,
            remote: SocketAddr::new(std::net::Ipv4Addr::UNSPECIFIED.into(), 0),
            forwarded_for: None,
            user_agent: None,
            request_id: None,
            authority: HeaderValue::from_static(""),
            server_name: None,
        }
    }
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
    Entry(Box<AccessLogEntry>),
    Close,
}

impl AccessLogSink {
    pub(crate) fn start(writer: Box<dyn Write + Send>) -> io::Result<Arc<Self>> {
        let (sender, receiver) = sync_channel(QUEUE);
        let run = move || write_lines(&receiver, writer);
        let thread = thread::Builder::new().name("access-log".to_owned()).spawn(run)?;
        Ok(Arc::new(Self { sender, dropped: AtomicU64::new(0), thread: Mutex::new(Some(thread)) }))
    }

    /// Hands a line over; never waits.
    pub(crate) fn log(&self, entry: Box<AccessLogEntry>) {
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.sender.try_send(Message::Entry(entry))
        {
            self.dropped.fetch_add(1, Ordering::Relaxed);
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

/// Writes until the log closes; flushes whenever nothing waits.
fn write_lines(receiver: &Receiver<Message>, writer: Box<dyn Write + Send>) {
    let mut writer = BufWriter::with_capacity(64 * 1024, writer);
    let mut failed = false;
    loop {
        let message = match receiver.try_recv() {
            Ok(message) => message,
            Err(TryRecvError::Disconnected) => break,
            Err(TryRecvError::Empty) => {
                failed |= writer.flush().is_err();
                match receiver.recv() {
                    Ok(message) => message,
                    Err(_) => break,
                }
            }
        };
        let Message::Entry(entry) = message else { break };
        let written = serde_json::to_writer(&mut writer, &Line(&entry)).map_err(io::Error::from);
        if let Err(error) = written.and_then(|()| writer.write_all(b"\n"))
            && !failed
        {
            failed = true;
            tracing::error!(%error, "cannot write the access log; further failures are not reported");
        }
    }
    drop(writer.flush());
}

/// The line of an entry.
struct Line<'a>(&'a AccessLogEntry);

#[derive(Serialize)]
struct Fields<'a> {
    start_time: String,
    method: &'a str,
    path: &'a str,
    protocol: &'static str,
    response_code: u16,
    response_flags: String,
    response_code_details: Option<&'a str>,
    bytes_received: u64,
    bytes_sent: u64,
    duration: u64,
    upstream_host: Option<String>,
    upstream_cluster: Option<&'a str>,
    upstream_request_attempt_count: u32,
    route_name: Option<&'a str>,
    downstream_remote_address: SocketAddr,
    x_forwarded_for: Option<Cow<'a, str>>,
    user_agent: Option<Cow<'a, str>>,
    request_id: Option<Cow<'a, str>>,
    authority: Cow<'a, str>,
    requested_server_name: Option<&'a str>,
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entry = self.0;
        Fields {
            start_time: time_text(entry.start),
            method: entry.method.as_str(),
            path: entry.path.as_str(),
            protocol: protocol_text(entry.protocol),
            response_code: entry.status,
            response_flags: entry.flags.to_string(),
            response_code_details: entry.details.as_deref(),
            bytes_received: entry.bytes_received,
            bytes_sent: entry.bytes_sent,
            duration: u64::try_from(entry.duration.as_millis()).unwrap_or(u64::MAX),
            upstream_host: entry.upstream_host.as_ref().map(|host| host.address().to_string()),
            upstream_cluster: entry.upstream_cluster.as_deref(),
            upstream_request_attempt_count: entry.upstream_attempts,
            route_name: entry.route_name.as_deref(),
            downstream_remote_address: entry.remote,
            x_forwarded_for: entry.forwarded_for.as_ref().map(text),
            user_agent: entry.user_agent.as_ref().map(text),
            request_id: entry.request_id.as_ref().map(text),
            authority: text(&entry.authority),
            requested_server_name: entry.server_name.as_deref(),
        }
        .serialize(serializer)
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

fn text(value: &HeaderValue) -> Cow<'_, str> {
    String::from_utf8_lossy(value.as_bytes())
}

/// RFC 3339 with milliseconds, as Envoy's `%START_TIME%`.
fn time_text(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_| "-".to_owned(), |time| format!("{time:.3}"))
}

#[cfg(test)]
mod tests;
