// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Built-in filters: header changes, access rules, rate limits, faults, origins, complete requests.

use crate::client::{Answer, Client};
use crate::config::{any, chain, cluster, filter, host, http, listener, route, time, to};
use crate::gateway::Gateway;
use crate::origin::{Origin, full};
use gateway_xds_api::pb::envoy::config::common::mutation_rules::v3::{HeaderMutation, header_mutation};
use gateway_xds_api::pb::envoy::config::core::v3::{
    CidrRange, HeaderValue, HeaderValueOption, KeyValueAppend, KeyValueMutation, KeyValuePair,
    RuntimeFractionalPercent, key_value_append,
};
use gateway_xds_api::pb::envoy::config::rbac::v3::{
    Permission, Policy, Principal, Rbac as Rules, permission, principal, rbac,
};
use gateway_xds_api::pb::envoy::config::route::v3::{HeaderMatcher, Route, header_matcher};
use gateway_xds_api::pb::envoy::extensions::filters::common::fault::v3::{FaultDelay, fault_delay};
use gateway_xds_api::pb::envoy::extensions::filters::http::buffer::v3::{
    Buffer, BufferPerRoute, buffer_per_route,
};
use gateway_xds_api::pb::envoy::extensions::filters::http::csrf::v3::CsrfPolicy;
use gateway_xds_api::pb::envoy::extensions::filters::http::fault::v3::{FaultAbort, HttpFault, fault_abort};
use gateway_xds_api::pb::envoy::extensions::filters::http::header_mutation::v3 as mutation;
use gateway_xds_api::pb::envoy::extensions::filters::http::local_ratelimit::v3::LocalRateLimit;
use gateway_xds_api::pb::envoy::extensions::filters::http::rbac::v3::{Rbac, RbacPerRoute};
use gateway_xds_api::pb::envoy::extensions::filters::http::router::v3::Router;
use gateway_xds_api::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher};
use gateway_xds_api::pb::envoy::r#type::v3::{FractionalPercent, TokenBucket};
use gateway_xds_api::pb::google::protobuf::{Any, UInt32Value, Value, value::Kind};
use http::{Method, Request, StatusCode};
use prost::Name;
use std::time::{Duration, Instant};

/// A gateway in front of an echo with one filter before the router.
async fn gateway(one: impl Name, routes: Vec<Route>) -> (Gateway, Origin) {
    let origin = Origin::echo().await;
    let mut settings = http(vec![host(routes)]);
    settings.http_filters = vec![filter("f", &one), filter("router", &Router::default())];
    let clusters = vec![cluster("echo", &[origin.address])];
    (Gateway::listening(&listener(vec![chain(&settings)]), clusters).await, origin)
}

fn with(path: &str, own: Any) -> Route {
    let mut made = route(path, to("echo"));
    made.typed_per_filter_config.insert("f".to_owned(), own);
    made
}

fn plain() -> Route {
    route("/", to("echo"))
}

fn percent(numerator: u32) -> FractionalPercent {
    FractionalPercent { numerator, denominator: 0 }
}

fn share(numerator: u32) -> Option<RuntimeFractionalPercent> {
    Some(RuntimeFractionalPercent { default_value: Some(percent(numerator)), runtime_key: String::new() })
}

fn exact(text: &str) -> StringMatcher {
    StringMatcher {
        match_pattern: Some(string_matcher::MatchPattern::Exact(text.to_owned())),
        ignore_case: false,
    }
}

async fn send(gateway: &Gateway, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder().method(method).uri(path).header("host", "a.example");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Client::http1(gateway.address).await.send(request.body(full("")).unwrap()).await
}

fn add(key: &str, value: &str) -> HeaderMutation {
    let header = Some(HeaderValue { key: key.to_owned(), value: value.to_owned(), ..HeaderValue::default() });
    HeaderMutation {
        action: Some(header_mutation::Action::Append(HeaderValueOption {
            header,
            ..HeaderValueOption::default()
        })),
    }
}

