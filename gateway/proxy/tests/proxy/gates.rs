// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Network filters that refuse connections: access rules, limits of new and of open ones.

use crate::client::Client;
use crate::config::{any, chain, cluster, host, http, listener, route, time, to};
use crate::gateway::Gateway;
use crate::origin::Origin;
use gateway_xds_api::pb::envoy::config::core::v3::CidrRange;
use gateway_xds_api::pb::envoy::config::listener::v3::{Filter, filter};
use gateway_xds_api::pb::envoy::config::rbac::v3::{
    Permission, Policy, Principal, Rbac as Rules, permission::Rule, principal::Identifier, rbac::Action,
};
use gateway_xds_api::pb::envoy::extensions::filters::network::connection_limit::v3::ConnectionLimit;
use gateway_xds_api::pb::envoy::extensions::filters::network::local_ratelimit::v3::LocalRateLimit;
use gateway_xds_api::pb::envoy::extensions::filters::network::rbac::v3::Rbac;
use gateway_xds_api::pb::envoy::r#type::v3::TokenBucket;
use gateway_xds_api::pb::google::protobuf::{UInt32Value, UInt64Value};
use http::StatusCode;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn behind<M: prost::Message + prost::Name>(gates: &[&M]) -> (Gateway, Origin) {
    let origin = Origin::named("through").await;
    let mut one = chain(&http(vec![host(vec![route("/", to("web"))])]));
    for gate in gates {
        one.filters.insert(
            one.filters.len() - 1,
            Filter {
                name: "gate".to_owned(),
                config_type: Some(filter::ConfigType::TypedConfig(any(*gate))),
            },
        );
    }
    let gateway = Gateway::listening(&listener(vec![one]), vec![cluster("web", &[origin.address])]).await;
    (gateway, origin)
}

/// What a connection gets for a request, all of it.
async fn ask(gateway: &Gateway) -> String {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n";
    let mut text = String::new();
    // A connection that is refused may be reset.
    let _ = stream.write_all(request).await;
    let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_string(&mut text)).await.unwrap();
    text
}

fn rules(action: Action, addresses: &str) -> Rules {
    let range =
        CidrRange { address_prefix: addresses.to_owned(), prefix_len: Some(UInt32Value { value: 8 }) };
    let policy = Policy {
        permissions: vec![Permission { rule: Some(Rule::Any(true)) }],
        principals: vec![Principal { identifier: Some(Identifier::DirectRemoteIp(range)) }],
        ..Policy::default()
    };
    Rules { action: action.into(), policies: [("p".to_owned(), policy)].into(), ..Rules::default() }
}

#[tokio::test]
async fn access_rules_close_what_they_refuse() {
    for (action, addresses, allowed) in [
        (Action::Allow, "127.0.0.0", true),
        (Action::Allow, "10.0.0.0", false),
        (Action::Deny, "127.0.0.0", false),
        (Action::Deny, "10.0.0.0", true),
        (Action::Log, "10.0.0.0", true),
    ] {
        let gate = Rbac {
            stat_prefix: "edge".to_owned(),
            rules: Some(rules(action, addresses)),
            shadow_rules: Some(rules(Action::Deny, "127.0.0.0")),
            delay_deny: time(Duration::from_millis(100)),
            ..Rbac::default()
        };
        let (gateway, origin) = behind(&[&gate]).await;
        let start = Instant::now();
        let answer = ask(&gateway).await;
        assert_eq!(
            (answer.ends_with("through"), origin.count()),
            (allowed, usize::from(allowed)),
            "{action:?} {addresses}"
        );
        if !allowed {
            assert_eq!(answer, "", "bytes for a connection that is refused");
            assert!(start.elapsed() >= Duration::from_millis(100));
        }
        let counted = u64::from(action != Action::Log);
        let name = if allowed { "envoy_rbac_allowed" } else { "envoy_rbac_denied" };
        assert_eq!(gateway.metric(name, "\"edge\""), counted, "{action:?}");
        assert_eq!(gateway.metric("envoy_rbac_shadow_denied", "\"edge\""), 1);
    }
}

#[tokio::test]
async fn new_connections_are_limited_by_tokens() {
    let gate = LocalRateLimit {
        stat_prefix: "edge".to_owned(),
        token_bucket: Some(TokenBucket {
            max_tokens: 2,
            tokens_per_fill: None,
            fill_interval: time(Duration::from_secs(3600)),
        }),
        ..LocalRateLimit::default()
    };
    let (gateway, origin) = behind(&[&gate]).await;
    let mut through = 0;
    for _ in 0..4 {
        through += usize::from(ask(&gateway).await.ends_with("through"));
    }
    assert_eq!((through, origin.count()), (2, 2));
    assert_eq!(gateway.metric("envoy_local_rate_limit_rate_limited", "\"edge\""), 2);
}

#[tokio::test]
async fn open_connections_are_limited_and_come_back() {
    let gate = ConnectionLimit {
        stat_prefix: "edge".to_owned(),
        max_connections: Some(UInt64Value { value: 1 }),
        ..ConnectionLimit::default()
    };
    let (gateway, origin) = behind(&[&gate]).await;
    let mut first = Client::http1(gateway.address).await;
    assert_eq!(first.get("/").await.status, StatusCode::OK);
    assert_eq!(ask(&gateway).await, "");
    assert_eq!(first.get("/").await.status, StatusCode::OK, "the connection that is there goes on");
    drop(first);
    let limit = Instant::now() + Duration::from_secs(5);
    while !ask(&gateway).await.ends_with("through") {
        assert!(Instant::now() < limit, "the place did not come back");
    }
    assert_eq!(origin.count(), 3);
    assert!(gateway.metric("envoy_connection_limit_limited_connections", "\"edge\"") >= 1);
}
