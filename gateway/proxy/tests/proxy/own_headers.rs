// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Envoy's own headers: who may steer by them, what origins and clients are told; and the form of own answers.

use crate::client::Client;
use crate::config::{chain, cluster, filter, host, http, listener, route, time, to};
use crate::gateway::Gateway;
use crate::origin::{Origin, full, nobody};
use gateway_xds_api::pb::envoy::config::accesslog::v3::{
    AccessLogFilter, ComparisonFilter, StatusCodeFilter, access_log_filter, comparison_filter,
};
use gateway_xds_api::pb::envoy::config::core::v3::{
    CidrRange, DataSource, RuntimeUInt32, SubstitutionFormatString, data_source, substitution_format_string,
};
use gateway_xds_api::pb::envoy::config::route::v3::{RetryPolicy, RouteAction, VirtualHost};
use gateway_xds_api::pb::envoy::extensions::filters::http::router::v3::Router;
use gateway_xds_api::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, LocalReplyConfig, ResponseMapper, http_connection_manager::InternalAddressConfig,
};
use gateway_xds_api::pb::google::protobuf::UInt32Value;
use http::{Request, Response};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A client of this machine is one of the house.
fn inside(mut manager: HttpConnectionManager) -> HttpConnectionManager {
    let loopback =
        CidrRange { address_prefix: "127.0.0.0".to_owned(), prefix_len: Some(UInt32Value { value: 8 }) };
    manager.internal_address_config =
        Some(InternalAddressConfig { cidr_ranges: vec![loopback], ..Default::default() });
    manager
}

async fn serving(manager: HttpConnectionManager, origin: &Origin) -> Gateway {
    let clusters = vec![cluster("one", &[origin.address]), cluster("dead", &[nobody().await])];
    Gateway::listening(&listener(vec![chain(&manager)]), clusters).await
}

async fn ask(gateway: &Gateway, headers: &[(&str, &str)]) -> crate::client::Answer {
    let mut request = Request::get("/path").header("host", "a.example");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Client::http1(gateway.address).await.send(request.body(full("")).unwrap()).await
}

/// Answers 503 the first `bad` times.
async fn stumbling(bad: usize) -> Origin {
    let count = Arc::new(AtomicUsize::new(0));
    Origin::start(move |_| {
        let failing = count.fetch_add(1, Ordering::SeqCst) < bad;
        async move { Response::builder().status(if failing { 503 } else { 200 }).body(full("")).unwrap() }
    })
    .await
}

#[tokio::test]
async fn only_clients_of_the_house_steer_their_requests() {
    let steering = [("x-envoy-retry-on", "5xx"), ("x-envoy-max-retries", "2")];
    for (house, status, tries) in [(true, 200, 3), (false, 503, 1)] {
        let origin = stumbling(2).await;
        let manager = http(vec![host(vec![route("/", to("one"))])]);
        let gateway = serving(if house { inside(manager) } else { manager }, &origin).await;
        let answer = ask(&gateway, &steering).await;
        assert_eq!((answer.status.as_u16(), origin.count()), (status, tries), "{house}");
    }
}

#[tokio::test]
async fn origins_are_told_about_the_client_and_the_time() {
    let origin = Origin::echo().await;
    let action = RouteAction { timeout: time(Duration::from_secs(7)), ..to("one") };
    let hosts = vec![VirtualHost { include_request_attempt_count: true, ..host(vec![route("/", action)]) }];
    let gateway = serving(http(hosts.clone()), &origin).await;
    let sent = [
        ("x-envoy-original-path", "/fake"),
        ("x-envoy-external-address", "1.1.1.1"),
        ("x-envoy-upstream-rq-timeout-ms", "1"),
    ];
    let answer = ask(&gateway, &sent).await;
    assert_eq!(
        answer.lines("x-envoy-"),
        [
            "x-envoy-attempt-count: 1",
            "x-envoy-expected-rq-timeout-ms: 7000",
            "x-envoy-external-address: 127.0.0.1"
        ]
    );
    assert!(answer.header("x-envoy-upstream-service-time").is_some());

    let mut discreet = inside(http(hosts));
    let router = Router { suppress_envoy_headers: true, ..Default::default() };
    discreet.http_filters = vec![filter("envoy.filters.http.router", &router)];
    let gateway = serving(discreet, &origin).await;
    let answer = ask(&gateway, &[("x-envoy-original-path", "/mine")]).await;
    assert_eq!(
        answer.lines("x-envoy-"),
        ["x-envoy-attempt-count: 1", "x-envoy-internal: true", "x-envoy-original-path: /mine"]
    );
    assert_eq!(answer.header("x-envoy-upstream-service-time"), None);
}

