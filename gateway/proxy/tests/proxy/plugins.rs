// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Filters behind the seam, as the wasm host will be.

use crate::client::Client;
use crate::config::{chain, cluster, filter, host, http, listener, route, to};
use crate::gateway::{Gateway, options};
use crate::origin::{Origin, full};
use bytes::BytesMut;
use gateway_config::WasmFilter;
use gateway_filter_api::{
    ConnectionInfo, FilterContext, FilterError, FilterFactory, FilterProvider, HttpFilter, LocalResponse,
    Outcome, Pause, Phase, RequestLog, WorkerFilter,
};
use gateway_proxy::ProxyOptions;
use gateway_xds_api::pb::envoy::config::core::v3::{
    AsyncDataSource, DataSource, async_data_source, data_source,
};
use gateway_xds_api::pb::envoy::extensions::filters::http::router::v3::Router;
use gateway_xds_api::pb::envoy::extensions::filters::http::wasm::v3::Wasm;
use gateway_xds_api::pb::envoy::extensions::wasm::v3::{
    FailurePolicy, PluginConfig, VmConfig, plugin_config,
};
use http::{Request, StatusCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

#[derive(Debug, Default)]
struct Plugins {
    running: AtomicBool,
    logged: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Factory(Arc<AtomicUsize>, bool);

struct Worker(Arc<AtomicUsize>);

/// Counts ends; whether it wants bodies.
struct Stream(Arc<AtomicUsize>, bool);

impl FilterProvider<WasmFilter> for Plugins {
    fn factory(&self, _: &str, _: &Arc<WasmFilter>) -> Result<Arc<dyn FilterFactory>, FilterError> {
        Ok(Arc::new(Factory(Arc::clone(&self.logged), self.running.load(Ordering::SeqCst))))
    }
}

impl FilterFactory for Factory {
    fn name(&self) -> &str {
        "plugin"
    }

    fn start(&self, _: usize) -> Result<Box<dyn WorkerFilter>, FilterError> {
        if self.1 {
            return Ok(Box::new(Worker(Arc::clone(&self.0))));
        }
        Err(FilterError::Start { filter: "plugin".to_owned(), source: "not yet".into() })
    }
}

impl WorkerFilter for Worker {
    fn stream(&self, _: &ConnectionInfo) -> Box<dyn HttpFilter> {
        Box::new(Stream(Arc::clone(&self.0), false))
    }
}

impl HttpFilter for Stream {
    fn on_request_headers(&mut self, context: &mut FilterContext<'_>, end_of_stream: bool) -> Outcome {
        self.1 = context.request.get("x-bodies").is_some();
        context.request.set("x-plugin", if end_of_stream { b"end" } else { b"body" }).unwrap();
        match context.request.get("x-do") {
            Some(b"answer") => {
                let mut response = LocalResponse::new(StatusCode::IM_A_TEAPOT, "plugin");
                response.body = "short".into();
                Outcome::Respond(Box::new(response))
            }
            Some(b"wait") => Outcome::Pause(Pause::until(async {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            })),
            Some(b"hold") => Outcome::Buffer,
            Some(b"move") => {
                context.request.set(":path", b"/moved").unwrap();
                context.reroute = true;
                Outcome::Continue
            }
            _ => Outcome::Continue,
        }
    }

    fn on_response_headers(&mut self, context: &mut FilterContext<'_>, _: bool) -> Outcome {
        let seen = context.request.get(":path").map(<[u8]>::to_vec).unwrap();
        let response = context.response.as_mut().unwrap();
        response.set("x-saw", &seen).unwrap();
        if context.request.get("x-do") == Some(b"hold") { Outcome::Buffer } else { Outcome::Continue }
    }

    fn wants_request_body(&self) -> bool {
        self.1
    }

    fn on_request_body(
        &mut self,
        context: &mut FilterContext<'_>,
        chunk: &mut BytesMut,
        end_of_stream: bool,
    ) -> Outcome {
        match context.request.get("x-do") {
            Some(b"hold") => {
                assert!(end_of_stream);
                let length = chunk.len().to_string();
                context.request.set("x-length", length.as_bytes()).unwrap();
                chunk.extend_from_slice(b" held");
            }
            Some(b"refuse") if chunk.starts_with(b"bad") => {
                return Outcome::Respond(Box::new(LocalResponse::new(StatusCode::FORBIDDEN, "body")));
            }
            Some(b"gather") if !end_of_stream => return Outcome::Buffer,
            _ => chunk.make_ascii_uppercase(),
        }
        Outcome::Continue
    }

    fn wants_response_body(&self) -> bool {
        self.1
    }

    fn on_response_body(
        &mut self,
        context: &mut FilterContext<'_>,
        chunk: &mut BytesMut,
        end_of_stream: bool,
    ) -> Outcome {
        if context.request.get("x-do") == Some(b"hold") {
            assert!(end_of_stream);
            context
                .response
                .as_mut()
                .unwrap()
                .set("x-answer-length", chunk.len().to_string().as_bytes())
                .unwrap();
        }
        if end_of_stream {
            chunk.extend_from_slice(b"\nend");
        }
        Outcome::Continue
    }

    fn on_resume(&mut self, context: &mut FilterContext<'_>, phase: Phase) -> Outcome {
        assert_eq!(phase, Phase::RequestHeaders);
        context.request.set("x-resumed", b"1").unwrap();
        Outcome::Continue
    }

    fn on_log(&mut self, _: &mut FilterContext<'_>, log: &RequestLog) {
        assert!(log.status != 0);
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

async fn gateway(running: bool, policy: FailurePolicy) -> (Gateway, Origin, Origin, Arc<Plugins>) {
    let (origin, moved) = (Origin::echo().await, Origin::named("moved").await);
    let code = DataSource {
        specifier: Some(data_source::Specifier::InlineBytes(b"\0asm".to_vec())),
        ..Default::default()
    };
    let vm = VmConfig {
        runtime: "envoy.wasm.runtime.v8".to_owned(),
        code: Some(AsyncDataSource { specifier: Some(async_data_source::Specifier::Local(code)) }),
        ..Default::default()
    };
    let wasm = Wasm {
        config: Some(PluginConfig {
            name: "plugin".to_owned(),
            vm: Some(plugin_config::Vm::VmConfig(vm)),
            failure_policy: policy.into(),
            ..Default::default()
        }),
    };
    let mut settings = http(vec![host(vec![route("/moved", to("moved")), route("/", to("one"))])]);
    settings.http_filters = vec![filter("plugin", &wasm), filter("router", &Router::default())];
    let plugins = Arc::new(Plugins { running: AtomicBool::new(running), logged: Arc::default() });
    let mut resources = crate::config::Resources::default();
    resources.clusters([cluster("one", &[origin.address]), cluster("moved", &[moved.address])]);
    let options = ProxyOptions { plugins: Some(Arc::clone(&plugins) as _), ..options() };
    let gateway = Gateway::start(options, resources, &listener(vec![chain(&settings)])).await;
    (gateway, origin, moved, plugins)
}

#[tokio::test]
async fn a_plugin_changes_answers_waits_and_reroutes() {
    let (gateway, origin, _moved, plugins) = gateway(true, FailurePolicy::FailClosed).await;
    let mut client = Client::http1(gateway.address).await;
    for (what, status, body, saw) in [
        ("", 200, Some("x-plugin: end"), "/"),
        ("wait", 200, Some("x-resumed: 1"), "/"),
        ("answer", 418, None, "/"),
        ("move", 200, None, "/moved"),
    ] {
        let request = Request::get("/").header("host", "a").header("x-do", what).body(full("")).unwrap();
        let answer = client.send(request).await;
        assert_eq!((answer.status.as_u16(), answer.header("x-saw")), (status, Some(saw)), "{what}");
        assert!(
            body.is_none_or(|line| answer.body.lines().any(|seen| seen == line)),
            "{what}: {}",
            answer.body
        );
        if what == "move" {
            assert_eq!(answer.body, "moved");
        }
    }
    let request = Request::post("/").header("host", "a").body(full("x")).unwrap();
    assert_eq!(client.send(request).await.lines("x-plugin"), ["x-plugin: body"]);
    assert_eq!(origin.count(), 3);
    gateway.until("every end was told", |_| plugins.logged.load(Ordering::SeqCst) == 5).await;
}

#[tokio::test]
async fn a_plugin_that_does_not_run_is_treated_by_its_policy() {
    for (policy, status) in [(FailurePolicy::FailClosed, 503), (FailurePolicy::FailOpen, 200)] {
        let (gateway, _origin, _moved, _plugins) = gateway(false, policy).await;
        assert_eq!(Client::http1(gateway.address).await.get("/").await.status.as_u16(), status, "{policy:?}");
    }
}

#[tokio::test]
async fn a_plugin_sees_bodies_whole_or_piece_by_piece() {
    let (gateway, origin, _moved, _plugins) = gateway(true, FailurePolicy::FailClosed).await;
    for mut client in [Client::http1(gateway.address).await, Client::http2(gateway.address).await] {
        for (what, sent, status, seen) in [
            ("stream", "abc", 200, "body: ABC"),
            ("gather", "abc", 200, "body: ABC"),
            ("hold", "abc", 200, "body: abc held"),
            ("refuse", "bad", 403, ""),
            ("refuse", "good", 200, "body: GOOD"),
        ] {
            let request = match client {
                Client::Http1(_) => Request::post("/").header("host", "a"),
                Client::Http2(_) => Request::post("http://a/"),
            };
            let request = request.header("x-do", what).header("x-bodies", "1").body(full(sent)).unwrap();
            let answer = client.send(request).await;
            assert_eq!(
                (answer.status.as_u16(), answer.lines("body").concat().as_str()),
                (status, seen),
                "{what}: {answer:?}"
            );
            if status == 200 {
                assert!(answer.body.ends_with("\nend"), "{what}: {answer:?}");
            }
            if what == "hold" {
                assert_eq!(answer.lines("x-length"), ["x-length: 3"]);
                assert_eq!(answer.header("x-answer-length"), Some(&*(answer.body.len() - 4).to_string()));
            }
        }
        let large =
            Request::post("http://a/").header("host", "a").header("x-do", "hold").header("x-bodies", "1");
        let answer = client.send(large.body(full(vec![b'x'; 2 << 20])).unwrap()).await;
        assert_eq!(answer.status.as_u16(), 413);
    }
    assert!(origin.count() >= 8);
}
