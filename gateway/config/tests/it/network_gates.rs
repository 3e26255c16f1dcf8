// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Network filters in front of others: what connections do not have is refused, with the field's name.

use crate::put;
use crate::resources::{chain, listener, manager, typed};
use gateway_config::ConfigStore;
use gateway_xds_api::pb::envoy::config::listener::v3::{Filter, filter};
use gateway_xds_api::pb::envoy::config::rbac::v3::{
    Permission, Policy, Principal, Rbac as Rules, permission::Rule, principal::Identifier,
};
use gateway_xds_api::pb::envoy::config::route::v3::HeaderMatcher;
use gateway_xds_api::pb::envoy::extensions::filters::network::connection_limit::v3::ConnectionLimit;
use gateway_xds_api::pb::envoy::extensions::filters::network::local_ratelimit::v3::LocalRateLimit;
use gateway_xds_api::pb::envoy::extensions::filters::network::rbac::v3::Rbac;
use gateway_xds_api::pb::envoy::r#type::v3::TokenBucket;
use gateway_xds_api::pb::google::protobuf::{Duration, UInt64Value};
use gateway_xds_api::{ResourceType, pack};

/// Why a listener with this network filter, first or last, is rejected.
fn rejected(kind: &str, value: &[u8], first: bool) -> String {
    let mut chain = chain(&[], &manager("t"), None);
    let config = typed(&format!("envoy.extensions.filters.network.{kind}"), value);
    let gate = Filter { name: "gate".to_owned(), config_type: Some(filter::ConfigType::TypedConfig(config)) };
    chain.filters.insert(usize::from(!first), gate);
    let applied = put(&mut ConfigStore::new(), ResourceType::Listener, [listener("l", vec![chain])]);
    applied.rejections.into_iter().map(|rejection| rejection.message).collect()
}

/// The bytes of a message; the type of the resource plays no part.
macro_rules! bytes {
    ($message:expr) => {
        pack(ResourceType::Listener, "", &$message, "").value
    };
}

fn rules(principal: Identifier) -> Rbac {
    let policy = Policy {
        permissions: vec![Permission { rule: Some(Rule::Any(true)) }],
        principals: vec![Principal { identifier: Some(principal) }],
        ..Policy::default()
    };
    let rules = Rules { policies: [("p".to_owned(), policy)].into(), ..Rules::default() };
    Rbac { rules: Some(rules), ..Rbac::default() }
}

#[test]
fn what_stands_in_front() {
    let header = HeaderMatcher { name: "a".to_owned(), ..HeaderMatcher::default() };
    let hidden = Principal { identifier: Some(Identifier::Header(header)) };
    let bucket = TokenBucket {
        max_tokens: 1,
        fill_interval: Some(Duration { seconds: 1, nanos: 0 }),
        ..TokenBucket::default()
    };
    let rate = LocalRateLimit { token_bucket: Some(bucket), ..LocalRateLimit::default() };
    let limit = |most| ConnectionLimit {
        max_connections: Some(UInt64Value { value: most }),
        ..ConnectionLimit::default()
    };
    let late = Some(Duration { seconds: 3601, nanos: 0 });
    for (kind, value, expected) in [
        ("rbac.v3.RBAC", bytes!(rules(Identifier::Any(true))), ""),
        (
            "rbac.v3.RBAC",
            bytes!(rules(Identifier::NotId(Box::new(hidden)))),
            "filters[0].rules: has a condition on a header",
        ),
        (
            "rbac.v3.RBAC",
            bytes!(Rbac { delay_deny: late, ..rules(Identifier::Any(true)) }),
            "filters[0].delay_deny: must be an hour",
        ),
        ("local_ratelimit.v3.LocalRateLimit", bytes!(rate), ""),
        (
            "local_ratelimit.v3.LocalRateLimit",
            bytes!(LocalRateLimit { share_key: "all".to_owned(), ..rate }),
            "filters[0].share_key: is not supported",
        ),
        ("local_ratelimit.v3.LocalRateLimit", bytes!(LocalRateLimit::default()), "token_bucket: is missing"),
        ("connection_limit.v3.ConnectionLimit", bytes!(limit(1)), ""),
        ("connection_limit.v3.ConnectionLimit", bytes!(limit(0)), "max_connections: must be above 0"),
        ("tcp_proxy.v3.TcpProxy", bytes!(limit(1)), "filters[0]: the network filter"),
    ] {
        let message = rejected(kind, &value, true);
        match expected {
            "" => assert_eq!(message, "", "{kind} is taken"),
            expected => assert!(message.contains(expected), "{message:?} should name {expected:?}"),
        }
    }
    let last = rejected("connection_limit.v3.ConnectionLimit", &bytes!(limit(1)), false);
    assert!(last.contains("http_connection_manager"), "{last:?}");
}
