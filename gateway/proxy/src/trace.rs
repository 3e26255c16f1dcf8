// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Traces: which requests get a span, what the upstream is told, and what the span says at the request's end.
//!
//! As Envoy's OpenTelemetry tracer: a client's `traceparent` is continued, and sampled where it is and the shares of the configuration take
//! the request too, by its id where it has one. Besides that, B3 headers are continued where there is no `traceparent`.

mod context;
mod exporter;

pub(crate) use context::Context;
pub(crate) use exporter::{Exporter, Exports};

use crate::access_log::protocol_text;
use crate::otlp;
use crate::otlp::attribute;
use crate::record::Record;
use gateway_config::{TagValue, Tracing};
use gateway_filter_api::RequestHead;
use gateway_xds_api::pb::opentelemetry::proto::common::v1::KeyValue;
use http::header::USER_AGENT;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static CLIENT_TRACE: HeaderName = HeaderName::from_static("x-client-trace-id");
static FORCE_TRACE: HeaderName = HeaderName::from_static("x-envoy-force-trace");
static DOWNSTREAM_CLUSTER: HeaderName = HeaderName::from_static("x-envoy-downstream-service-cluster");
static OPERATION: HeaderName = HeaderName::from_static("x-envoy-decorator-operation");

/// Where the reason stands in a request's id (Envoy's `UUIDRequestIDExtension`).
const REASON: usize = 14;
/// `SPAN_KIND_SERVER`.
const SERVER: i32 = 2;
/// `STATUS_CODE_ERROR`.
const ERROR: i32 = 2;

/// What a filter chain's requests are traced with, on one worker.
#[derive(Clone, Debug)]
pub(crate) struct Tracer {
    pub(crate) tracing: Arc<Tracing>,
    pub(crate) exporter: Rc<Exporter>,
}

/// A span that is sampled and not over yet.
#[derive(Debug)]
pub(crate) struct OpenSpan {
    tracer: Tracer,
    context: Context,
    parent: Option<[u8; 8]>,
    state: Option<HeaderValue>,
    start: SystemTime,
    name: String,
    attributes: Vec<KeyValue>,
    /// Where the request is to go.
    pub(crate) cluster: Option<Box<str>>,
}

impl Tracer {
    /// Begins a request's span: the upstream is told in any case, and what is not sampled costs no more than that.
    pub(crate) fn begin(&self, head: &mut RequestHead) -> Option<Box<OpenSpan>> {
        let operation = head.headers.remove(&OPERATION);
        let found = Context::of(&head.headers);
        // Whoever began the trace and the shares here both have a say; the id tells of the shares alone.
        let sampled = self.samples(&mut head.headers) && found.as_ref().is_none_or(|parent| parent.sampled);
        let context = Context::new(found.as_ref(), sampled);
        if self.tracing.propagate {
            context.tell(&mut head.headers, found.as_ref());
            join_state(&mut head.headers);
        }
        sampled.then(|| {
            let operation = operation.as_ref().and_then(|value| value.to_str().ok());
            Box::new(OpenSpan {
                tracer: self.clone(),
                context,
                parent: found.map(|parent| parent.span),
                state: head.headers.get(&TRACESTATE).cloned(),
                start: SystemTime::now(),
                name: operation.unwrap_or("ingress").to_owned(),
                attributes: self.attributes_of(head),
                cluster: None,
            })
        })
    }

    /// Whether the shares take the request; its id tells other proxies.
    fn samples(&self, headers: &mut HeaderMap) -> bool {
        let number = headers.get(&REQUEST_ID).and_then(stable_number).unwrap_or_else(rand::random);
        let reason = if headers.contains_key(&CLIENT_TRACE) && self.tracing.client.accepts(number) {
            b'b'
        } else if headers.contains_key(&FORCE_TRACE) {
            b'a'
        } else if self.tracing.random.accepts(number) {
            b'9'
        } else {
            return false;
        };
        if !self.tracing.overall.accepts(number) {
            return false;
        }
        if let Some(id) = headers.get(&REQUEST_ID).filter(|id| id.len() == 36) {
            let mut text = id.as_bytes().to_vec();
            text[REASON] = reason;
            if let Ok(value) = HeaderValue::from_bytes(&text) {
                headers.insert(REQUEST_ID.clone(), value);
            }
        }
        true
    }

