// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Filters that ask services: what would weaken them is refused, with the field's name.

use crate::put;
use crate::resources::{chain, listener, manager, typed};
use gateway_config::ConfigStore;
use gateway_xds_api::pb::envoy::config::core::v3::{
    DataSource, GrpcService, HttpUri, data_source, grpc_service, http_uri,
};
use gateway_xds_api::pb::envoy::config::ratelimit::v3::RateLimitServiceConfig;
use gateway_xds_api::pb::envoy::config::route::v3::{RateLimit as Rule, RouteMatch, route_match};
use gateway_xds_api::pb::envoy::extensions::filters::http::ext_authz::v3::{
    ExtAuthz, HttpService, ext_authz,
};
use gateway_xds_api::pb::envoy::extensions::filters::http::jwt_authn::v3::{
    JwtAuthentication, JwtProvider, JwtRequirement, RequirementRule, jwt_provider::JwksSourceSpecifier,
    jwt_requirement::RequiresType, requirement_rule::RequirementType,
};
use gateway_xds_api::pb::envoy::extensions::filters::http::ratelimit::v3::RateLimit;
use gateway_xds_api::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpFilter, http_filter,
};
use gateway_xds_api::pb::google::protobuf::Duration;
use gateway_xds_api::{ResourceType, pack};

/// Why a listener with this filter is rejected.
fn rejected(kind: &str, value: &[u8]) -> String {
    applied(&format!("envoy.extensions.filters.http.{kind}"), value).0
}

/// Rejections of a listener with a filter of this type, and warnings.
pub(crate) fn applied(kind: &str, value: &[u8]) -> (String, String) {
    let mut http = manager("t");
    let config = typed(kind, value);
    let filter = HttpFilter {
        name: "tested".to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(config)),
        ..HttpFilter::default()
    };
    http.http_filters.insert(0, filter);
    let applied =
        put(&mut ConfigStore::new(), ResourceType::Listener, [listener("l", vec![chain(&[], &http, None)])]);
    (
        applied.rejections.into_iter().map(|rejection| rejection.message).collect(),
        applied.warnings.into_iter().map(|warning| warning.message).collect(),
    )
}

/// The bytes of a message; the type of the resource plays no part.
macro_rules! bytes {
    ($message:expr) => {
        pack(ResourceType::Listener, "", &$message, "").value
    };
}

pub(crate) fn grpc() -> GrpcService {
    let target = grpc_service::EnvoyGrpc { cluster_name: "c".to_owned(), ..Default::default() };
    GrpcService {
        target_specifier: Some(grpc_service::TargetSpecifier::EnvoyGrpc(target)),
        ..GrpcService::default()
    }
}

pub(crate) fn check(kind: &str, cases: Vec<(bytes::Bytes, &str)>) {
    for (value, expected) in cases {
        let message = rejected(kind, &value);
        let place = "filter_chains[0].filters[0].http_filters[0]";
        match expected {
            "" => assert_eq!(message, "", "taken"),
            expected => assert!(
                message.starts_with(place) && message.contains(expected),
                "{message:?} should name {expected:?}"
            ),
        }
    }
}

