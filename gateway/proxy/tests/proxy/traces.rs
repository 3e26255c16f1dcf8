// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Spans as a collector gets them, over gRPC and over HTTP, and what the upstream is told of the trace.

use crate::client::{Answer, Client};
use crate::config::{any, chain, cluster, host, http, http2_cluster, listener, route, to};
use crate::gateway::Gateway;
use crate::origin::{Origin, full, nobody};
use crate::services::{grpc, http_uri};
use bytes::Bytes;
use gateway_xds_api::pb::envoy::config::core::v3::HttpService;
use gateway_xds_api::pb::envoy::config::trace::v3::{OpenTelemetryConfig, tracing};
use gateway_xds_api::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::Tracing;
use gateway_xds_api::pb::envoy::r#type::tracing::v3::{CustomTag, custom_tag};
use gateway_xds_api::pb::envoy::r#type::v3::Percent;
use gateway_xds_api::pb::opentelemetry::proto::common::v1::{KeyValue, any_value};
use ::http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use parking_lot::Mutex;
use prost::Message;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(2);
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

/// What is read of `opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest`, as opentelemetry-proto says.
#[derive(Clone, PartialEq, Message)]
struct Export {
    #[prost(message, repeated, tag = "1")]
    resources: Vec<OfResource>,
}