#[tokio::test]
async fn header_mutations_of_listener_and_route_add_up() {
    let remove = HeaderMutation {
        action: Some(header_mutation::Action::RemoveOnMatch(header_mutation::RemoveOnMatch {
            key_matcher: Some(StringMatcher {
                match_pattern: Some(string_matcher::MatchPattern::Prefix("x-secret-".to_owned())),
                ignore_case: false,
            }),
        })),
    };
    let record = KeyValuePair {
        key: "added".to_owned(),
        value: Some(Value { kind: Some(Kind::StringValue("1".to_owned())) }),
    };
    let append = KeyValueAppend {
        record: Some(record),
        action: key_value_append::KeyValueAppendAction::OverwriteIfExistsOrAdd.into(),
        ..KeyValueAppend::default()
    };
    let outer = mutation::Mutations {
        request_mutations: vec![add("x-all", "listener"), remove],
        query_parameter_mutations: vec![KeyValueMutation { append: Some(append), remove: String::new() }],
        response_mutations: vec![add("x-answer", "%RESPONSE_CODE%")],
        ..mutation::Mutations::default()
    };
    let inner = mutation::Mutations {
        request_mutations: vec![add("x-all", "route")],
        ..mutation::Mutations::default()
    };
    let own = any(&mutation::HeaderMutationPerRoute { mutations: Some(inner) });
    let listener = mutation::HeaderMutation { mutations: Some(outer), ..mutation::HeaderMutation::default() };
    let (gateway, _origin) = gateway(listener, vec![with("/own", own), plain()]).await;
    let answer =
        send(&gateway, Method::GET, "/own?added=0&b=2", &[("x-secret-key", "1"), ("x-b", "2")]).await;
    assert_eq!(answer.lines("GET"), ["GET /own?b=2&added=1 HTTP/1.1"]);
    assert_eq!(answer.lines("x-all"), ["x-all: listener", "x-all: route"]);
    assert!(answer.lines("x-secret").is_empty() && !answer.lines("x-b: 2").is_empty(), "{}", answer.body);
    assert_eq!(answer.header("x-answer"), Some("200"));
    assert_eq!(send(&gateway, Method::GET, "/", &[]).await.lines("x-all"), ["x-all: listener"]);
}

fn rules(action: rbac::Action, permission: permission::Rule, principal: principal::Identifier) -> Rules {
    let policy = Policy {
        permissions: vec![Permission { rule: Some(permission) }],
        principals: vec![Principal { identifier: Some(principal) }],
        ..Policy::default()
    };
    Rules { action: action.into(), policies: [("my policy".to_owned(), policy)].into(), ..Rules::default() }
}

fn header(name: &str, value: &str) -> HeaderMatcher {
    HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(header_matcher::HeaderMatchSpecifier::StringMatch(exact(value))),
        ..HeaderMatcher::default()
    }
}

#[tokio::test]
async fn access_rules_refuse_in_envoys_words_and_nobody_hides_a_value() {
    let deny = rules(
        rbac::Action::Deny,
        permission::Rule::Header(header("x-role", "banned")),
        principal::Identifier::Any(true),
    );
    let open = any(&RbacPerRoute { rbac: None });
    let net =
        CidrRange { address_prefix: "192.0.2.0".to_owned(), prefix_len: Some(UInt32Value { value: 24 }) };
    let allow =
        rules(rbac::Action::Allow, permission::Rule::Any(true), principal::Identifier::DirectRemoteIp(net));
    let closed = any(&RbacPerRoute { rbac: Some(Rbac { rules: Some(allow), ..Rbac::default() }) });
    let shadow = rules(
        rbac::Action::Allow,
        permission::Rule::UrlPath(gateway_xds_api::pb::envoy::r#type::matcher::v3::PathMatcher {
            rule: Some(gateway_xds_api::pb::envoy::r#type::matcher::v3::path_matcher::Rule::Path(exact(
                "/only",
            ))),
        }),
        principal::Identifier::Any(true),
    );
    let listener = Rbac { rules: Some(deny), shadow_rules: Some(shadow), ..Rbac::default() };
    let (gateway, origin) =
        gateway(listener, vec![with("/open", open), with("/closed", closed), plain()]).await;
    assert_eq!(send(&gateway, Method::GET, "/", &[("x-role", "user")]).await.status, StatusCode::OK);
    for roles in [&[("x-role", "banned")][..], &[("x-role", "user"), ("x-role", "banned")][..]] {
        let answer = send(&gateway, Method::GET, "/", roles).await;
        assert_eq!((answer.status, answer.body.as_str()), (StatusCode::FORBIDDEN, "RBAC: access denied"));
    }
    assert_eq!(send(&gateway, Method::GET, "/open", &[("x-role", "banned")]).await.status, StatusCode::OK);
    assert_eq!(send(&gateway, Method::GET, "/closed", &[]).await.status, StatusCode::FORBIDDEN);
    let grpc = send(&gateway, Method::POST, "/closed", &[("content-type", "application/grpc")]).await;
    assert_eq!((grpc.status, grpc.header("grpc-status")), (StatusCode::OK, Some("7")));
    assert_eq!(origin.count(), 2);
    assert_eq!(gateway.metric("envoy_http_rbac_denied", ""), 4);
    assert_eq!(gateway.metric("envoy_http_rbac_allowed", ""), 1);
    assert_eq!(gateway.metric("envoy_http_rbac_shadow_denied", ""), 3);
}

