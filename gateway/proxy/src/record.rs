// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What is kept about a request until it is over, then counted and logged; exactly once, however it ends.

use crate::access_log::AccessLogEntry;
use crate::connection::{Connection, Serving};
use crate::filter::FilterStreams;
use crate::request_body::BodySource;
use gateway_config::EndpointAddress;
use gateway_filter_api::{RequestHead, RequestLog, ResponseFlags};
use gateway_upstream::{HostState, clock};
use http::header::USER_AGENT;
use http::{HeaderValue, Version};
use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::time::Instant;

/// The record of one request. Dropping it ends the request.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) connection: Rc<Connection>,
    pub(crate) serving: Serving,
    start: Instant,
    pub(crate) status: u16,
    pub(crate) flags: ResponseFlags,
    pub(crate) details: Option<Cow<'static, str>>,
    pub(crate) attempts: u32,
    pub(crate) upstream: Option<Arc<HostState>>,
    pub(crate) bytes_sent: u64,
    /// The last byte of the answer was handed to the connection.
    pub(crate) complete: bool,
    pub(crate) body: Option<Rc<BodySource>>,
    pub(crate) streams: Option<Rc<FilterStreams>>,
    entry: Option<Box<AccessLogEntry>>,
}

impl Record {
    /// A request begins.
    pub(crate) fn begin(connection: &Rc<Connection>, version: Version) -> Box<Self> {
        let serving = connection.serving();
        connection.begin();
        let metrics = &serving.settings.metrics;
        metrics.downstream_rq_total.increment();
        metrics.downstream_rq_active.increment();
        if version == Version::HTTP_2 {
            &metrics.downstream_rq_http2_total
        } else {
            &metrics.downstream_rq_http1_total
        }
        .increment();
        Box::new(Self {
            connection: Rc::clone(connection),
            serving,
            start: clock::now(),
            status: 0,
            flags: ResponseFlags::default(),
            details: None,
            attempts: 0,
            upstream: None,
            bytes_sent: 0,
            complete: false,
            body: None,
            streams: None,
            entry: None,
        })
    }

    /// Keeps what the access log shows of the client's request, where there is a log.
    pub(crate) fn keep_request(&mut self, head: &RequestHead) {
        if self.serving.settings.log.is_none() {
            return;
        }
        let info = self.connection.info();
        self.entry = Some(Box::new(AccessLogEntry {
            start: SystemTime::now(),
            method: head.method.clone(),
            path: head.path.clone(),
            protocol: head.version,
            authority: head.authority.clone(),
            remote: info.remote,
            server_name: info.tls.as_ref().and_then(|tls| tls.server_name.clone()),
            forwarded_for: head.headers.get("x-forwarded-for").cloned(),
            user_agent: head.headers.get(USER_AGENT).cloned(),
            request_id: head.headers.get("x-request-id").cloned(),
            ..AccessLogEntry::default()
        }));
    }

    /// Keeps as much of a request that could not be read as there is.
    pub(crate) fn keep_unread(&mut self, method: http::Method, version: Version) {
        if self.serving.settings.log.is_some() {
            let remote = self.connection.info().remote;
            let authority = HeaderValue::from_static("");
            self.entry = Some(Box::new(AccessLogEntry {
                start: SystemTime::now(),
                method,
                protocol: version,
                authority,
                remote,
                ..AccessLogEntry::default()
            }));
        }
    }

    /// Keeps the name of the route that was found.
    pub(crate) fn keep_route(&mut self, name: &str) {
        if let Some(entry) = &mut self.entry {
            entry.route_name = Some(name.into());
        }
    }

    /// Keeps the name of the cluster that was chosen.
    pub(crate) fn keep_cluster(&mut self, name: &str) {
        if let Some(entry) = &mut self.entry {
            entry.upstream_cluster = Some(name.into());
        }
    }

    fn count(&self, duration: std::time::Duration) {
        let metrics = &self.serving.settings.metrics;
        metrics.downstream_rq_active.decrement();
        metrics.count_status(self.status);
        metrics.request_time.observe(duration);
        if self.complete { &metrics.downstream_rq_completed } else { &metrics.downstream_rq_rx_reset }
            .increment();
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let duration = clock::now().saturating_duration_since(self.start);
        if !self.complete && self.flags == ResponseFlags::default() {
            self.flags = ResponseFlags::DOWNSTREAM_TERMINATION;
            self.details.get_or_insert(Cow::Borrowed("downstream_remote_disconnect"));
        }
        self.count(duration);
        self.connection.end();
        if let Some(streams) = &self.streams {
            self.flags |= streams.flags();
        }
        let bytes_received = self.body.as_ref().map_or(0, |body| body.received());
        if let Some(streams) = self.streams.take() {
            let log = RequestLog {
                start: SystemTime::now() - duration,
                duration,
                status: self.status,
                response_flags: self.flags.to_string().into(),
                bytes_received,
                bytes_sent: self.bytes_sent,
                upstream: match self.upstream.as_ref().map(|host| host.address()) {
                    Some(EndpointAddress::Socket(address)) => Some(*address),
                    Some(EndpointAddress::Name { .. }) | None => None,
                },
            };
            streams.on_log(&log);
        }
        if let (Some(mut entry), Some(log)) = (self.entry.take(), &self.serving.settings.log) {
            entry.duration = duration;
            entry.status = self.status;
            entry.flags = self.flags;
            entry.details = self.details.take();
            entry.bytes_received = bytes_received;
            entry.bytes_sent = self.bytes_sent;
            entry.upstream_host = self.upstream.take();
            entry.upstream_attempts = self.attempts;
            log.log(entry);
        }
    }
}