#[derive(Clone, PartialEq, Message)]
struct OfResource {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scopes: Vec<OfScope>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct OfScope {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span: Vec<u8>,
    #[prost(string, tag = "3")]
    state: String,
    #[prost(bytes = "vec", tag = "4")]
    parent: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start: u64,
    #[prost(fixed64, tag = "8")]
    end: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |pair: &KeyValue| match pair.value.clone().and_then(|value| value.value) {
        Some(any_value::Value::StringValue(text)) => text,
        other => format!("{other:?}"),
    };
    attributes.iter().map(|pair| (pair.key.clone(), text(pair))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

type Seen = Arc<Mutex<Vec<(String, OfResource)>>>;

/// A collector for both protocols.
async fn collector() -> (Origin, Seen) {
    let seen = Seen::default();
    let kept = Arc::clone(&seen);
    let origin = Origin::start(move |request| {
        let kept = Arc::clone(&kept);
        async move {
            let path = request.uri().path().to_owned();
            let grpc = request.headers()["content-type"] == "application/grpc";
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let message = if grpc { body.slice(5..) } else { body };
            let export = Export::decode(message).unwrap();
            kept.lock().extend(export.resources.into_iter().map(|resource| (path.clone(), resource)));
            if !grpc {
                return Response::new(full(""));
            }
            let trailers =
                HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
            let frames = [Frame::data(Bytes::from_static(&[0; 5])), Frame::trailers(trailers)].map(Ok);
            let body = StreamBody::new(futures::stream::iter(frames));
            Response::builder().header("content-type", "application/grpc").body(BodyExt::boxed(body)).unwrap()
        }
    })
    .await;
    (origin, seen)
}

fn percent(value: f64) -> Option<Percent> {
    Some(Percent { value })
}

fn tracing(config: &OpenTelemetryConfig, random: f64) -> Tracing {
    let literal = custom_tag::Type::Literal(custom_tag::Literal { value: "shop".to_owned() });
    let header = custom_tag::Type::RequestHeader(custom_tag::Header {
        name: "x-tier".to_owned(),
        default_value: "none".to_owned(),
    });
    let tags = [("team", literal), ("tier", header)];
    Tracing {
        provider: Some(tracing::Http {
            name: "envoy.tracers.opentelemetry".to_owned(),
            config_type: Some(tracing::http::ConfigType::TypedConfig(any(config))),
        }),
        random_sampling: percent(random),
        custom_tags: tags
            .into_iter()
            .map(|(tag, kind)| CustomTag { tag: tag.to_owned(), r#type: Some(kind) })
            .collect(),
        ..Default::default()
    }
}

fn over_grpc() -> OpenTelemetryConfig {
    OpenTelemetryConfig {
        grpc_service: Some(grpc("collector", LIMIT)),
        service_name: "edge".to_owned(),
        ..Default::default()
    }
}

async fn gateway(settings: Tracing, collector: SocketAddr, grpc: bool) -> (Gateway, Origin) {
    let origin = Origin::echo().await;
    let mut manager = http(vec![host(vec![route("/", to("one"))])]);
    manager.tracing = Some(settings);
    let to_collector = if grpc { http2_cluster } else { cluster };
    let clusters = vec![cluster("one", &[origin.address]), to_collector("collector", &[collector])];
    (Gateway::listening(&listener(vec![chain(&manager)]), clusters).await, origin)
}

async fn get(gateway: &Gateway, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::get("/shop?q=1").header("host", "a.example").header("user-agent", "test");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Client::http1(gateway.address).await.send(request.body(full("")).unwrap()).await
}

async fn spans(seen: &Seen, count: usize) -> Vec<Span> {
    for _ in 0..100 {
        let spans: Vec<Span> = seen
            .lock()
            .iter()
            .flat_map(|(_, resource)| resource.scopes.iter().flat_map(|scope| scope.spans.clone()))
            .collect();
        if spans.len() >= count {
            return spans;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{count} spans do not come: {:?}", seen.lock());
}

fn told(answer: &Answer, name: &str) -> String {
    let prefix = format!("{name}: ");
    let line = answer.body.lines().find(|line| line.starts_with(&prefix));
    line.map(|line| line[prefix.len()..].to_owned()).unwrap_or_default()
}

#[tokio::test]
async fn a_trace_is_continued_and_its_span_is_exported() {
    let (collector, seen) = collector().await;
    let (gateway, _origin) = gateway(tracing(&over_grpc(), 100.0), collector.address, true).await;
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let answer = get(&gateway, &[("traceparent", &parent), ("tracestate", "a=1"), ("x-tier", "gold")]).await;
    assert_eq!(answer.status.as_u16(), 200);
    let span = spans(&seen, 1).await.remove(0);
    assert_eq!((hex(&span.trace), hex(&span.parent)), (TRACE.to_owned(), SPAN.to_owned()));
    assert_eq!(told(&answer, "traceparent"), format!("00-{TRACE}-{}-01", hex(&span.span)));
    assert_eq!((told(&answer, "tracestate"), &*span.state), ("a=1".to_owned(), "a=1"));
    assert_eq!((&*span.name, span.kind), ("ingress", 2));
    assert!(span.start > 1_700_000_000_000_000_000 && span.end >= span.start, "{span:?}");
    let attributes = texts(&span.attributes);
    for (name, value) in [
        ("http.method", "GET"),
        ("http.url", "http://a.example/shop?q=1"),
        ("http.protocol", "HTTP/1.1"),
        ("http.status_code", "200"),
        ("component", "proxy"),
        ("upstream_cluster", "one"),
        ("user_agent", "test"),
        ("peer.address", "127.0.0.1"),
        ("response_flags", "-"),
        ("team", "shop"),
        ("tier", "gold"),
        ("guid:x-request-id", &told(&answer, "x-request-id")),
    ] {
        assert_eq!(attributes.get(name).map(String::as_str), Some(value), "{attributes:?}");
    }
    let seen = seen.lock();
    assert_eq!(seen[0].0, "/opentelemetry.proto.collector.trace.v1.TraceService/Export");
    let resource = texts(&seen[0].1.resource.as_ref().unwrap().attributes);
    assert_eq!(resource["service.name"], "edge");
}

#[tokio::test]
async fn what_is_not_sampled_is_told_and_not_exported() {
    let (collector, seen) = collector().await;
    let (gateway, _origin) = gateway(tracing(&over_grpc(), 0.0), collector.address, true).await;
    let parent = format!("00-{TRACE}-{SPAN}-00");
    let answer = get(&gateway, &[("traceparent", &parent)]).await;
    assert!(told(&answer, "traceparent").starts_with(&format!("00-{TRACE}-")), "{}", answer.body);
    assert!(told(&answer, "traceparent").ends_with("-00"));
    for headers in [vec![], vec![("traceparent", format!("00-{TRACE}-{SPAN}-01"))]] {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = get(&gateway, &headers).await;
        assert!(told(&answer, "traceparent").ends_with("-00"), "{}", answer.body);
    }
    // A client that asks for it gets a span; it comes alone.
    get(&gateway, &[("x-client-trace-id", "mine")]).await;
    let spans = spans(&seen, 1).await;
    assert_eq!((spans.len(), spans[0].parent.len()), (1, 0));
}

#[tokio::test]
async fn spans_go_over_http_too_and_errors_are_told() {
    let (collector, seen) = collector().await;
    let config = OpenTelemetryConfig {
        http_service: Some(HttpService {
            http_uri: Some(http_uri("collector", "http://collector.example/v1/traces", LIMIT)),
            ..Default::default()
        }),
        ..Default::default()
    };
    let (gateway, origin) = gateway(tracing(&config, 100.0), collector.address, false).await;
    drop(origin);
    assert_eq!(get(&gateway, &[]).await.status.as_u16(), 503);
    let span = spans(&seen, 1).await.remove(0);
    let attributes = texts(&span.attributes);
    assert_eq!((&*attributes["http.status_code"], &*attributes["error"]), ("503", "true"));
    assert_eq!(attributes["guid:x-request-id"].as_bytes()[14], b'9');
    assert_eq!(seen.lock()[0].0, "/v1/traces");
}

#[tokio::test]
async fn a_collector_that_is_not_there_costs_no_request() {
    let (gateway, _origin) = gateway(tracing(&over_grpc(), 100.0), nobody().await, true).await;
    for _ in 0..20 {
        assert_eq!(get(&gateway, &[]).await.status.as_u16(), 200);
    }
    for _ in 0..100 {
        if gateway.metric("gatefleet_trace_spans_dropped_total", "") == 20 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("lost spans are not counted");
}
