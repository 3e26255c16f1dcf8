// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Rate limit services that count, refuse, fail and hang.

use crate::client::{Answer, Client};
use crate::config::{any, chain, cluster, filter, host, http, http2_cluster, listener, route, time, to};
use crate::gateway::Gateway;
use crate::origin::{Origin, full, nobody};
use crate::services::{grpc, limiter};
use ::http::Request;
use gateway_xds_api::pb::envoy::config::core::v3::HeaderValue;
use gateway_xds_api::pb::envoy::config::ratelimit::v3::RateLimitServiceConfig;
use gateway_xds_api::pb::envoy::config::route::v3::{
    HeaderMatcher, RateLimit as Rule, VirtualHost, header_matcher,
    rate_limit::{
        Action,
        action::{
            ActionSpecifier, DestinationCluster, GenericKey, HeaderValueMatch, QueryParameters,
            RemoteAddress, RequestHeaders,
        },
    },
};
use gateway_xds_api::pb::envoy::extensions::filters::http::ratelimit::v3::{RateLimit, RateLimitPerRoute};
use gateway_xds_api::pb::envoy::extensions::filters::http::router::v3::Router;
use gateway_xds_api::pb::envoy::service::ratelimit::v3::{
    RateLimitRequest, RateLimitResponse,
    rate_limit_response::{Code, DescriptorStatus, RateLimit as Current, rate_limit::Unit},
};
use gateway_xds_api::pb::envoy::r#type::v3::HttpStatus;
use gateway_xds_api::pb::google::protobuf::{Duration as PbDuration, UInt32Value};
use std::net::SocketAddr;
use std::time::Duration;
use tonic::Status;

const LIMIT: Duration = Duration::from_secs(2);

fn rule(stage: u32, actions: Vec<ActionSpecifier>) -> Rule {
    let action = |specifier| Action { action_specifier: Some(specifier) };
    Rule {
        stage: Some(UInt32Value { value: stage }),
        actions: actions.into_iter().map(action).collect(),
        ..Default::default()
    }
}

fn fixed(value: &str) -> ActionSpecifier {
    ActionSpecifier::GenericKey(GenericKey { descriptor_value: value.to_owned(), ..Default::default() })
}

fn header(name: &str, skip_if_absent: bool) -> ActionSpecifier {
    ActionSpecifier::RequestHeaders(RequestHeaders {
        header_name: name.to_owned(),
        descriptor_key: format!("key-{name}"),
        skip_if_absent,
    })
}

/// Everything that a request can be told by.
fn rules() -> Vec<Rule> {
    let present = HeaderMatcher {
        name: "x-tier".to_owned(),
        header_match_specifier: Some(header_matcher::HeaderMatchSpecifier::PresentMatch(true)),
        ..Default::default()
    };
    let tier = ActionSpecifier::HeaderValueMatch(HeaderValueMatch {
        descriptor_value: "tiered".to_owned(),
        headers: vec![present],
        ..Default::default()
    });
    let query = ActionSpecifier::QueryParameters(QueryParameters {
        query_parameter_name: "q".to_owned(),
        descriptor_key: "query".to_owned(),
        ..Default::default()
    });
    let remote = ActionSpecifier::RemoteAddress(RemoteAddress {});
    let to = ActionSpecifier::DestinationCluster(DestinationCluster {});
    vec![
        rule(0, vec![remote, to, fixed("all"), header("x-none", true)]),
        rule(0, vec![header("x-user", false)]),
        rule(0, vec![tier, query]),
        rule(1, vec![fixed("other stage")]),
    ]
}

fn config(limit: Duration) -> RateLimit {
    RateLimit {
        domain: "shop".to_owned(),
        timeout: time(limit),
        rate_limit_service: Some(RateLimitServiceConfig {
            grpc_service: Some(grpc("limits", limit)),
            transport_api_version: 2,
        }),
        enable_x_ratelimit_headers: 1,
        enable_retry_after_header: true,
        ..Default::default()
    }
}

/// Refuses who is called eve.
fn judge(request: &RateLimitRequest) -> Result<RateLimitResponse, Status> {
    let mut entries = request.descriptors.iter().flat_map(|descriptor| &descriptor.entries);
    let over = entries.any(|entry| entry.value == "eve");
    let code = if over { Code::OverLimit } else { Code::Ok };
    let status = |remaining, unit: Unit, requests_per_unit| DescriptorStatus {
        code: code.into(),
        current_limit: Some(Current { requests_per_unit, unit: unit.into(), name: String::new() }),
        limit_remaining: remaining,
        duration_until_reset: Some(PbDuration { seconds: 7, nanos: 0 }),
        ..Default::default()
    };
    let told = |key: &str| HeaderValue { key: key.to_owned(), value: "1".to_owned(), ..Default::default() };
    Ok(RateLimitResponse {
        overall_code: code.into(),
        statuses: vec![status(9, Unit::Hour, 100), status(3, Unit::Second, 5)],
        response_headers_to_add: vec![told("x-told-client"), told("content-length")],
        request_headers_to_add: vec![told("x-told-upstream")],
        raw_body: b"slow down".to_vec(),
        ..Default::default()
    })
}

