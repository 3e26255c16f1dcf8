// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Plugins as the proxy uses them, guests written as text.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod modules;
mod requests;

use bytes::Bytes;
use gateway_config::{WasmFailurePolicy, WasmFilter, WasmModule};
use gateway_filter_api::{
    ConnectionInfo, FilterContext, FilterProvider, HttpFilter, Outcome, RequestHead, RequestLog, WorkerFilter,
};
use gateway_wasm::{ModuleKey, WasmHost, WasmLimits};
use http::{HeaderMap, HeaderValue, Method, Version};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const STAMP: &str = include_str!("guests/stamp.wat");
const HOLD: &str = include_str!("guests/hold.wat");

fn host() -> WasmHost {
    WasmHost::new(WasmLimits { instances: 16, memory_bytes: 4 << 20, ..WasmLimits::default() })
}

/// A plugin of a guest, its module compiled.
fn plugin(
    host: &WasmHost,
    guest: &str,
    configuration: &'static str,
    policy: WasmFailurePolicy,
) -> Arc<WasmFilter> {
    let bytes = wat::parse_str(guest).unwrap();
    let plugin = WasmFilter {
        name: "stamp".into(),
        root_id: "".into(),
        vm_id: "".into(),
        module: WasmModule::Inline(Bytes::from(bytes.clone())),
        configuration: Bytes::from_static(configuration.as_bytes()),
        vm_configuration: Bytes::new(),
        failure_policy: policy,
    };
    host.prepare(ModuleKey::of(&plugin.module), &bytes).unwrap();
    Arc::new(plugin)
}

fn start(host: &WasmHost, plugin: &Arc<WasmFilter>) -> Box<dyn WorkerFilter> {
    host.factory("stamp", plugin).unwrap().start(0).unwrap()
}

fn connection() -> ConnectionInfo {
    ConnectionInfo {
        id: 7,
        remote: "192.0.2.1:1234".parse().unwrap(),
        direct_remote: "192.0.2.1:1234".parse().unwrap(),
        local: "192.0.2.2:443".parse().unwrap(),
        listener: "listener/443".into(),
        tls: None,
    }
}

fn request(path: &str) -> RequestHead {
    RequestHead {
        method: Method::GET,
        https: true,
        authority: HeaderValue::from_static("shop.example"),
        path: path.parse().unwrap(),
        headers: HeaderMap::new(),
        version: Version::HTTP_2,
    }
}

fn context(request: &mut RequestHead) -> FilterContext<'_> {
    FilterContext {
        request,
        response: None,
        trailers: None,
        connection: Box::leak(Box::new(connection())),
        route: "httproute/shop/cart/0/0",
        cluster: Some("service/shop/cart/80"),
        metadata: Box::leak(Box::default()),
        flags: Box::leak(Box::default()),
        reroute: false,
    }
}

/// Runs the first callback of a request; gives the request as it left, and what became of it.
fn first(worker: &dyn WorkerFilter, path: &str) -> (RequestHead, Outcome, Box<dyn HttpFilter>) {
    let mut head = request(path);
    let mut filter = worker.stream(&connection());
    let outcome = filter.on_request_headers(&mut context(&mut head), true);
    (head, outcome, filter)
}

fn end(mut filter: Box<dyn HttpFilter>, head: &mut RequestHead) {
    let log = RequestLog {
        start: SystemTime::now(),
        duration: Duration::ZERO,
        status: 200,
        response_flags: "-".into(),
        bytes_received: 0,
        bytes_sent: 0,
        upstream: None,
    };
    filter.on_log(&mut context(head), &log);
}