#[tokio::test]
async fn a_local_limit_holds_over_all_workers() {
    let bucket = |max_tokens| TokenBucket {
        max_tokens,
        tokens_per_fill: Some(UInt32Value { value: 1 }),
        fill_interval: time(Duration::from_secs(3600)),
    };
    let limit = |max_tokens| LocalRateLimit {
        stat_prefix: "edge".to_owned(),
        token_bucket: Some(bucket(max_tokens)),
        filter_enabled: share(100),
        filter_enforced: share(100),
        enable_x_ratelimit_headers: 1,
        enable_retry_after_header: true,
        ..LocalRateLimit::default()
    };
    let idle = LocalRateLimit { stat_prefix: "idle".to_owned(), ..LocalRateLimit::default() };
    let (gateway, _origin) =
        gateway(limit(4), vec![with("/own", any(&limit(1))), with("/idle", any(&idle)), plain()]).await;
    let mut seen = Vec::new();
    for _ in 0..8 {
        // Each on a connection of its own, so that both workers serve some.
        let answer = send(&gateway, Method::GET, "/", &[]).await;
        assert_eq!(answer.header("x-ratelimit-limit"), Some("4"));
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            assert_eq!(answer.body, "local_rate_limited");
            let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
            assert!((3500..=3600).contains(&after), "{after}");
        }
        seen.push(answer.status.as_u16());
    }
    assert_eq!(seen, [200, 200, 200, 200, 429, 429, 429, 429]);
    assert_eq!(send(&gateway, Method::GET, "/own", &[]).await.status, StatusCode::OK);
    assert_eq!(send(&gateway, Method::GET, "/own", &[]).await.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(send(&gateway, Method::GET, "/idle", &[]).await.status, StatusCode::OK);
    assert_eq!(gateway.metric("envoy_http_local_rate_limit_ok", "\"edge\""), 5);
    assert_eq!(gateway.metric("envoy_http_local_rate_limit_enforced", "\"edge\""), 5);
}

#[tokio::test]
async fn faults_delay_and_abort_and_a_request_asks_for_no_more_than_configured() {
    let delay =
        |specifier| FaultDelay { percentage: Some(percent(100)), fault_delay_secifier: Some(specifier) };
    let fixed = HttpFault {
        delay: Some(delay(fault_delay::FaultDelaySecifier::FixedDelay(
            time(Duration::from_millis(150)).unwrap(),
        ))),
        headers: vec![header("x-slow", "yes")],
        ..HttpFault::default()
    };
    let by_header = any(&HttpFault {
        abort: Some(FaultAbort {
            percentage: Some(percent(100)),
            error_type: Some(fault_abort::ErrorType::HeaderAbort(fault_abort::HeaderAbort {})),
            ..FaultAbort::default()
        }),
        ..HttpFault::default()
    });
    let never = any(&HttpFault {
        abort: Some(FaultAbort {
            percentage: Some(percent(0)),
            error_type: Some(fault_abort::ErrorType::HeaderAbort(fault_abort::HeaderAbort {})),
            ..FaultAbort::default()
        }),
        ..HttpFault::default()
    });
    let (gateway, _origin) =
        gateway(fixed, vec![with("/header", by_header), with("/never", never), plain()]).await;
    let start = Instant::now();
    assert_eq!(send(&gateway, Method::GET, "/", &[("x-slow", "yes")]).await.status, StatusCode::OK);
    assert!(start.elapsed() >= Duration::from_millis(150));
    let ask = ("x-envoy-fault-abort-request", "418");
    // As in Envoy these headers count from anyone: the filter has to be told to look at them.
    assert_eq!(send(&gateway, Method::GET, "/header", &[ask]).await.status.as_u16(), 418);
    assert_eq!(send(&gateway, Method::GET, "/never", &[ask]).await.status, StatusCode::OK);
    assert_eq!(gateway.metric("envoy_http_fault_delays_injected", ""), 1);
}

