// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What is kept about a request until it is over, then counted and logged; exactly once, however it ends.

use crate::access_log::{Kept, is_wanted};
use crate::answer::is_grpc;
use crate::client_address::Client;
use crate::connection::{Connection, Serving};
use crate::filter::FilterStreams;
use crate::format::Values;
use crate::metrics::{Measures, Outcome};
use crate::request_body::{BodyError, BodySource, RequestBody};
use crate::routing::{Chosen, Routing};
use crate::trace::OpenSpan;
use gateway_config::{EndpointAddress, TimePoint};
use gateway_filter_api::{RequestHead, RequestLog, ResponseFlags};
use gateway_upstream::{HostState, SendError, clock};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, StatusCode, Version};
use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// The last of gRPC's statuses (`UNAUTHENTICATED`).
const LAST_GRPC_STATUS: u8 = 16;

/// The record of one request. Dropping it ends the request.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) connection: Rc<Connection>,
    pub(crate) serving: Serving,
    /// Who sent the request; the peer as long as it is not read.
    pub(crate) client: Client,
    /// The client speaks gRPC.
    pub(crate) grpc: bool,
    start: Instant,
    pub(crate) status: u16,
    pub(crate) flags: ResponseFlags,
    pub(crate) details: Option<Cow<'static, str>>,
    pub(crate) attempts: u32,
    pub(crate) upstream: Option<Arc<HostState>>,
    pub(crate) bytes_sent: u64,
    /// Bytes that came by a tunnel, behind the request.
    pub(crate) tunnelled: u64,
    /// The last byte of the answer was handed to the connection.
    pub(crate) complete: bool,
    pub(crate) body: Option<Rc<BodySource>>,
    pub(crate) streams: Option<Rc<FilterStreams>>,
    /// What the client is told as the request's id, where it is.
    pub(crate) request_id: Option<HeaderValue>,
    /// What the upstream spoke.
    pub(crate) upstream_version: Option<Version>,
    /// Why an attempt got no answer, for the log.
    pub(crate) upstream_failure: Option<Box<str>>,
    /// Where the request is traced, and its span sampled.
    pub(crate) span: Option<Box<OpenSpan>>,
    times: Times,
    kept: Option<Box<Kept>>,
    /// For Istio's metrics, where they are asked for.
    destination: Option<Box<Destination>>,
}

/// What Istio's metrics say about a request.
#[derive(Debug, Default)]
struct Destination {
    cluster: Box<str>,
    grpc_status: Option<u8>,
}

