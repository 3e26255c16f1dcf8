// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Limits by descriptors and for each connection, and answers that come slowly.

use crate::client::Client;
use crate::config::{any, chain, cluster, filter, host, http, listener, route, time, to, yes};
use crate::gateway::Gateway;
use crate::origin::{Origin, full};
use ::http::Request;
use gateway_xds_api::pb::envoy::config::core::v3::RuntimeFractionalPercent;
use gateway_xds_api::pb::envoy::config::route::v3::{
    RateLimit, Route,
    rate_limit::{
        Action,
        action::{ActionSpecifier, RequestHeaders},
    },
    route,
};
use gateway_xds_api::pb::envoy::extensions::common::ratelimit::v3::{
    LocalRateLimitDescriptor, rate_limit_descriptor::Entry,
};
use gateway_xds_api::pb::envoy::extensions::filters::common::fault::v3::{
    FaultRateLimit,
    fault_rate_limit::{FixedLimit, HeaderLimit, LimitType},
};
use gateway_xds_api::pb::envoy::extensions::filters::http::fault::v3::HttpFault;
use gateway_xds_api::pb::envoy::extensions::filters::http::local_ratelimit::v3::LocalRateLimit;
use gateway_xds_api::pb::envoy::extensions::filters::http::router::v3::Router;
use gateway_xds_api::pb::envoy::r#type::v3::{FractionalPercent, TokenBucket};
use gateway_xds_api::pb::google::protobuf::{BoolValue, UInt32Value};
use std::time::{Duration, Instant};

fn hundred() -> Option<FractionalPercent> {
    Some(FractionalPercent { numerator: 100, denominator: 0 })
}

fn bucket(tokens: u32) -> Option<TokenBucket> {
    Some(TokenBucket {
        max_tokens: tokens,
        tokens_per_fill: Some(UInt32Value { value: 1 }),
        fill_interval: time(Duration::from_secs(3600)),
    })
}

fn limit(tokens: u32, descriptors: &[(&str, u32)]) -> LocalRateLimit {
    let always = Some(RuntimeFractionalPercent { default_value: hundred(), runtime_key: String::new() });
    let descriptor = |(value, tokens): &(&str, u32)| LocalRateLimitDescriptor {
        entries: vec![Entry { key: "user".to_owned(), value: (*value).to_owned() }],
        token_bucket: bucket(*tokens),
        ..LocalRateLimitDescriptor::default()
    };
    LocalRateLimit {
        stat_prefix: "limit".to_owned(),
        token_bucket: bucket(tokens),
        filter_enabled: always.clone(),
        filter_enforced: always,
        descriptors: descriptors.iter().map(descriptor).collect(),
        enable_x_ratelimit_headers: 1,
        ..LocalRateLimit::default()
    }
}

fn by_user() -> RateLimit {
    let header = RequestHeaders {
        header_name: "x-user".to_owned(),
        descriptor_key: "user".to_owned(),
        skip_if_absent: false,
    };
    RateLimit {
        actions: vec![Action { action_specifier: Some(ActionSpecifier::RequestHeaders(header)) }],
        ..RateLimit::default()
    }
}

async fn gateway(config: &LocalRateLimit, routes: Vec<Route>) -> (Gateway, Origin) {
    let origin = Origin::named("origin").await;
    let mut settings = http(vec![host(routes)]);
    settings.http_filters = vec![filter("limit", config), filter("router", &Router::default())];
    (
        Gateway::listening(&listener(vec![chain(&settings)]), vec![cluster("one", &[origin.address])]).await,
        origin,
    )
}

async fn allowed(client: &mut Client, user: &str, times: usize) -> usize {
    let mut count = 0;
    for _ in 0..times {
        let request = Request::get("/").header("host", "a").header("x-user", user).body(full(""));
        let answer = client.send(request.unwrap()).await;
        match answer.status.as_u16() {
            200 => count += 1,
            status => assert_eq!((status, answer.header("x-ratelimit-remaining")), (429, Some("0"))),
        }
    }
    count
}