#[tokio::test]
async fn a_fault_by_header_is_taken_from_inner_proxies() {
    let faults = HttpFault {
        abort: Some(FaultAbort {
            percentage: Some(percent(100)),
            error_type: Some(fault_abort::ErrorType::HeaderAbort(fault_abort::HeaderAbort {})),
            ..FaultAbort::default()
        }),
        ..HttpFault::default()
    };
    let mut settings = http(vec![host(vec![plain()])]);
    settings.use_remote_address = None;
    settings.http_filters = vec![filter("f", &faults), filter("router", &Router::default())];
    let gateway = Gateway::listening(&listener(vec![chain(&settings)]), vec![]).await;
    let answer = send(&gateway, Method::GET, "/", &[("x-envoy-fault-abort-request", "418")]).await;
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (418, "fault filter abort"));
    let asks = [("x-envoy-fault-abort-grpc-request", "5"), ("content-type", "application/grpc")];
    let answer = send(&gateway, Method::POST, "/", &asks).await;
    assert_eq!(answer.header("grpc-status"), Some("5"));
    let plain = send(&gateway, Method::GET, "/", &asks[..1]).await;
    assert_eq!((plain.status, plain.body.as_str()), (StatusCode::OK, "fault filter abort"));
    let less = [("x-envoy-fault-abort-request", "418"), ("x-envoy-fault-abort-request-percentage", "0")];
    // There is no such cluster: the request went on.
    assert_eq!(send(&gateway, Method::GET, "/", &less).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(gateway.metric("envoy_http_fault_aborts_injected", ""), 3);
}

#[tokio::test]
async fn foreign_origins_change_nothing() {
    let policy = CsrfPolicy {
        filter_enabled: share(100),
        additional_origins: vec![exact("friend.example")],
        ..CsrfPolicy::default()
    };
    let (gateway, origin) = gateway(policy, vec![plain()]).await;
    for (method, headers, expected) in [
        (Method::GET, vec![("origin", "https://evil.example")], 200),
        (Method::POST, vec![("origin", "https://evil.example")], 403),
        (Method::POST, vec![("origin", "https://a.example")], 200),
        (Method::PUT, vec![("referer", "http://friend.example/page?x")], 200),
        (Method::DELETE, vec![("origin", "null")], 403),
        (Method::PATCH, vec![], 403),
        (Method::POST, vec![("origin", "https://a.example"), ("origin", "https://evil.example")], 403),
    ] {
        let answer = send(&gateway, method.clone(), "/", &headers).await;
        assert_eq!(answer.status.as_u16(), expected, "{method} {headers:?}");
        if expected == 403 {
            assert_eq!(answer.body, "Invalid origin");
        }
    }
    assert_eq!(origin.count(), 3);
    assert_eq!(gateway.metric("envoy_http_csrf_request_invalid", ""), 3);
    assert_eq!(gateway.metric("envoy_http_csrf_missing_source_origin", ""), 1);
}

#[tokio::test]
async fn requests_go_on_complete_and_too_large_ones_do_not() {
    let buffer = Buffer { max_request_bytes: Some(UInt32Value { value: 10 }) };
    let off = any(&BufferPerRoute { r#override: Some(buffer_per_route::Override::Disabled(true)) });
    let (gateway, origin) = gateway(buffer, vec![with("/off", off), plain()]).await;
    let post = |path: &str, body: &'static str| {
        Request::post(path).header("host", "a.example").body(full(body)).unwrap()
    };
    let mut client = Client::http1(gateway.address).await;
    let answer = client.send(post("/", "ten bytes!")).await;
    assert_eq!(answer.lines("body"), ["body: ten bytes!"]);
    assert_eq!(client.send(post("/off", "eleven byte")).await.status, StatusCode::OK);
    assert_eq!(origin.count(), 2);
    let answer = Client::http1(gateway.address).await.send(post("/", "eleven byte")).await;
    assert_eq!((answer.status, answer.body.as_str()), (StatusCode::PAYLOAD_TOO_LARGE, "Payload Too Large"));
    assert_eq!(origin.count(), 2);
}
