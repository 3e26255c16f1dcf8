// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Processing services that change, answer, replace, fail, hang and talk nonsense.

use crate::client::{Answer, Client};
use crate::config::{any, chain, cluster, filter, host, http, http2_cluster, listener, route, time, to};
use crate::gateway::Gateway;
use crate::origin::{Origin, full, nobody};
use crate::processor::{Act, body, bytes, header, kind, matching, piece, processor, reply, set};
use crate::services::{Service, grpc};
use ::http::{HeaderMap, Request, Response};
use gateway_xds_api::pb::envoy::config::core::v3::HeaderValue;
use gateway_xds_api::pb::envoy::config::route::v3::Route;
use gateway_xds_api::pb::envoy::extensions::filters::http::ext_proc::v3::{
    ExtProcOverrides, ExtProcPerRoute, ExternalProcessor, ProcessingMode, ext_proc_per_route,
    processing_mode::{BodySendMode, HeaderSendMode},
};
use gateway_xds_api::pb::envoy::extensions::filters::http::router::v3::Router;
use gateway_xds_api::pb::envoy::service::ext_proc::v3::{
    CommonResponse, GrpcStatus, ImmediateResponse, ProcessingRequest, ProcessingResponse,
    common_response::ResponseStatus, processing_response::Response as Reply,
};
use gateway_xds_api::pb::envoy::r#type::v3::HttpStatus;
use http_body_util::{BodyExt, Full};
use std::time::Duration;
use tonic::Status;

const LIMIT: Duration = Duration::from_secs(5);

fn config(mode: ProcessingMode) -> ExternalProcessor {
    ExternalProcessor {
        grpc_service: Some(grpc("proc", Duration::ZERO)),
        processing_mode: Some(mode),
        message_timeout: time(LIMIT),
        ..ExternalProcessor::default()
    }
}

fn bodies(request: BodySendMode, response: BodySendMode) -> ProcessingMode {
    ProcessingMode {
        request_body_mode: request.into(),
        response_body_mode: response.into(),
        request_trailer_mode: HeaderSendMode::Send.into(),
        response_trailer_mode: HeaderSendMode::Send.into(),
        ..ProcessingMode::default()
    }
}

async fn gateway(config: &ExternalProcessor, service: &Service, routes: Vec<Route>) -> (Gateway, Origin) {
    let origin = Origin::echo().await;
    let mut settings = http(vec![host(routes)]);
    settings.http_filters = vec![filter("proc", config), filter("router", &Router::default())];
    let clusters = vec![cluster("one", &[origin.address]), http2_cluster("proc", &[service.address])];
    (Gateway::listening(&listener(vec![chain(&settings)]), clusters).await, origin)
}

async fn post(gateway: &Gateway, path: &str, text: &'static str) -> Answer {
    let request = Request::post(path).header("host", "a.example").header("x-secret", "s").body(full(text));
    Client::http1(gateway.address).await.send(request.unwrap()).await
}

fn changed(message: &ProcessingRequest) -> CommonResponse {
    let mut common = CommonResponse::default();
    match kind(message) {
        "request" => {
            common.header_mutation =
                set(&[("x-user", "ann"), ("content-length", "3"), ("x-envoy-a", "1")], &["x-secret", "host"]);
        }
        "response" => common.header_mutation = set(&[("x-checked", "yes"), (":status", "201")], &[]),
        "request trailers" | "response trailers" => {
            common.header_mutation = set(&[("x-trailer", "changed")], &[]);
        }
        _ => {
            let (text, last) = bytes(message).unwrap();
            common.body_mutation = body(&format!("<{text}{}>", if last { "!" } else { "" }));
        }
    }
    common
}

