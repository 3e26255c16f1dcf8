// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Authorization services that consent, refuse, fail, hang and talk nonsense.

use crate::client::{Answer, Client};
use crate::config::{any, chain, cluster, filter, host, http, http2_cluster, listener, route, to};
use crate::gateway::Gateway;
use crate::origin::{Origin, full, nobody, raw};
use crate::services::{authorizer, grpc, http_uri};
use ::http::{Request, Response};
use gateway_xds_api::pb::envoy::config::cluster::v3::Cluster;
use gateway_xds_api::pb::envoy::config::core::v3::{HeaderValue, HeaderValueOption, QueryParameter};
use gateway_xds_api::pb::envoy::config::route::v3::Route;
use gateway_xds_api::pb::envoy::extensions::filters::http::ext_authz::v3::{
    AuthorizationResponse, BufferSettings, CheckSettings, ExtAuthz, ExtAuthzPerRoute, HttpService, ext_authz,
    ext_authz_per_route,
};
use gateway_xds_api::pb::envoy::extensions::filters::http::router::v3::Router;
use gateway_xds_api::pb::envoy::service::auth::v3::{
    CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse, check_response::HttpResponse,
};
use gateway_xds_api::pb::envoy::r#type::matcher::v3::{ListStringMatcher, StringMatcher, string_matcher};
use gateway_xds_api::pb::envoy::r#type::v3::HttpStatus;
use gateway_xds_api::pb::google::rpc;
use std::time::Duration;
use tonic::Status;

const LIMIT: Duration = Duration::from_secs(2);

fn option(name: &str, value: &str) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue { key: name.to_owned(), value: value.to_owned(), ..Default::default() }),
        ..Default::default()
    }
}

fn answer(code: i32, response: Option<HttpResponse>) -> CheckResponse {
    CheckResponse {
        status: Some(rpc::Status { code, ..Default::default() }),
        http_response: response,
        ..Default::default()
    }
}

/// Decides by the path.
fn judge(request: &CheckRequest) -> Result<CheckResponse, Status> {
    let request = request.attributes.as_ref().unwrap().request.as_ref().unwrap().http.as_ref().unwrap();
    Ok(match request.path.split('?').next().unwrap() {
        "/ok" => answer(0, None),
        "/changed" => answer(
            0,
            Some(HttpResponse::OkResponse(OkHttpResponse {
                headers: vec![
                    option("x-user", "ann"),
                    option("content-length", "7"),
                    option("x-bad", "a\nb"),
                ],
                headers_to_remove: vec!["x-secret".to_owned(), ":path".to_owned(), "host".to_owned()],
                response_headers_to_add: vec![option("x-checked", "yes")],
                query_parameters_to_set: vec![QueryParameter { key: "a".to_owned(), value: "2".to_owned() }],
                ..Default::default()
            })),
        ),
        "/teapot" => answer(
            7,
            Some(HttpResponse::DeniedResponse(DeniedHttpResponse {
                status: Some(HttpStatus { code: 418 }),
                headers: vec![option("x-why", "tea"), option("transfer-encoding", "chunked")],
                body: "no coffee".to_owned(),
            })),
        ),
        "/error" => return Err(Status::internal("broken")),
        "/empty" => CheckResponse::default(),
        "/large" => answer(
            0,
            Some(HttpResponse::OkResponse(OkHttpResponse {
                headers: vec![option("x-large", &"x".repeat(5 << 20))],
                ..Default::default()
            })),
        ),
        _ => answer(7, None),
    })
}

fn over_grpc(limit: Duration) -> ExtAuthz {
    ExtAuthz {
        services: Some(ext_authz::Services::GrpcService(grpc("authz", limit))),
        transport_api_version: 2,
        ..Default::default()
    }
}

fn over_http() -> HttpService {
    HttpService { server_uri: Some(http_uri("authz", "http://authz.example/", LIMIT)), ..Default::default() }
}

fn named(names: &[&str]) -> Option<ListStringMatcher> {
    let exact = |name: &&str| StringMatcher {
        match_pattern: Some(string_matcher::MatchPattern::Exact((*name).to_owned())),
        ..Default::default()
    };
    Some(ListStringMatcher { patterns: names.iter().map(exact).collect() })
}

async fn gateway(config: &ExtAuthz, authz: Cluster, routes: Vec<Route>) -> (Gateway, Origin) {
    let origin = Origin::echo().await;
    let mut settings = http(vec![host(routes)]);
    settings.http_filters = vec![filter("authz", config), filter("router", &Router::default())];
    let clusters = vec![cluster("one", &[origin.address]), authz];
    (Gateway::listening(&listener(vec![chain(&settings)]), clusters).await, origin)
}