#[tokio::test]
async fn descriptors_of_routes_and_of_the_filter() {
    for of_filter in [true, false] {
        let mut config = limit(100, &[("ann", 2), ("", 1)]);
        let mut first = route("/", to("one"));
        match (&mut first.action, of_filter) {
            (_, true) => config.rate_limits = vec![by_user()],
            (Some(route::Action::Route(action)), false) => action.rate_limits = vec![by_user()],
            _ => unreachable!(),
        }
        let (gateway, _origin) = gateway(&config, vec![first]).await;
        let mut client = Client::http1(gateway.address).await;
        assert_eq!(allowed(&mut client, "ann", 4).await, 2);
        assert_eq!(allowed(&mut client, "bob", 2).await, 1);
        assert_eq!(allowed(&mut client, "eve", 2).await, 1);
        let answer = client.get("/").await;
        assert_eq!((answer.status.as_u16(), answer.header("x-ratelimit-limit")), (200, Some("100")));
    }
}

#[tokio::test]
async fn the_default_bucket_counts_always_or_for_others_alone() {
    for (always, others) in [(true, 1), (false, 3)] {
        let mut config = limit(3, &[("ann", 2)]);
        config.rate_limits = vec![by_user()];
        config.always_consume_default_token_bucket = Some(BoolValue { value: always });
        let (gateway, _origin) = gateway(&config, vec![route("/", to("one"))]).await;
        let mut client = Client::http1(gateway.address).await;
        assert_eq!(allowed(&mut client, "ann", 4).await, 2);
        assert_eq!(allowed(&mut client, "bob", 5).await, others, "{always}");
    }
}

#[tokio::test]
async fn connections_and_routes_have_buckets_of_their_own() {
    let config = LocalRateLimit { local_rate_limit_per_downstream_connection: true, ..limit(2, &[]) };
    let mut own = route("/own", to("one"));
    own.typed_per_filter_config.insert("limit".to_owned(), any(&limit(1, &[])));
    let (gateway, _origin) = gateway(&config, vec![own, route("/", to("one"))]).await;
    for _ in 0..2 {
        let mut client = Client::http1(gateway.address).await;
        assert_eq!(allowed(&mut client, "ann", 4).await, 2);
    }
    let mut statuses = Vec::new();
    for _ in 0..2 {
        statuses.push(Client::http1(gateway.address).await.get("/own").await.status.as_u16());
    }
    assert_eq!(statuses, [200, 429]);
}

#[tokio::test]
async fn answers_come_slowly_where_that_is_a_fault() {
    let origin = Origin::start(|_| async { ::http::Response::new(full("x".repeat(8 << 10))) }).await;
    for (by_header, expected) in [(None, true), (Some("16"), true), (Some("0"), false)] {
        let limit = match by_header {
            None => LimitType::FixedLimit(FixedLimit { limit_kbps: 16 }),
            Some(_) => LimitType::HeaderLimit(HeaderLimit {}),
        };
        let fault = HttpFault {
            response_rate_limit: Some(FaultRateLimit { percentage: hundred(), limit_type: Some(limit) }),
            ..HttpFault::default()
        };
        let mut settings = http(vec![host(vec![route("/", to("one"))])]);
        settings.http_filters = vec![filter("fault", &fault), filter("router", &Router::default())];
        settings.generate_request_id = yes();
        let clusters = vec![cluster("one", &[origin.address])];
        let gateway = Gateway::listening(&listener(vec![chain(&settings)]), clusters).await;
        let mut request = Request::get("/").header("host", "a");
        if let Some(rate) = by_header {
            request = request.header("x-envoy-fault-throughput-response", rate);
        }
        let began = Instant::now();
        let answer = Client::http1(gateway.address).await.send(request.body(full("")).unwrap()).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 8 << 10));
        // 8 KiB at 16 KiB in a second.
        assert_eq!(began.elapsed() >= Duration::from_millis(490), expected, "{by_header:?}");
        assert_eq!(gateway.metric("envoy_http_fault_response_rl_injected", ""), u64::from(expected));
    }
}
