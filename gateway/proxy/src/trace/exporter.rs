// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Spans on their way to a collector: gathered on the worker, sent many at a time, dropped and counted where the collector can not keep up.
//! No request ever waits for them.

use crate::callout::{CallError, Callout, GrpcError};
use crate::otlp::{
    ExportTraceServiceRequest, ExportTraceServiceResponse, InstrumentationScope, Resource, ResourceSpans,
    ScopeSpans, Span, attribute,
};
use crate::worker::Worker;
use gateway_config::Collector;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, Uri};
use prost::Message;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::{Instant, timeout_at};

/// Spans that wait; more are dropped.
const WAITING: usize = 4096;
/// Spans in one message.
const BATCH: usize = 512;
/// The longest that a span waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// Time for one message where the service has no limit of its own.
const LIMIT: Duration = Duration::from_secs(10);
/// What a collector's answer may have, bytes.
const MAX_ANSWER: usize = 64 << 10;
const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// Numbers of all exporters of the process.
#[derive(Debug, Default)]
pub(crate) struct Exports {
    pub(crate) sent: AtomicU64,
    pub(crate) dropped: AtomicU64,
}

/// A worker's way to one collector.
#[derive(Debug)]
pub(crate) struct Exporter {
    spans: mpsc::Sender<Span>,
    exports: Arc<Exports>,
}

impl Exporter {
    /// Starts to gather for a collector; ends, with everything sent, once nobody has it any more.
    pub(crate) fn start(worker: &Rc<Worker>, collector: &Collector, service: &str) -> Rc<Self> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let exports = Arc::clone(&worker.shared().exports);
        let sending = Sending {
            callout: Callout::new(worker),
            collector: collector.clone(),
            resource: Resource {
                attributes: vec![
                    attribute("service.name", service),
                    attribute("telemetry.sdk.language", "rust"),
                    attribute("telemetry.sdk.name", "gatefleet"),
                    attribute("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
                ],
            },
            exports: Arc::clone(&exports),
        };
        spawn_local(sending.run(receiver));
        Rc::new(Self { spans: sender, exports })
    }

    /// Takes a span; never waits.
    pub(crate) fn take(&self, span: Span) {
        if self.spans.try_send(span).is_err() {
            self.exports.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

struct Sending {
    callout: Callout,
    collector: Collector,
    resource: Resource,
    exports: Arc<Exports>,
}

impl Sending {
    async fn run(self, mut spans: mpsc::Receiver<Span>) {
        let mut failing = false;
        let mut batch = Vec::new();
        while spans.recv_many(&mut batch, BATCH).await > 0 {
            let end = Instant::now() + GATHER;
            while batch.len() < BATCH {
                let room = BATCH - batch.len();
                let more = spans.recv_many(&mut batch, room);
                if !matches!(timeout_at(end, more).await, Ok(1..)) {
                    break;
                }
            }
            let count = batch.len() as u64;
            match self.send(std::mem::take(&mut batch)).await {
                Ok(()) => {
                    self.exports.sent.fetch_add(count, Ordering::Relaxed);
                    failing = false;
                }
                Err(error) => {
                    self.exports.dropped.fetch_add(count, Ordering::Relaxed);
                    if !failing {
                        tracing::warn!(%error, spans = count, "spans are lost: the collector does not take them");
                    }
                    failing = true;
                }
            }
        }
    }

    async fn send(&self, spans: Vec<Span>) -> Result<(), GrpcError> {
        let scope =
            InstrumentationScope { name: "gatefleet".into(), version: env!("CARGO_PKG_VERSION").into() };
        let message = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(self.resource.clone()),
                scope_spans: vec![ScopeSpans { scope: Some(scope), spans }],
            }],
        };
        match &self.collector {
            Collector::Grpc(service) => {
                let answer =
                    self.callout.unary::<ExportTraceServiceResponse>(service, EXPORT, &message, LIMIT);
                answer.await.map(drop)
            }
            Collector::Http(service) => {
                let mut request = Request::new(message.encode_to_vec().into());
                *request.method_mut() = Method::POST;
                *request.uri_mut() = Uri::from(service.path.clone());
                request.headers_mut().insert(HOST, service.authority.clone());
                let kind = HeaderValue::from_static("application/x-protobuf");
                request.headers_mut().insert(CONTENT_TYPE, kind);
                let answer =
                    self.callout.http(&service.cluster, request, service.timeout, MAX_ANSWER).await?;
                if answer.status().is_success() { Ok(()) } else { Err(GrpcError::Call(CallError::Broken)) }
            }
        }
    }
}