async fn get(gateway: &Gateway, path: &str) -> Answer {
    let request =
        Request::get(path).header("host", "a.example").header("x-secret", "s").header("x-user", "eve");
    Client::http1(gateway.address).await.send(request.body(full("")).unwrap()).await
}

#[tokio::test]
async fn a_grpc_service_decides_and_changes() {
    let (service, asked) = authorizer(judge).await;
    let authz = http2_cluster("authz", &[service.address]);
    let (gateway, origin) = gateway(&over_grpc(LIMIT), authz, vec![route("/", to("one"))]).await;

    let ok = get(&gateway, "/ok").await;
    assert_eq!((ok.status.as_u16(), ok.lines("x-user")), (200, vec!["x-user: eve"]));
    let changed = get(&gateway, "/changed?a=1&b=3").await;
    assert_eq!(changed.header("x-checked"), Some("yes"));
    assert_eq!(changed.lines("GET"), ["GET /changed?b=3&a=2 HTTP/1.1"]);
    assert_eq!(changed.lines("x-user"), ["x-user: ann"]);
    for gone in ["x-secret", "x-bad", "content-length"] {
        assert!(changed.lines(gone).is_empty(), "{gone}: {}", changed.body);
    }
    let teapot = get(&gateway, "/teapot").await;
    assert_eq!(
        (teapot.status.as_u16(), teapot.header("x-why"), &*teapot.body),
        (418, Some("tea"), "no coffee")
    );
    assert_eq!(teapot.header("transfer-encoding"), None);
    // Refused, failed, without a decision, too large to be one.
    for path in ["/no", "/error", "/empty", "/large"] {
        let answer = get(&gateway, path).await;
        assert_eq!((answer.status.as_u16(), &*answer.body), (403, ""), "{path}");
    }
    assert_eq!(origin.count(), 2);

    let asked = asked.lock();
    let first = asked[0].attributes.as_ref().unwrap();
    let http = first.request.as_ref().unwrap().http.as_ref().unwrap();
    assert_eq!(
        (&*http.method, &*http.host, &*http.scheme, &*http.protocol),
        ("GET", "a.example", "http", "HTTP/1.1")
    );
    for (name, value) in [(":path", "/ok"), (":authority", "a.example"), ("x-secret", "s")] {
        assert_eq!(http.headers.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert!(first.source.as_ref().unwrap().address.is_some());
    let count = |name: &str| gateway.metric(&format!("envoy_http_ext_authz_{name}"), "");
    assert_eq!((count("ok"), count("denied"), count("error")), (2, 2, 3));
}

#[tokio::test]
async fn a_service_that_does_not_answer_refuses_unless_told_otherwise() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let garbage = raw(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nyes").await;
    for (allow, status) in [(false, 503), (true, 200)] {
        let config = ExtAuthz {
            failure_mode_allow: allow,
            failure_mode_allow_header_add: true,
            status_on_error: Some(HttpStatus { code: 503 }),
            ..over_grpc(Duration::from_millis(100))
        };
        for address in [nobody().await, silent.local_addr().unwrap(), garbage] {
            let authz = http2_cluster("authz", &[address]);
            let (gateway, origin) = gateway(&config, authz, vec![route("/", to("one"))]).await;
            let answer = get(&gateway, "/ok").await;
            assert_eq!(answer.status.as_u16(), status, "{address}");
            assert_eq!(origin.count(), usize::from(allow));
            assert_eq!(answer.lines("x-envoy-auth-failure-mode-allowed").len(), usize::from(allow));
        }
        let other = http2_cluster("other", &[garbage]);
        let (gateway, _origin) = gateway(&config, other, vec![route("/", to("one"))]).await;
        assert_eq!(get(&gateway, "/ok").await.status.as_u16(), status, "no cluster");
    }
}

#[tokio::test]
async fn bodies_and_routes() {
    let (service, asked) = authorizer(judge).await;
    let authz = http2_cluster("authz", &[service.address]);
    let config = ExtAuthz {
        with_request_body: Some(BufferSettings { max_request_bytes: 5, ..Default::default() }),
        allowed_headers: named(&[":path", "x-secret", "x-user"]),
        disallowed_headers: named(&["x-secret"]),
        ..over_grpc(LIMIT)
    };
    let own = |path: &str, settings: ext_authz_per_route::Override| {
        let mut route = route(path, to("one"));
        let settings = ExtAuthzPerRoute { r#override: Some(settings) };
        route.typed_per_filter_config.insert("authz".to_owned(), any(&settings));
        route
    };
    let partial = CheckSettings {
        context_extensions: [("tier".to_owned(), "gold".to_owned())].into(),
        with_request_body: Some(BufferSettings {
            max_request_bytes: 3,
            allow_partial_message: true,
            pack_as_bytes: true,
        }),
        ..Default::default()
    };
    let routes = vec![
        own("/free", ext_authz_per_route::Override::Disabled(true)),
        own("/ok?", ext_authz_per_route::Override::Disabled(false)),
        own("/changed", ext_authz_per_route::Override::CheckSettings(partial)),
        route("/", to("one")),
    ];
    let (gateway, origin) = gateway(&config, authz, routes).await;
    let mut client = Client::http1(gateway.address).await;
    let mut post = async |path: &str, body: &'static str| {
        let request = Request::post(path).header("host", "a").header("x-secret", "s").body(full(body));
        client.send(request.unwrap()).await
    };
    assert_eq!(post("/free", "123456").await.status.as_u16(), 200);
    assert!(asked.lock().is_empty());
    let ok = post("/ok", "12345").await;
    assert_eq!((ok.status.as_u16(), ok.lines("body")), (200, vec!["body: 12345"]));
    assert_eq!(post("/ok", "123456").await.status.as_u16(), 413);
    let part = post("/changed", "123456").await;
    assert_eq!((part.status.as_u16(), part.lines("body")), (200, vec!["body: 123456"]));
    assert_eq!(origin.count(), 3);

    let asked = asked.lock();
    let [whole, part] = &asked[..] else { panic!("{asked:?}") };
    let http = |request: &CheckRequest| request.attributes.clone().unwrap().request.unwrap().http.unwrap();
    assert_eq!((&*http(whole).body, http(whole).raw_body.len()), ("12345", 0));
    let names = |request: &CheckRequest| {
        let mut names: Vec<_> = http(request).headers.into_iter().collect();
        names.sort();
        names
    };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(names(whole), [pair(":path", "/ok"), pair("x-envoy-auth-partial-body", "false")]);
    assert_eq!(names(part), [pair(":path", "/changed"), pair("x-envoy-auth-partial-body", "true")]);
    assert_eq!((&*http(part).body, &*http(part).raw_body), ("", &b"123"[..]));
    assert_eq!(part.attributes.as_ref().unwrap().context_extensions["tier"], "gold");
}

#[tokio::test]
async fn an_http_service_decides_by_its_status() {
    let service = Origin::start(|request| async move {
        let seen = format!(
            "{} {} {:?} {:?} {:?}",
            request.method(),
            request.uri(),
            request.headers().get("host").unwrap(),
            request.headers().get("x-secret"),
            request.headers().get("content-length"),
        );
        let (status, location) = match request.uri().path() {
            "/check/ok" => (200, None),
            "/check/login" => (302, Some("/login")),
            "/check/error" => (500, None),
            _ => (401, None),
        };
        let mut response = Response::builder().status(status).header("x-user", "ann").header("x-hidden", "h");
        if let Some(location) = location {
            response = response.header("location", location);
        }
        response
            .header("x-seen", seen)
            .header("x-envoy-auth-headers-to-remove", "x-secret")
            .body(full("from authz"))
            .unwrap()
    })
    .await;
    let config = ExtAuthz {
        services: Some(ext_authz::Services::HttpService(HttpService {
            path_prefix: "/check".to_owned(),
            authorization_response: Some(AuthorizationResponse {
                allowed_upstream_headers: named(&["x-user", "x-seen"]),
                allowed_client_headers: named(&["x-user"]),
                allowed_client_headers_on_success: named(&["x-hidden"]),
                ..Default::default()
            }),
            ..over_http()
        })),
        transport_api_version: 2,
        allowed_headers: named(&["x-secret"]),
        ..Default::default()
    };
    let authz = cluster("authz", &[service.address]);
    let (gateway, origin) = gateway(&config, authz, vec![route("/", to("one"))]).await;
    let ok = get(&gateway, "/ok").await;
    assert_eq!((ok.status.as_u16(), ok.header("x-hidden")), (200, Some("h")));
    assert_eq!(ok.lines("x-user"), ["x-user: ann"]);
    assert!(ok.lines("x-secret").is_empty() && ok.lines("x-hidden").is_empty(), "{}", ok.body);
    assert_eq!(ok.lines("x-seen"), [r#"x-seen: GET /check/ok "a.example" Some("s") Some("0")"#]);
    let login = get(&gateway, "/login").await;
    assert_eq!((login.status.as_u16(), login.header("location")), (302, Some("/login")));
    assert_eq!((login.header("x-user"), login.header("x-hidden")), (Some("ann"), None));
    let refused = get(&gateway, "/other").await;
    assert_eq!((refused.status.as_u16(), &*refused.body), (401, "from authz"));
    assert_eq!(get(&gateway, "/error").await.status.as_u16(), 403);
    assert_eq!(origin.count(), 1);
}
