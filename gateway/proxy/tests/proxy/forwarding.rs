// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What a request and its answer look like on the other side.

use crate::client::{Client, get};
use crate::config::{chain, cluster, filter, host, http, listener, json_log, route, to};
use crate::gateway::Gateway;
use crate::origin::{Origin, full, nobody};
use gateway_xds_api::pb::envoy::config::core::v3::{HeaderValue, HeaderValueOption, HttpProtocolOptions, http_protocol_options};
use gateway_xds_api::pb::envoy::config::route::v3::{Route, RouteAction, RouteConfiguration, route_action};
use gateway_xds_api::pb::envoy::extensions::filters::http::cors::v3::{Cors, CorsPolicy};
use gateway_xds_api::pb::envoy::extensions::filters::http::router::v3::Router;
use gateway_xds_api::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use gateway_xds_api::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher};
use http::{Method, Request, Response};

fn add(name: &str, value: &str) -> HeaderValueOption {
    let header = HeaderValue { key: name.to_owned(), value: value.to_owned(), ..Default::default() };
    HeaderValueOption { header: Some(header), ..Default::default() }
}

async fn echo(
    listener_hosts: Vec<gateway_xds_api::pb::envoy::config::route::v3::VirtualHost>,
) -> (Gateway, Origin) {
    let origin = Origin::echo().await;
    let gateway = Gateway::plain(listener_hosts, vec![cluster("one", &[origin.address])]).await;
    (gateway, origin)
}

#[tokio::test]
async fn only_what_concerns_the_upstream_is_passed_on() {
    let (gateway, _origin) = echo(vec![host(vec![route("/", to("one"))])]).await;
    let mut client = Client::http1(gateway.address).await;
    let request = Request::get("/")
        .header("host", "a.example:80")
        .header("connection", "keep-alive, x-hop, host")
        .header("x-hop", "1")
        .header("keep-alive", "timeout=5")
        .header("proxy-connection", "keep-alive")
        .header("te", "gzip, trailers")
        .header("expect", "something")
        .header("x-envoy-retry-on", "5xx")
        .header("x-forwarded-for", "1.1.1.1")
        .header("x-forwarded-proto", "https")
        .header("x-request-id", "mine")
        .header("x-kept", "1")
        .header("x-kept", "2");
    let answer = client.send(request.body(full("")).unwrap()).await;
    let mut lines: Vec<&str> = answer.body.lines().collect();
    let id =
        lines.iter().position(|line| line.starts_with("x-request-id: ")).map(|at| lines.remove(at)).unwrap();
    assert_eq!(
        lines,
        [
            "GET / HTTP/1.1",
            "host: a.example:80",
            "x-envoy-expected-rq-timeout-ms: 15000",
            "x-envoy-external-address: 127.0.0.1",
            "x-forwarded-for: 1.1.1.1,127.0.0.1",
            "x-forwarded-proto: http",
            "x-kept: 1",
            "x-kept: 2",
            "body: "
        ]
    );
    let id = id.trim_start_matches("x-request-id: ");
    assert!(id.len() == 36 && &id[14..15] == "4" && id != "mine", "{id}");
}

#[tokio::test]
async fn headers_with_underscores_follow_the_policy() {
    for (policy, status, seen) in [
        (http_protocol_options::HeadersWithUnderscoresAction::Allow, 200, 1),
        (http_protocol_options::HeadersWithUnderscoresAction::DropHeader, 200, 0),
        (http_protocol_options::HeadersWithUnderscoresAction::RejectRequest, 400, 0),
    ] {
        let origin = Origin::echo().await;
        let mut settings = http(vec![host(vec![route("/", to("one"))])]);
        settings.common_http_protocol_options = Some(HttpProtocolOptions {
            headers_with_underscores_action: policy.into(),
            ..Default::default()
        });
        let gateway =
            Gateway::listening(&listener(vec![chain(&settings)]), vec![cluster("one", &[origin.address])])
                .await;
        let request =
            Request::get("/").header("host", "a").header("order_number", "1").body(full("")).unwrap();
        let answer = Client::http1(gateway.address).await.send(request).await;
        assert_eq!(
            (answer.status.as_u16(), answer.lines("order_number").len()),
            (status, seen),
            "{policy:?}"
        );
        // A name that some server takes for one that frames the body is refused whatever the policy.
        let request =
            Request::get("/").header("host", "a").header("content_length", "1").body(full("")).unwrap();
        assert_eq!(Client::http1(gateway.address).await.send(request).await.status.as_u16(), 400);
    }
}