#[test]
fn authorization() {
    let good = ExtAuthz {
        services: Some(ext_authz::Services::GrpcService(grpc())),
        transport_api_version: 2,
        ..ExtAuthz::default()
    };
    let uri = HttpUri {
        uri: "http://a/".to_owned(),
        timeout: Some(Duration { seconds: 1, nanos: 0 }),
        http_upstream_type: Some(http_uri::HttpUpstreamType::Cluster("c".to_owned())),
    };
    let http = |service: HttpService| ExtAuthz {
        services: Some(ext_authz::Services::HttpService(service)),
        ..good.clone()
    };
    let google = GrpcService {
        target_specifier: Some(grpc_service::TargetSpecifier::GoogleGrpc(Default::default())),
        ..GrpcService::default()
    };
    let cases = vec![
        (bytes!(good), ""),
        (bytes!(http(HttpService { server_uri: Some(uri.clone()), ..Default::default() })), ""),
        (bytes!(ExtAuthz { services: None, ..good.clone() }), "services: is missing"),
        (bytes!(ExtAuthz { shadow_mode: true, ..good.clone() }), "shadow_mode: is not supported"),
        (bytes!(ExtAuthz { transport_api_version: 1, ..good.clone() }), "transport_api_version: must be V3"),
        (
            bytes!(ExtAuthz { services: Some(ext_authz::Services::GrpcService(google)), ..good.clone() }),
            "google_grpc: is not supported",
        ),
        (bytes!(http(HttpService::default())), "server_uri: is missing"),
        (
            bytes!(http(HttpService {
                server_uri: Some(HttpUri { uri: "/only".to_owned(), ..uri.clone() }),
                ..Default::default()
            })),
            "server_uri.uri: must be",
        ),
        (
            bytes!(http(HttpService {
                server_uri: Some(HttpUri { timeout: None, ..uri.clone() }),
                ..Default::default()
            })),
            "server_uri.timeout: is missing",
        ),
        (
            bytes!(http(HttpService {
                server_uri: Some(uri),
                path_prefix: "no".to_owned(),
                ..Default::default()
            })),
            "path_prefix: is not a path",
        ),
    ];
    check("ext_authz.v3.ExtAuthz", cases);
}

#[test]
fn tokens() {
    let local = |text: &str| {
        JwksSourceSpecifier::LocalJwks(DataSource {
            specifier: Some(data_source::Specifier::InlineString(text.to_owned())),
            ..DataSource::default()
        })
    };
    let good = local(r#"{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}"#);
    let with = |keys: JwksSourceSpecifier, requires: RequiresType| {
        let provider = JwtProvider { jwks_source_specifier: Some(keys), ..JwtProvider::default() };
        let path = route_match::PathSpecifier::Prefix("/".to_owned());
        JwtAuthentication {
            providers: [("a".to_owned(), provider)].into(),
            rules: vec![RequirementRule {
                r#match: Some(RouteMatch { path_specifier: Some(path), ..RouteMatch::default() }),
                requirement_type: Some(RequirementType::Requires(JwtRequirement {
                    requires_type: Some(requires),
                })),
            }],
            ..JwtAuthentication::default()
        }
    };
    let named = |name: &str| RequiresType::ProviderName(name.to_owned());
    let unchecked = RequiresType::ExtractOnlyWithoutValidation(Default::default());
    let cases = vec![
        (bytes!(with(good.clone(), named("a"))), ""),
        (bytes!(with(good.clone(), named("b"))), "provider_name: \"b\" is not in providers"),
        (bytes!(with(good, unchecked)), "extract_only_without_validation: is not supported"),
        (bytes!(with(local("{}"), named("a"))), "providers[\"a\"].local_jwks: has no list"),
        (bytes!(with(local(r#"{"keys": []}"#), named("a"))), "local_jwks: has no usable key"),
    ];
    check("jwt_authn.v3.JwtAuthentication", cases);
}

#[test]
fn limits() {
    let good = RateLimit {
        domain: "d".to_owned(),
        rate_limit_service: Some(RateLimitServiceConfig {
            grpc_service: Some(grpc()),
            transport_api_version: 2,
        }),
        ..RateLimit::default()
    };
    let late = Rule { apply_on_stream_done: true, ..Rule::default() };
    let cases = vec![
        (bytes!(good), ""),
        (bytes!(RateLimit { domain: String::new(), ..good.clone() }), "domain: is empty"),
        (bytes!(RateLimit { rate_limit_service: None, ..good.clone() }), "rate_limit_service: is missing"),
        (
            bytes!(RateLimit { request_type: "internal".to_owned(), ..good.clone() }),
            "request_type: must be both",
        ),
        (
            bytes!(RateLimit { rate_limits: vec![late], ..good.clone() }),
            "rate_limits[0].apply_on_stream_done",
        ),
        (
            bytes!(RateLimit { rate_limits: vec![Rule::default()], ..good }),
            "rate_limits[0].actions: is empty",
        ),
    ];
    check("ratelimit.v3.RateLimit", cases);
}