/// Points in time on a request's way, counted from its start.
#[derive(Debug, Default)]
struct Times {
    upstream_start: Option<Duration>,
    response_start: Option<Duration>,
    answer_start: Option<Duration>,
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
            client: Client { address: connection.info().remote.ip().to_canonical(), internal: false },
            grpc: false,
            start: clock::now(),
            status: 0,
            flags: ResponseFlags::default(),
            details: None,
            attempts: 0,
            upstream: None,
            bytes_sent: 0,
            tunnelled: 0,
            complete: false,
            body: None,
            streams: None,
            request_id: None,
            upstream_version: None,
            upstream_failure: None,
            span: None,
            times: Times::default(),
            kept: None,
            destination: connection.worker().istio().map(|_| Box::default()),
        })
    }

    /// Keeps what access logs show of the client's request, where there are logs.
    pub(crate) fn keep_request(&mut self, head: &RequestHead) {
        self.grpc = is_grpc(head);
        let settings = &self.serving.settings;
        if !settings.logs.is_empty() {
            self.kept = Some(Kept::new(&settings.http.access_logs, head, self.client.address));
        }
    }

    /// Keeps as much of a request that could not be read as there is.
    pub(crate) fn keep_unread(
        &mut self,
        method: http::Method,
        path: Option<PathAndQuery>,
        version: Version,
        headers: Option<&HeaderMap>,
    ) {
        let settings = &self.serving.settings;
        if !settings.logs.is_empty() {
            self.kept = Some(Kept::unread(&settings.http.access_logs, (method, path, version), headers));
        }
    }

    /// Keeps the names of the route that was found and of its cluster.
    pub(crate) fn keep_routing(&mut self, routing: &Routing<'_>) {
        if self.kept.is_none() && self.destination.is_none() && self.span.is_none() {
            return;
        }
        let chosen = routing.chosen.as_ref().map(Chosen::name);
        let cluster = chosen.filter(|name| self.serving.snapshot.clusters.get(name).is_some());
        if let Some(kept) = &mut self.kept {
            kept.route = Some((&*routing.found.route.name).into());
            kept.cluster = cluster.map(Into::into);
        }
        if let Some(destination) = &mut self.destination {
            destination.cluster = cluster.unwrap_or_default().into();
        }
        if let Some(span) = &mut self.span {
            span.cluster = cluster.map(Into::into);
        }
    }

    /// No cluster has to do with it.
    pub(crate) fn keep_no_cluster(&mut self) {
        if let Some(kept) = &mut self.kept {
            kept.cluster = None;
        }
    }

    /// Names of route and cluster, where they are kept.
    pub(crate) fn kept_names(&self) -> (Option<&str>, Option<&str>) {
        let kept = self.kept.as_ref();
        (kept.and_then(|kept| kept.route.as_deref()), kept.and_then(|kept| kept.cluster.as_deref()))
    }

    /// The request goes upstream like this from now on.
    pub(crate) fn keep_changes(&mut self, head: &RequestHead) {
        self.times.upstream_start = self.kept.is_some().then(|| self.start.elapsed());
        if let Some(kept) = &mut self.kept {
            kept.changed(head);
        }
    }

    /// The host that the upstream is asked for.
    pub(crate) fn keep_authority(&mut self, authority: &HeaderValue) {
        if let Some(kept) = &mut self.kept {
            kept.authority = Some(authority.clone());
        }
    }

    /// An upstream answered.
    pub(crate) fn upstream_answered(&mut self, version: Version) {
        if self.kept.is_some() {
            self.times.response_start = Some(self.start.elapsed());
            self.upstream_version = Some(version);
        }
    }

    /// An attempt got no answer.
    pub(crate) fn keep_failure(&mut self, error: &SendError<RequestBody>) {
        if self.kept.is_some() {
            self.upstream_failure = error.transport_failure().map(|cause| cause.replace(' ', "_").into());
        }
    }

    /// Why there is no answer, with what kept the connection from coming up.
    pub(crate) fn with_cause(&self, details: &'static str) -> Cow<'static, str> {
        match (&self.upstream_failure, details.strip_suffix("{remote_connection_failure}")) {
            (Some(cause), Some(start)) => format!("{start}{{remote_connection_failure|{cause}}}").into(),
            _ => details.into(),
        }
    }

    /// The answer's head as it goes to the client.
    pub(crate) fn keep_answer(&mut self, headers: &HeaderMap) {
        if let Some(kept) = &mut self.kept {
            self.times.answer_start = Some(self.start.elapsed());
            kept.answered(headers);
        }
        self.keep_grpc_status(headers);
    }

    /// The answer's trailers.
    pub(crate) fn keep_trailers(&mut self, trailers: &HeaderMap) {
        if let Some(kept) = &mut self.kept {
            kept.ended(trailers);
        }
        self.keep_grpc_status(trailers);
    }

    fn keep_grpc_status(&mut self, headers: &HeaderMap) {
        if let Some(destination) = self.destination.as_mut().filter(|_| self.grpc)
            && let Some(status) = headers.get("grpc-status")
        {
            let status = status.to_str().ok().and_then(|status| status.parse().ok());
            destination.grpc_status = status.filter(|status| *status <= LAST_GRPC_STATUS);
        }
    }

    /// Counts for Istio's metrics.
    fn count_destination(&self, duration: Duration) {
        let (Some(destination), Some(recorder)) = (&self.destination, self.connection.worker().istio())
        else {
            return;
        };
        let Destination { cluster, grpc_status } = &**destination;
        let outcome =
            Outcome { status: self.status, flags: self.flags, grpc: self.grpc, grpc_status: *grpc_status };
        let measures = Measures { duration, received: self.bytes_received(), sent: self.bytes_sent };
        recorder.count(cluster, outcome, measures);
    }

    /// When the request began.
    pub(crate) fn began(&self) -> Instant {
        self.start
    }

    /// How long ago the client had sent all of the request; none where it has not.
    pub(crate) fn since_request(&self) -> Option<Duration> {
        let begun = match &self.body {
            None => self.start,
            Some(body) => body.ended_at()?,
        };
        Some(clock::now().saturating_duration_since(begun))
    }

    /// Body bytes from the client.
    pub(crate) fn bytes_received(&self) -> u64 {
        self.tunnelled + self.body.as_ref().map_or(0, |body| body.received())
    }

    /// How long the upstream took for the head of its answer.
    pub(crate) fn service_time(&self) -> Option<Duration> {
        self.times.response_start?.checked_sub(self.times.upstream_start?)
    }

    /// A point in time, counted from the start; `end` is the request's.
    pub(crate) fn at(&self, point: TimePoint, end: Option<Duration>) -> Option<Duration> {
        let received = || match &self.body {
            None => Some(Duration::ZERO),
            Some(body) => body.ended_at().map(|at| at.saturating_duration_since(self.start)),
        };
        match point {
            TimePoint::RequestStart => Some(Duration::ZERO),
            TimePoint::RequestEnd => received(),
            TimePoint::UpstreamStart => self.times.upstream_start,
            TimePoint::UpstreamSent => Some(received()?.max(self.times.upstream_start?)),
            TimePoint::ResponseStart => self.times.response_start,
            TimePoint::ResponseEnd => self.times.response_start.and(end),
            TimePoint::AnswerStart => self.times.answer_start,
            TimePoint::AnswerEnd => end,
        }
    }

    /// Writes the request's lines.
    fn log(&self, kept: &Kept, duration: Duration) {
        let settings = &self.serving.settings;
        let metadata = self.streams.as_ref().map(|streams| streams.metadata());
        let values = Values {
            headers: Some(kept),
            upstream: self.upstream.as_ref().map(|host| host.address()),
            status: StatusCode::from_u16(self.status).ok(),
            route: kept.route.as_deref(),
            cluster: kept.cluster.as_deref(),
            metadata: metadata.as_deref(),
            record: Some(self),
            client: kept.client,
            start: Some(kept.start),
            duration: Some(duration),
            ..Values::of(self.connection.info())
        };
        for (log, writer) in settings.http.access_logs.logs.iter().zip(&settings.logs) {
            let Some(writer) = writer else { continue };
            if log.filter.as_ref().is_some_and(|filter| !is_wanted(filter, &values, self.flags)) {
                continue;
            }
            writer.write(&log.format, &values);
        }
    }

    fn count(&self, duration: std::time::Duration) {
        let metrics = &self.serving.settings.metrics;
        metrics.downstream_rq_active.decrement();
        metrics.count_status(self.status);
        metrics.request_time.observe(duration);
        match self.body.as_ref().and_then(|body| body.failure()) {
            Some(BodyError::Idle) => metrics.downstream_rq_idle_timeout.increment(),
            Some(BodyError::Late) => metrics.downstream_rq_timeout.increment(),
            _ => {}
        }
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
            self.connection.given_up(duration);
        }
        self.count(duration);
        self.connection.end();
        if let Some(streams) = &self.streams {
            self.flags |= streams.flags();
        }
        self.count_destination(duration);
        let bytes_received = self.bytes_received();
        if let Some(streams) = &self.streams {
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
        if let Some(kept) = self.kept.take() {
            self.log(&kept, duration);
        }
        if let Some(span) = self.span.take() {
            span.end(self, duration);
        }
    }
}