#[tokio::test]
async fn header_changes_apply_in_order_both_ways() {
    let origin = Origin::start(|request| async move {
        let seen = request
            .headers()
            .get_all("x-order")
            .iter()
            .map(|v| v.to_str().unwrap())
            .collect::<Vec<_>>()
            .join(" ");
        Response::builder()
            .header("x-seen", seen)
            .header("x-secret", "1")
            .header("server", "origin")
            .body(full(""))
            .unwrap()
    })
    .await;
    let route = Route {
        request_headers_to_add: vec![
            add("x-order", "route"),
            add("x-from", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"),
        ],
        request_headers_to_remove: vec!["x-gone".to_owned()],
        response_headers_to_add: vec![add("x-order", "route"), add("x-asked", "%REQ(x-ask)%")],
        response_headers_to_remove: vec!["x-secret".to_owned()],
        ..route("/", to("one"))
    };
    let mut hosts = host(vec![route]);
    hosts.request_headers_to_add = vec![add("x-order", "host")];
    hosts.response_headers_to_add = vec![add("x-order", "host")];
    let mut settings = http(vec![hosts]);
    if let Some(RouteSpecifier::RouteConfig(table)) = &mut settings.route_specifier {
        *table = RouteConfiguration {
            request_headers_to_add: vec![add("x-order", "table")],
            response_headers_to_add: vec![add("x-order", "table")],
            ..table.clone()
        };
    }
    let gateway =
        Gateway::listening(&listener(vec![chain(&settings)]), vec![cluster("one", &[origin.address])]).await;
    let request = Request::get("/")
        .header("host", "a")
        .header("x-ask", "what")
        .header("x-gone", "1")
        .body(full(""))
        .unwrap();
    let answer = Client::http1(gateway.address).await.send(request).await;
    assert_eq!(answer.header("x-seen"), Some("route host table"));
    let order: Vec<_> =
        answer.headers.get_all("x-order").iter().map(|value| value.to_str().unwrap()).collect();
    assert_eq!(order, ["route", "host", "table"]);
    assert_eq!(answer.header("x-asked"), Some("what"));
    assert_eq!(answer.header("x-secret"), None);
    assert_eq!(answer.header("server"), Some("gatefleet"));
}

#[tokio::test]
async fn hosts_and_paths_are_rewritten() {
    let rewritten = RouteAction {
        prefix_rewrite: "/new".to_owned(),
        host_rewrite_specifier: Some(route_action::HostRewriteSpecifier::HostRewriteLiteral(
            "inner.example".to_owned(),
        )),
        append_x_forwarded_host: true,
        ..to("one")
    };
    let (gateway, _origin) = echo(vec![host(vec![route("/old", rewritten)])]).await;
    let answer = get(gateway.address, "/old/x?y=z").await;
    assert_eq!(answer.lines("GET"), ["GET /new/x?y=z HTTP/1.1"]);
    assert_eq!(answer.lines("host"), ["host: inner.example"]);
    assert_eq!(answer.lines("x-forwarded-host"), ["x-forwarded-host: a.example"]);
}

#[tokio::test]
async fn cors_answers_preflights_and_marks_answers() {
    let origin = Origin::named("answer").await;
    let policy = CorsPolicy {
        allow_origin_string_match: vec![StringMatcher {
            match_pattern: Some(string_matcher::MatchPattern::Exact("https://good.example".to_owned())),
            ..Default::default()
        }],
        allow_methods: "GET,PUT".to_owned(),
        max_age: "60".to_owned(),
        expose_headers: "x-a".to_owned(),
        ..Default::default()
    };
    let mut route = route("/", to("one"));
    route.typed_per_filter_config.insert("cors".to_owned(), crate::config::any(&policy));
    let mut settings = http(vec![host(vec![route])]);
    settings.http_filters = vec![filter("cors", &Cors::default()), filter("router", &Router::default())];
    let gateway =
        Gateway::listening(&listener(vec![chain(&settings)]), vec![cluster("one", &[origin.address])]).await;
    let mut client = Client::http1(gateway.address).await;
    for (method, from, preflight, allowed, methods, body) in [
        (Method::GET, "https://good.example", false, Some("https://good.example"), None, "answer"),
        (Method::GET, "https://bad.example", false, None, None, "answer"),
        (Method::OPTIONS, "https://good.example", true, Some("https://good.example"), Some("GET,PUT"), ""),
    ] {
        let mut request =
            Request::builder().method(method.clone()).uri("/").header("host", "a").header("origin", from);
        if preflight {
            request = request.header("access-control-request-method", "PUT");
        }
        let answer = client.send(request.body(full("")).unwrap()).await;
        assert_eq!(answer.header("access-control-allow-origin"), allowed, "{method} {from}");
        assert_eq!(answer.header("access-control-allow-methods"), methods, "{method} {from}");
        assert_eq!(answer.body, body, "{method} {from}");
    }
}

#[tokio::test]
async fn mirrors_get_a_copy_and_nobody_waits_for_them() {
    let (origin, copy) = (Origin::echo().await, Origin::echo().await);
    let mirror =
        |name: &str| route_action::RequestMirrorPolicy { cluster: name.to_owned(), ..Default::default() };
    let action = RouteAction { request_mirror_policies: vec![mirror("copy"), mirror("dead")], ..to("one") };
    let clusters = vec![
        cluster("one", &[origin.address]),
        cluster("copy", &[copy.address]),
        cluster("dead", &[nobody().await]),
    ];
    let gateway = Gateway::plain(vec![host(vec![route("/", action)])], clusters).await;
    let mut client = Client::http1(gateway.address).await;
    for _ in 0..5 {
        let request = Request::post("/").header("host", "a").body(full("some body")).unwrap();
        assert_eq!(client.send(request).await.lines("body"), ["body: some body"]);
    }
    gateway.until("five copies", |_| copy.count() == 5).await;
    assert_eq!(origin.count(), 5);
}

#[tokio::test]
async fn every_request_is_logged_once_with_its_end() {
    let origin = Origin::named("12345").await;
    let folder = std::env::temp_dir().join(format!("gatefleet-log-{}", std::process::id()));
    let mut settings = http(vec![host(vec![route("/ok", to("one")), route("/dead", to("dead"))])]);
    settings.access_log = vec![json_log(&folder)];
    let clusters = vec![cluster("one", &[origin.address]), cluster("dead", &[nobody().await])];
    let gateway = Gateway::listening(&listener(vec![chain(&settings)]), clusters).await;
    let mut client = Client::http1(gateway.address).await;
    let request = Request::post("/ok?a=b")
        .header("host", "a")
        .header("user-agent", "tester")
        .body(full("123"))
        .unwrap();
    client.send(request).await;
    client.get("/dead").await;
    client.get("/nothing").await;
    crate::client::raw(gateway.address, b"GET / HTTP/1.1\r\n\r\n").await;
    gateway
        .until("the refusal is counted", |gateway| {
            gateway.metric("gatefleet_http_requests_refused_total", "") == 1
        })
        .await;
    drop(gateway);
    let text = std::fs::read_to_string(&folder).unwrap();
    std::fs::remove_file(&folder).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let fields = |line: &serde_json::Value| {
        [
            "method",
            "path",
            "response_code",
            "response_flags",
            "route_name",
            "upstream_cluster",
            "bytes_received",
            "bytes_sent",
        ]
        .map(|field| line[field].to_string())
        .join(" ")
    };
    let mut shown: Vec<String> = lines.iter().map(fields).collect();
    shown.sort();
    assert_eq!(
        shown,
        [
            r#""GET" "/dead" 503 "UF" "route /dead" "dead" 0 98"#,
            r#""GET" "/nothing" 404 "NR" null null 0 0"#,
            // Nothing is known of a head that could not be read.
            r#""GET" null 400 "DPE" null null 0 0"#,
            r#""POST" "/ok?a=b" 200 null "route /ok" "one" 3 5"#,
        ]
    );
    let posted = lines.iter().find(|line| line["method"] == "POST").unwrap();
    assert_eq!(posted["upstream_host"], origin.address.to_string());
    assert_eq!(posted["user_agent"], "tester");
    assert_eq!(posted["x_forwarded_for"], "127.0.0.1");
}