#[tokio::test]
async fn a_request_s_own_time_limit_holds() {
    let origin = Origin::start(|_| async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        Response::new(full("late"))
    })
    .await;
    let gateway = serving(inside(http(vec![host(vec![route("/", to("one"))])])), &origin).await;
    let answer = ask(&gateway, &[("x-envoy-upstream-rq-timeout-ms", "50")]).await;
    assert_eq!((answer.status.as_u16(), &*answer.body), (504, "upstream request timeout"));
    let asked = [("x-envoy-upstream-rq-timeout-ms", "50"), ("x-envoy-upstream-rq-timeout-alt-response", "1")];
    assert_eq!(ask(&gateway, &asked).await.status.as_u16(), 204);
}

#[tokio::test]
async fn a_stream_ends_when_its_time_is_over_also_during_the_answer() {
    let origin = Origin::start(|_| async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        Response::new(full("late"))
    })
    .await;
    let mut manager = http(vec![host(vec![route("/", to("one"))])]);
    manager.common_http_protocol_options.as_mut().unwrap().max_stream_duration =
        time(Duration::from_millis(50));
    let gateway = serving(manager, &origin).await;
    let answer = ask(&gateway, &[]).await;
    assert_eq!((answer.status.as_u16(), &*answer.body), (504, "downstream duration timeout"));
    let answer = ask(&gateway, &[("content-type", "application/grpc")]).await;
    assert_eq!((answer.status.as_u16(), answer.header("grpc-status")), (200, Some("4")));
}

#[tokio::test]
async fn answers_of_grpc_are_retried_by_their_status() {
    let count = Arc::new(AtomicUsize::new(0));
    let origin = Origin::start(move |_| {
        let status = if count.fetch_add(1, Ordering::SeqCst) == 0 { "14" } else { "0" };
        async move {
            Response::builder()
                .header("content-type", "application/grpc")
                .header("grpc-status", status)
                .body(full(""))
                .unwrap()
        }
    })
    .await;
    let policy = RetryPolicy { retry_on: "unavailable".to_owned(), ..Default::default() };
    let action = RouteAction { retry_policy: Some(policy), ..to("one") };
    let gateway = serving(http(vec![host(vec![route("/", action)])]), &origin).await;
    let answer = ask(&gateway, &[("content-type", "application/grpc")]).await;
    assert_eq!((answer.header("grpc-status"), origin.count()), (Some("0"), 2));
}

#[tokio::test]
async fn own_answers_take_the_form_that_is_configured() {
    let status = |value: u32| ComparisonFilter {
        op: comparison_filter::Op::Eq.into(),
        value: Some(RuntimeUInt32 { default_value: value, runtime_key: "k".to_owned() }),
    };
    let mapper = ResponseMapper {
        filter: Some(AccessLogFilter {
            filter_specifier: Some(access_log_filter::FilterSpecifier::StatusCodeFilter(StatusCodeFilter {
                comparison: Some(status(404)),
            })),
        }),
        status_code: Some(UInt32Value { value: 410 }),
        ..Default::default()
    };
    let text = DataSource {
        specifier: Some(data_source::Specifier::InlineString(
            "%RESPONSE_CODE% for %REQ(:PATH)%: %LOCAL_REPLY_BODY%".to_owned(),
        )),
        ..Default::default()
    };
    let format = SubstitutionFormatString {
        format: Some(substitution_format_string::Format::TextFormatSource(text)),
        content_type: "text/x".to_owned(),
        ..Default::default()
    };
    let mut manager = http(vec![host(vec![route("/path", to("dead"))])]);
    manager.local_reply_config = Some(LocalReplyConfig { mappers: vec![mapper], body_format: Some(format) });
    let gateway = serving(manager, &Origin::echo().await).await;
    let answer = ask(&gateway, &[]).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (503, Some("text/x")));
    assert!(answer.body.starts_with("503 for /path: upstream connect error"), "{}", answer.body);
    let answer = crate::client::get(gateway.address, "/nowhere").await;
    assert_eq!((answer.status.as_u16(), &*answer.body), (410, "410 for /nowhere: "));
    let answer = ask(&gateway, &[("content-type", "application/grpc")]).await;
    assert_eq!((answer.status.as_u16(), answer.header("grpc-status")), (200, Some("14")));
    assert!(answer.header("grpc-message").unwrap().starts_with("503 for /path: "));
}
