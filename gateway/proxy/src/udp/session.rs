// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! One client with one endpoint: its datagrams and the answers, until there were none for a while.

use super::REST;
use super::counters::Settings;
use super::sessions::{Key, Sessions};
use crate::access_log::is_wanted;
use crate::format::Values;
use crate::listener::Admission;
use crate::request_body::RequestBody;
use crate::sources::SourceAdmission;
use crate::worker::Worker;
use gateway_filter_api::{ConnectionInfo, Metadata, ResponseFlags};
use gateway_upstream::{DatagramSocket, clock};
use serde_json::{Map, Value};
use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until};

/// Where Envoy keeps what logs may say of a session.
const NAMESPACE: &str = "udp.proxy.session";
/// Answers that are taken before others on the worker have their turn.
const BATCH: usize = 32;

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) socket: DatagramSocket<RequestBody>,
    settings: Rc<Settings>,
    info: ConnectionInfo,
    begun: Instant,
    /// When the last datagram passed.
    last: Cell<Instant>,
    figures: Cell<SessionFigures>,
    _admissions: Admissions,
}

/// What passed in a session.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SessionFigures {
    /// Bytes from the client.
    pub(crate) received_bytes: u64,
    /// Bytes to the client.
    pub(crate) sent_bytes: u64,
    received: u64,
    sent: u64,
    send_errors: u64,
}

/// What a session counts for while it lasts.
#[derive(Debug)]
pub(super) struct Admissions {
    worker: Rc<Worker>,
    _listener: Admission,
    _source: SourceAdmission,
}

impl Admissions {
    pub(super) fn new(worker: Rc<Worker>, listener: Admission, source: SourceAdmission) -> Self {
        worker.shared().connections.fetch_add(1, Ordering::Relaxed);
        Self { worker, _listener: listener, _source: source }
    }
}

impl Drop for Admissions {
    fn drop(&mut self) {
        self.worker.shared().connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Session {
    pub(super) fn new(
        sessions: &Sessions,
        settings: &Rc<Settings>,
        key: &Key,
        socket: DatagramSocket<RequestBody>,
        admissions: Admissions,
    ) -> Self {
        settings.counters.total.increment();
        settings.counters.active.increment();
        let listener = &sessions.listener.shared;
        let info = ConnectionInfo {
            id: sessions.worker.shared().next_connection.fetch_add(1, Ordering::Relaxed),
            remote: key.client,
            direct_remote: key.client,
            local: SocketAddr::new(key.local, listener.address.port()),
            listener: Arc::clone(&listener.name),
            tls: None,
        };
        let begun = clock::now();
        Self {
            socket,
            settings: Rc::clone(settings),
            info,
            begun,
            last: Cell::new(begun),
            figures: Cell::default(),
            _admissions: admissions,
        }
    }

    /// When the last datagram passed.
    pub(super) fn last(&self) -> Instant {
        self.last.get()
    }

    fn count(&self, change: impl FnOnce(&mut SessionFigures)) {
        let mut figures = self.figures.get();
        change(&mut figures);
        self.figures.set(figures);
    }

    /// Sends a client's datagram to the endpoint.
    pub(super) fn forward(&self, bytes: &[u8]) {
        let counters = &self.settings.counters;
        counters.received.increment();
        counters.received_bytes.add(bytes.len() as u64);
        self.count(|figures| {
            figures.received += 1;
            figures.received_bytes += bytes.len() as u64;
        });
        self.last.set(clock::now());
        self.socket.send(bytes);
    }

    /// Passes answers back until nothing has passed for too long.
    pub(super) async fn serve(&self, sessions: &Sessions) {
        tokio::select! {
            () = self.answers(sessions) => {}
            () = self.quiet() => self.settings.counters.idle_timeout.increment(),
        }
    }

    /// The time is looked at when it would be over, not with every datagram.
    async fn quiet(&self) {
        loop {
            let last = self.last.get();
            sleep_until(last + self.settings.proxy.idle_timeout).await;
            if self.last.get() == last {
                return;
            }
        }
    }

    async fn answers(&self, sessions: &Sessions) {
        while self.socket.readable().await.is_ok() {
            match self.pass_back(sessions) {
                // More may be there already.
                Ok(()) => yield_now().await,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    tracing::debug!(%error, "an endpoint takes no datagrams");
                    self.socket.count_error();
                    // Refusals come one for each datagram at most; whatever else may stay.
                    if error.kind() != io::ErrorKind::ConnectionRefused {
                        sleep(REST).await;
                    }
                }
            }
        }
    }

    /// Sends the client what the endpoint has answered.
    fn pass_back(&self, sessions: &Sessions) -> io::Result<()> {
        let mut buffer = sessions.answer.borrow_mut();
        let counters = &self.settings.counters;
        for _ in 0..BATCH {
            let length = self.socket.try_receive(&mut buffer)?;
            self.last.set(clock::now());
            let bytes = buffer.get(..length).filter(|bytes| bytes.len() <= self.settings.proxy.max_answered);
            self.socket.count_received(bytes.map(<[u8]>::len));
            let Some(bytes) = bytes else { continue };
            if sessions.socket.send(bytes, self.info.remote, self.info.local.ip()).is_ok() {
                counters.sent.increment();
                counters.sent_bytes.add(bytes.len() as u64);
                self.count(|figures| {
                    figures.sent += 1;
                    figures.sent_bytes += bytes.len() as u64;
                });
            } else {
                counters.send_errors.increment();
                self.count(|figures| figures.send_errors += 1);
            }
        }
        Ok(())
    }

    /// Writes the session's lines.
    fn log(&self) {
        let duration = self.begun.elapsed();
        let metadata = self.metadata();
        let values = Values {
            upstream: Some(self.socket.host().address()),
            metadata: Some(&metadata),
            session: Some(self.figures.get()),
            start: Some(SystemTime::now() - duration),
            duration: Some(duration),
            ..Values::of(&self.info)
        };
        for (log, writer) in self.settings.proxy.access_logs.logs.iter().zip(&self.settings.logs) {
            let Some(writer) = writer else { continue };
            if log.filter.as_ref().is_some_and(|filter| !is_wanted(filter, &values, ResponseFlags::NONE)) {
                continue;
            }
            writer.write(&log.format, &values);
        }
    }

    fn metadata(&self) -> Metadata {
        let figures = self.figures.get();
        let values: Map<String, Value> = [
            ("bytes_received", figures.received_bytes.into()),
            ("bytes_sent", figures.sent_bytes.into()),
            ("cluster_name", (&*self.settings.proxy.cluster).into()),
            ("datagrams_received", figures.received.into()),
            ("datagrams_sent", figures.sent.into()),
            ("errors_sent", figures.send_errors.into()),
        ]
        .into_iter()
        .map(|(name, value): (&str, Value)| (name.to_owned(), value))
        .collect();
        let mut metadata = Metadata::default();
        metadata.merge(NAMESPACE, values);
        metadata
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.settings.counters.active.decrement();
        if !self.settings.logs.is_empty() {
            self.log();
        }
    }
}