#[tokio::test]
async fn heads_change_within_the_rules() {
    let (service, seen) = processor(|message| Act::Reply(vec![matching(message, changed(message))])).await;
    let mut settings = config(ProcessingMode::default());
    settings.request_attributes = vec!["request.path".to_owned(), "source.address".to_owned()];
    let (gateway, _origin) = gateway(&settings, &service, vec![route("/", to("one"))]).await;
    let answer = post(&gateway, "/a?b=c", "hello").await;
    assert_eq!((answer.status.as_u16(), answer.header("x-checked")), (201, Some("yes")));
    assert_eq!((answer.lines("x-user"), answer.lines("x-secret")), (vec!["x-user: ann"], vec![]));
    assert_eq!(answer.lines("content-length"), ["content-length: 5"]);
    assert_eq!(answer.lines("host"), ["host: a.example"]);
    assert!(answer.lines("x-envoy-a").is_empty(), "{}", answer.body);
    let seen = seen.lock();
    let [first, second] = &seen[..] else { panic!("{seen:?}") };
    for (name, value) in [(":method", "POST"), (":path", "/a?b=c"), ("x-secret", "s")] {
        assert_eq!(header(first, name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(header(second, ":status").as_deref(), Some("200"));
    assert!(first.protocol_config.is_some() && second.protocol_config.is_none());
    let attributes = &first.attributes["envoy.filters.http.ext_proc"].fields;
    assert_eq!(attributes.keys().collect::<std::collections::BTreeSet<_>>().len(), 2);
    assert_eq!(gateway.metric("envoy_http_ext_proc_streams_started", ""), 1);
    assert_eq!(gateway.metric("envoy_http_ext_proc_stream_msgs_sent", ""), 2);
}

#[tokio::test]
async fn bodies_change_in_every_mode() {
    let (service, seen) = processor(|message| Act::Reply(vec![matching(message, changed(message))])).await;
    for mode in [BodySendMode::Streamed, BodySendMode::Buffered, BodySendMode::BufferedPartial] {
        seen.lock().clear();
        let settings = config(bodies(mode, mode));
        let (gateway, _origin) = gateway(&settings, &service, vec![route("/", to("one"))]).await;
        let answer = post(&gateway, "/", "hello").await;
        assert!(answer.body.starts_with('<') && answer.body.ends_with("!>"), "{mode:?}: {}", answer.body);
        assert!(answer.body.contains("body: <hello"), "{mode:?}: {}", answer.body);
        let kinds: Vec<_> = seen.lock().iter().map(kind).collect();
        assert_eq!(&kinds[..2], ["request", "request body"], "{mode:?}");
        assert!(kinds.contains(&"response body"));
        // Without a body there is nothing to show.
        seen.lock().clear();
        let answer = Client::http1(gateway.address).await.get("/").await;
        assert_eq!(answer.status.as_u16(), 201);
        assert!(!seen.lock().iter().any(|message| kind(message) == "request body"));
    }
}

#[tokio::test]
async fn what_is_larger_than_may_be_kept_is_shown_in_part_or_refused() {
    let large: &'static str = Box::leak("x".repeat(3 << 20).into_boxed_str());
    let (service, seen) = processor(|message| {
        let mut common = CommonResponse::default();
        if bytes(message).is_some() {
            common.body_mutation = body("start");
        }
        Act::Reply(vec![matching(message, common)])
    })
    .await;
    for (mode, status) in [(BodySendMode::Buffered, 413), (BodySendMode::BufferedPartial, 200)] {
        seen.lock().clear();
        let settings = config(bodies(mode, BodySendMode::None));
        let (gateway, _origin) = gateway(&settings, &service, vec![route("/", to("one"))]).await;
        let answer = post(&gateway, "/", large).await;
        assert_eq!(answer.status.as_u16(), status, "{mode:?}");
        if status == 200 {
            let seen = seen.lock();
            let parts: Vec<_> = seen.iter().filter_map(bytes).collect();
            let [(text, last)] = &parts[..] else { panic!("{} parts", parts.len()) };
            assert!(text.len() >= 1 << 20 && !last, "{} {last}", text.len());
            let passed = answer.lines("body: start")[0].len() - "body: start".len();
            assert_eq!(passed + text.len(), large.len());
        }
    }
}

#[tokio::test]
async fn pieces_both_ways_and_trailers() {
    // The head's reply comes last but for the body's, as of a service that looks at all before it decides.
    let (service, seen) = processor(|message| match (kind(message), bytes(message)) {
        ("request" | "response", _) => Act::Silent,
        (which, Some((text, true))) => {
            let head = if which == "request body" {
                Reply::RequestHeaders(Default::default())
            } else {
                Reply::ResponseHeaders(Default::default())
            };
            let pieces = [piece("one ", false), piece(&text.to_uppercase(), true)];
            let pieces = pieces.into_iter().map(|piece| matching(message, piece));
            Act::Reply(std::iter::once(reply(head)).chain(pieces).collect())
        }
        _ => Act::Silent,
    })
    .await;
    let mode = bodies(BodySendMode::FullDuplexStreamed, BodySendMode::FullDuplexStreamed);
    let (gateway, _origin) = gateway(&config(mode), &service, vec![route("/", to("one"))]).await;
    let answer = post(&gateway, "/", "hello").await;
    assert!(answer.body.starts_with("one POST / HTTP/1.1"), "{}", answer.body);
    assert!(answer.body.ends_with("BODY: ONE HELLO"), "{}", answer.body);
    assert_eq!(
        seen.lock().iter().map(kind).collect::<Vec<_>>(),
        ["request", "request body", "response", "response body"]
    );
}

#[tokio::test]
async fn trailers_change_with_every_kind_of_body() {
    let origin = Origin::start(|_| async {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        let body = Full::new("answer".into()).with_trailers(async move { Some(Ok(trailers)) });
        Response::new(BodyExt::boxed(body.map_err(|never| match never {})))
    })
    .await;
    let (service, seen) = processor(|message| Act::Reply(vec![matching(message, changed(message))])).await;
    for (mode, expected) in [
        (BodySendMode::None, "answer"),
        (BodySendMode::Streamed, "<answer>"),
        (BodySendMode::Buffered, "<answer>"),
        (BodySendMode::BufferedPartial, "<answer>"),
    ] {
        seen.lock().clear();
        let mut settings = http(vec![host(vec![route("/", to("one"))])]);
        let config = config(bodies(BodySendMode::None, mode));
        settings.http_filters = vec![filter("proc", &config), filter("router", &Router::default())];
        let clusters =
            vec![http2_cluster("one", &[origin.address]), http2_cluster("proc", &[service.address])];
        let gateway = Gateway::listening(&listener(vec![chain(&settings)]), clusters).await;
        let answer = Client::http2(gateway.address).await.get("/").await;
        assert_eq!(answer.body, expected, "{mode:?}");
        let trailers = answer.trailers.unwrap();
        assert_eq!(
            (&trailers["grpc-status"], &trailers["x-trailer"]),
            (
                &"0".parse::<::http::HeaderValue>().unwrap(),
                &"changed".parse::<::http::HeaderValue>().unwrap()
            )
        );
    }
}

fn immediate(at: &'static str) -> impl Fn(&ProcessingRequest) -> Act + Send + Sync {
    move |message| {
        if kind(message) != at {
            return Act::Reply(vec![matching(message, CommonResponse::default())]);
        }
        Act::Reply(vec![reply(Reply::ImmediateResponse(ImmediateResponse {
            status: Some(HttpStatus { code: 418 }),
            headers: set(&[("x-why", "tea")], &[]),
            body: b"no coffee".to_vec(),
            grpc_status: Some(GrpcStatus { status: 7 }),
            details: "short and stout".to_owned(),
        }))])
    }
}

#[tokio::test]
async fn the_service_answers_itself() {
    for at in ["request", "request body", "response", "response body"] {
        let (service, _seen) = processor(immediate(at)).await;
        let settings = config(bodies(BodySendMode::Buffered, BodySendMode::Buffered));
        let (gateway, origin) = gateway(&settings, &service, vec![route("/", to("one"))]).await;
        let answer = post(&gateway, "/", "hello").await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("x-why"), &*answer.body),
            (418, Some("tea"), "no coffee"),
            "{at}"
        );
        assert_eq!(origin.count(), usize::from(at.starts_with("response")), "{at}");
        let request = Request::post("/").header("host", "a").header("content-type", "application/grpc");
        let answer = Client::http1(gateway.address).await.send(request.body(full("")).unwrap()).await;
        if !at.ends_with("request body") {
            assert_eq!((answer.status.as_u16(), answer.header("grpc-status")), (200, Some("7")), "{at}");
        }
    }
    let (service, _seen) = processor(immediate("request")).await;
    let settings =
        ExternalProcessor { disable_immediate_response: true, ..config(ProcessingMode::default()) };
    let (gateway, _origin) = gateway(&settings, &service, vec![route("/", to("one"))]).await;
    assert_eq!(post(&gateway, "/", "").await.status.as_u16(), 200);
}

#[tokio::test]
async fn the_body_and_method_are_replaced_where_the_head_is() {
    let (service, seen) = processor(|message| {
        Act::Reply(vec![matching(
            message,
            CommonResponse {
                status: ResponseStatus::ContinueAndReplace.into(),
                header_mutation: set(&[("x-replaced", "1")], &[]),
                body_mutation: body(&format!("instead of the {}", kind(message))),
                ..CommonResponse::default()
            },
        )])
    })
    .await;
    let settings = config(bodies(BodySendMode::Streamed, BodySendMode::Streamed));
    for origin_body in [true, false] {
        let (gateway, _echo) = gateway(&settings, &service, vec![route("/", to("one"))]).await;
        seen.lock().clear();
        let answer = match origin_body {
            true => post(&gateway, "/", "hello").await,
            false => Client::http1(gateway.address).await.get("/").await,
        };
        assert_eq!(answer.body, "instead of the response");
        assert_eq!(answer.header("x-replaced"), Some("1"));
        assert_eq!(seen.lock().iter().map(kind).collect::<Vec<_>>(), ["request", "response"]);
    }
    let mode = ProcessingMode { response_header_mode: HeaderSendMode::Skip.into(), ..Default::default() };
    let (gateway, _echo) = gateway(&config(mode), &service, vec![route("/", to("one"))]).await;
    let answer = Client::http1(gateway.address).await.get("/").await;
    assert_eq!(answer.lines("body"), ["body: instead of the request"]);
    assert_eq!(answer.lines("content-length"), ["content-length: 22"]);
}

fn misbehave(way: &'static str) -> impl Fn(&ProcessingRequest) -> Act + Send + Sync {
    move |message| match way {
        "silent" => Act::Silent,
        "status" => Act::End(Err(Status::internal("broken"))),
        "spurious" => Act::Reply(vec![reply(Reply::ResponseTrailers(Default::default()))]),
        "wrong kind" => Act::Reply(vec![reply(Reply::RequestBody(Default::default()))]),
        "mutation" => Act::Reply(vec![matching(
            message,
            CommonResponse {
                header_mutation: set(&[("x-a", "1\r\nx-b: 2")], &[]),
                ..CommonResponse::default()
            },
        )]),
        "end" => Act::End(Ok(())),
        _ => Act::Reply(vec![ProcessingResponse::default()]),
    }
}

#[tokio::test]
async fn a_service_that_fails_refuses_unless_told_otherwise() {
    for (way, closed, open) in [
        ("silent", 504, 200),
        ("status", 503, 200),
        ("spurious", 504, 200),
        ("wrong kind", 500, 200),
        ("mutation", 500, 500),
        ("nothing", 500, 200),
        ("end", 200, 200),
    ] {
        let (service, _seen) = processor(misbehave(way)).await;
        for (allow, status) in [(false, closed), (true, open)] {
            let settings = ExternalProcessor {
                failure_mode_allow: allow,
                message_timeout: time(Duration::from_millis(300)),
                status_on_error: Some(HttpStatus { code: 503 }),
                ..config(ProcessingMode::default())
            };
            let (gateway, origin) = gateway(&settings, &service, vec![route("/", to("one"))]).await;
            let answer = post(&gateway, "/", "hello").await;
            assert_eq!(answer.status.as_u16(), status, "{way} {allow}");
            assert_eq!(origin.count(), usize::from(status == 200), "{way} {allow}");
            if status == 200 {
                assert_eq!(answer.lines("body"), ["body: hello"]);
            }
        }
    }
}

#[tokio::test]
async fn nobody_there_refuses() {
    let (service, _seen) = processor(misbehave("end")).await;
    for allow in [false, true] {
        let config = ExternalProcessor {
            failure_mode_allow: allow,
            ..config(bodies(BodySendMode::Streamed, BodySendMode::Streamed))
        };
        let mut settings = http(vec![host(vec![route("/", to("one"))])]);
        settings.http_filters = vec![filter("proc", &config), filter("router", &Router::default())];
        let origin = Origin::echo().await;
        let clusters = vec![cluster("one", &[origin.address]), http2_cluster("proc", &[nobody().await])];
        let gateway = Gateway::listening(&listener(vec![chain(&settings)]), clusters).await;
        assert_eq!(post(&gateway, "/", "hello").await.status.as_u16(), if allow { 200 } else { 500 });
    }
    drop(service);
}

#[tokio::test]
async fn modes_and_time_are_the_services_to_choose_where_allowed() {
    let (service, seen) = processor(|message| {
        let mut answer = matching(message, changed(message));
        if kind(message) == "request" {
            let mut mode = bodies(BodySendMode::Buffered, BodySendMode::None);
            mode.response_header_mode = HeaderSendMode::Skip.into();
            answer.mode_override = Some(mode);
            let more = ProcessingResponse {
                override_message_timeout: time(Duration::from_secs(4)),
                ..ProcessingResponse::default()
            };
            return Act::Reply(vec![more, answer]);
        }
        Act::Reply(vec![answer])
    })
    .await;
    for (allow, expected) in [(true, vec!["request", "request body"]), (false, vec!["request", "response"])] {
        seen.lock().clear();
        let settings = ExternalProcessor {
            allow_mode_override: allow,
            max_message_timeout: time(LIMIT),
            ..config(ProcessingMode::default())
        };
        let (gateway, _origin) = gateway(&settings, &service, vec![route("/", to("one"))]).await;
        post(&gateway, "/", "hello").await;
        assert_eq!(seen.lock().iter().map(kind).collect::<Vec<_>>(), expected);
    }
}

#[tokio::test]
async fn routes_say_otherwise() {
    let (service, seen) = processor(|message| Act::Reply(vec![matching(message, changed(message))])).await;
    let own = |path: &str, setting: ext_proc_per_route::Override| {
        let mut route = route(path, to("one"));
        let setting = ExtProcPerRoute { r#override: Some(setting) };
        route.typed_per_filter_config.insert("proc".to_owned(), any(&setting));
        route
    };
    let overrides = ExtProcOverrides {
        processing_mode: Some(ProcessingMode {
            response_header_mode: HeaderSendMode::Skip.into(),
            ..ProcessingMode::default()
        }),
        grpc_initial_metadata: vec![HeaderValue {
            key: "x-tenant".to_owned(),
            value: "t".to_owned(),
            ..HeaderValue::default()
        }],
        ..ExtProcOverrides::default()
    };
    let routes = vec![
        own("/off", ext_proc_per_route::Override::Disabled(true)),
        own("/own", ext_proc_per_route::Override::Overrides(overrides)),
    ];
    let (gateway, _origin) = gateway(&config(ProcessingMode::default()), &service, routes).await;
    assert_eq!(post(&gateway, "/off", "").await.lines("x-user"), Vec::<&str>::new());
    assert!(seen.lock().is_empty());
    let answer = post(&gateway, "/own", "").await;
    assert_eq!((answer.status.as_u16(), answer.lines("x-user")), (200, vec!["x-user: ann"]));
    assert_eq!(seen.lock().iter().map(kind).collect::<Vec<_>>(), ["request"]);
}