async fn gateway(config: &RateLimit, service: SocketAddr, host: VirtualHost) -> (Gateway, Origin) {
    let origin = Origin::echo().await;
    let mut settings = http(vec![host]);
    settings.http_filters = vec![filter("limits", config), filter("router", &Router::default())];
    let clusters = vec![cluster("one", &[origin.address]), http2_cluster("limits", &[service])];
    (Gateway::listening(&listener(vec![chain(&settings)]), clusters).await, origin)
}

async fn get(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::get(path).header("host", "a.example");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Client::http1(gateway.address).await.send(request.body(full("")).unwrap()).await
}

/// Descriptors as text.
fn texts(request: &RateLimitRequest) -> Vec<String> {
    let text = |entries: &[_]| {
        let entry = |entry: &gateway_xds_api::pb::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry| {
            format!("{}={}", entry.key, entry.value)
        };
        entries.iter().map(entry).collect::<Vec<_>>().join(" ")
    };
    request.descriptors.iter().map(|descriptor| text(&descriptor.entries)).collect()
}

#[tokio::test]
async fn descriptors_tell_the_request_and_the_answer_counts() {
    let (service, asked) = limiter(judge).await;
    let mut own = to("one");
    own.rate_limits = rules();
    let hosted = VirtualHost {
        rate_limits: vec![rule(0, vec![fixed("host")])],
        ..host(vec![route("/own", own.clone()), with_host("/both", own), route("/", to("one"))])
    };
    let (gateway, origin) = gateway(&config(LIMIT), service.address, hosted).await;

    let ok = get(&gateway, "/own?q=1", &[("x-user", "ann"), ("x-tier", "gold")]).await;
    assert_eq!(ok.status.as_u16(), 200);
    assert_eq!(
        (ok.header("x-told-client"), ok.lines("x-told-upstream")),
        (Some("1"), vec!["x-told-upstream: 1"])
    );
    assert_eq!(ok.header("x-ratelimit-limit"), Some("5, 100;w=3600, 5;w=1"));
    assert_eq!((ok.header("x-ratelimit-remaining"), ok.header("x-ratelimit-reset")), (Some("3"), Some("7")));
    let over = get(&gateway, "/own", &[("x-user", "eve")]).await;
    assert_eq!((over.status.as_u16(), &*over.body), (429, "slow down"));
    assert_eq!((over.header("x-envoy-ratelimited"), over.header("retry-after")), (Some("true"), Some("7")));
    get(&gateway, "/both", &[]).await;
    get(&gateway, "/", &[]).await;
    assert_eq!(origin.count(), 3);

    let asked = asked.lock();
    let all = "remote_address=127.0.0.1 destination_cluster=one generic_key=all";
    for (at, expected) in [
        vec![all, "key-x-user=ann", "header_match=tiered query=1"],
        vec![all, "key-x-user=eve"],
        vec![all, "generic_key=host"],
        vec!["generic_key=host"],
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(
            (texts(&asked[at]), &*asked[at].domain),
            (expected.iter().map(|&text| text.to_owned()).collect(), "shop")
        );
    }
}

/// A route that sends its virtual host's rules too.
fn with_host(
    path: &str,
    action: gateway_xds_api::pb::envoy::config::route::v3::RouteAction,
) -> gateway_xds_api::pb::envoy::config::route::v3::Route {
    let mut route = route(path, action);
    let own = RateLimitPerRoute { vh_rate_limits: 1, ..Default::default() };
    route.typed_per_filter_config.insert("limits".to_owned(), any(&own));
    route
}

#[tokio::test]
async fn a_service_that_fails_lets_requests_pass_unless_told_otherwise() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (broken, _asked) = limiter(|_| Err(Status::internal("broken"))).await;
    let (unknown, _asked) = limiter(|_| Ok(RateLimitResponse::default())).await;
    for (deny, status) in [(false, 200), (true, 503)] {
        let config = RateLimit {
            failure_mode_deny: deny,
            status_on_error: Some(HttpStatus { code: 503 }),
            ..config(Duration::from_millis(100))
        };
        for address in [nobody().await, silent.local_addr().unwrap(), broken.address, unknown.address] {
            let hosted = VirtualHost {
                rate_limits: vec![rule(0, vec![fixed("host")])],
                ..host(vec![route("/", to("one"))])
            };
            let (gateway, _origin) = gateway(&config, address, hosted).await;
            assert_eq!(get(&gateway, "/", &[]).await.status.as_u16(), status, "{address}");
        }
    }
}