    /// What is known from the start.
    fn attributes_of(&self, head: &RequestHead) -> Vec<KeyValue> {
        let header = |name: &HeaderName| head.headers.get(name).map(|value| text(value.as_bytes()));
        let scheme = if head.https { "https" } else { "http" };
        let mut path = head.path.as_str();
        if let Some((end, _)) =
            path.char_indices().take_while(|(at, _)| *at <= self.tracing.longest_path).last()
            && path.len() > self.tracing.longest_path
        {
            path = &path[..end];
        }
        let mut attributes = vec![
            attribute("component", "proxy"),
            attribute("http.method", head.method.as_str()),
            attribute("http.url", format!("{scheme}://{}{path}", text(head.authority.as_bytes()))),
            attribute("http.protocol", protocol_text(head.version)),
            attribute("user_agent", header(&USER_AGENT).unwrap_or_else(|| "-".to_owned())),
            attribute("downstream_cluster", header(&DOWNSTREAM_CLUSTER).unwrap_or_else(|| "-".to_owned())),
        ];
        if let Some(id) = header(&REQUEST_ID) {
            attributes.push(attribute("guid:x-request-id", id));
        }
        for (name, value) in &self.tracing.tags {
            let value = match value {
                TagValue::Literal(value) => value.to_string(),
                TagValue::Header(name, otherwise) => header(name).unwrap_or_else(|| otherwise.to_string()),
            };
            if !value.is_empty() {
                attributes.push(attribute(name, value));
            }
        }
        attributes
    }
}

impl OpenSpan {
    /// The request is over.
    pub(crate) fn end(self, record: &Record, duration: Duration) {
        let Self { tracer, context, parent, state, start, name, mut attributes, cluster } = self;
        let info = record.connection.info();
        attributes.extend([
            attribute("node_id", record.connection.worker().shared().options.node_id.as_str()),
            attribute("peer.address", info.direct_remote.ip().to_string()),
            attribute("request_size", record.bytes_received().to_string()),
            attribute("response_size", record.bytes_sent.to_string()),
            attribute("response_flags", record.flags.to_string()),
            attribute("http.status_code", record.status.to_string()),
        ]);
        if let Some(cluster) = cluster {
            attributes.push(attribute("upstream_cluster", &*cluster));
            attributes.push(attribute("upstream_cluster.name", cluster));
        }
        if let Some(host) = &record.upstream {
            attributes.push(attribute("upstream_address", host.address().to_string()));
        }
        let failed = record.status == 0 || record.status >= 500;
        if failed {
            attributes.push(attribute("error", "true"));
        }
        let nanos = |at: SystemTime| {
            let since = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
            u64::try_from(since).unwrap_or(u64::MAX)
        };
        tracer.exporter.take(otlp::Span {
            trace_id: context.trace.to_vec(),
            span_id: context.span.to_vec(),
            trace_state: state.map(|state| text(state.as_bytes())).unwrap_or_default(),
            parent_span_id: parent.map(|parent| parent.to_vec()).unwrap_or_default(),
            name,
            kind: SERVER,
            start_time_unix_nano: nanos(start),
            end_time_unix_nano: nanos(start + duration),
            attributes,
            status: failed.then(|| otlp::Status { message: String::new(), code: ERROR }),
        });
    }
}

/// Lines of `tracestate` are one list (W3C Trace Context, 3.3).
fn join_state(headers: &mut HeaderMap) {
    let lines: Vec<&[u8]> = headers.get_all(&TRACESTATE).iter().map(HeaderValue::as_bytes).collect();
    if lines.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&lines.join(&b','))
    {
        headers.insert(TRACESTATE.clone(), joined);
    }
}

/// The first eight digits of the request's id, so that all proxies on its way decide alike.
fn stable_number(id: &HeaderValue) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(id.as_bytes().get(..8)?).ok()?, 16).ok()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
