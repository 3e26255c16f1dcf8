// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Filters that process, log in and limit: what has no effect here is refused, with the field's name.

use crate::services::{applied, check, grpc};
use gateway_xds_api::pb::envoy::config::core::v3::{HttpUri, TypedExtensionConfig, http_uri};
use gateway_xds_api::pb::envoy::extensions::common::ratelimit::v3::{
    LocalClusterRateLimit, LocalRateLimitDescriptor, rate_limit_descriptor::Entry,
};
use gateway_xds_api::pb::envoy::extensions::filters::http::ext_proc::v3::{
    ExtProcHttpService, ExternalProcessor, ProcessingMode, processing_mode::BodySendMode,
};
use gateway_xds_api::pb::envoy::extensions::filters::http::health_check::v3::HealthCheck;
use gateway_xds_api::pb::envoy::extensions::filters::http::local_ratelimit::v3::LocalRateLimit;
use gateway_xds_api::pb::envoy::extensions::filters::http::oauth2::v3::{
    OAuth2, OAuth2Config, OAuth2Credentials, o_auth2_config::AuthType, o_auth2_credentials::TokenFormation,
};
use gateway_xds_api::pb::envoy::extensions::transport_sockets::tls::v3::SdsSecretConfig;
use gateway_xds_api::pb::envoy::r#type::matcher::v3::{
    PathMatcher, StringMatcher, path_matcher, string_matcher,
};
use gateway_xds_api::pb::envoy::r#type::v3::TokenBucket;
use gateway_xds_api::pb::google::protobuf::{Any, BoolValue, Duration, UInt32Value};
use gateway_xds_api::{ResourceType, pack};

/// The bytes of a message; the type of the resource plays no part.
macro_rules! bytes {
    ($message:expr) => {
        pack(ResourceType::Listener, "", &$message, "").value
    };
}

fn seconds(seconds: i64) -> Option<Duration> {
    Some(Duration { seconds, nanos: 0 })
}

#[test]
fn processing() {
    let good = ExternalProcessor { grpc_service: Some(grpc()), ..ExternalProcessor::default() };
    let body = |mode: BodySendMode| ExternalProcessor {
        processing_mode: Some(ProcessingMode { request_body_mode: mode.into(), ..Default::default() }),
        ..good.clone()
    };
    let cases = vec![
        (bytes!(good), ""),
        (bytes!(body(BodySendMode::BufferedPartial)), ""),
        (bytes!(body(BodySendMode::Grpc)), "processing_mode.request_body_mode: GRPC is not supported"),
        (
            bytes!(body(BodySendMode::FullDuplexStreamed)),
            "processing_mode.request_trailer_mode: must be SEND",
        ),
        (bytes!(ExternalProcessor::default()), "grpc_service: is missing"),
        (
            bytes!(ExternalProcessor { http_service: Some(ExtProcHttpService::default()), ..good.clone() }),
            "http_service: is not supported",
        ),
        (
            bytes!(ExternalProcessor { observability_mode: true, ..good.clone() }),
            "observability_mode: is not supported",
        ),
        (
            bytes!(ExternalProcessor {
                on_processing_response: Some(TypedExtensionConfig::default()),
                ..good.clone()
            }),
            "on_processing_response: is not supported",
        ),
        (
            bytes!(ExternalProcessor { message_timeout: seconds(3601), ..good.clone() }),
            "message_timeout: is longer",
        ),
        (
            bytes!(ExternalProcessor {
                request_attributes: vec!["request.nonsense".to_owned()],
                ..good.clone()
            }),
            "request_attributes: request.nonsense is not supported",
        ),
    ];
    check("ext_proc.v3.ExternalProcessor", cases);
}

#[test]
fn what_only_watches_is_left_out() {
    // A TypedStruct is an Any whose value is a Struct.
    let inside =
        |kind: &str| bytes!(Any { type_url: format!("type.googleapis.com/{kind}"), value: b"\n\0".to_vec() });
    for (kind, value) in [
        ("envoy.extensions.filters.http.grpc_stats.v3.FilterConfig", bytes!(Any::default())),
        ("io.istio.http.peer_metadata.Config", bytes!(Any::default())),
        ("udpa.type.v1.TypedStruct", inside("stats.PluginConfig")),
        ("xds.type.v3.TypedStruct", inside("istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig")),
    ] {
        let (rejections, warnings) = applied(kind, &value);
        assert_eq!(rejections, "", "{kind}");
        assert!(warnings.contains("http_filters[0].typed_config: the filter"), "{kind}: {warnings:?}");
    }
    for (kind, value) in [
        ("udpa.type.v1.TypedStruct", inside("envoy.extensions.filters.http.lua.v3.Lua")),
        ("envoy.extensions.filters.http.lua.v3.Lua", bytes!(Any::default())),
    ] {
        assert!(applied(kind, &value).0.contains("is not supported"), "{kind}");
    }
}

#[test]
fn logins() {
    let exact = StringMatcher {
        match_pattern: Some(string_matcher::MatchPattern::Exact("/x".to_owned())),
        ..StringMatcher::default()
    };
    let path = Some(PathMatcher { rule: Some(path_matcher::Rule::Path(exact)) });
    let named = SdsSecretConfig { name: "s".to_owned(), sds_config: None };
    let good = OAuth2Config {
        token_endpoint: Some(HttpUri {
            uri: "https://a/token".to_owned(),
            timeout: seconds(1),
            http_upstream_type: Some(http_uri::HttpUpstreamType::Cluster("c".to_owned())),
        }),
        authorization_endpoint: "https://a/login".to_owned(),
        credentials: Some(OAuth2Credentials {
            client_id: "c".to_owned(),
            token_secret: Some(named.clone()),
            token_formation: Some(TokenFormation::HmacSecret(named)),
            ..OAuth2Credentials::default()
        }),
        redirect_uri: "https://b/callback".to_owned(),
        redirect_path_matcher: path.clone(),
        signout_path: path,
        ..OAuth2Config::default()
    };
    let filter = |config: OAuth2Config| OAuth2 { config: Some(config) };
    // A listener whose secrets are not there yet waits, but is taken.
    let cases = vec![
        (bytes!(filter(good.clone())), ""),
        (bytes!(OAuth2::default()), "config: is missing"),
        (bytes!(filter(OAuth2Config { credentials: None, ..good.clone() })), "credentials: is missing"),
        (
            bytes!(filter(OAuth2Config { authorization_endpoint: "/login".to_owned(), ..good.clone() })),
            "authorization_endpoint: must be",
        ),
        (
            bytes!(filter(OAuth2Config { auth_type: AuthType::PrivateKeyJwt.into(), ..good.clone() })),
            "auth_type: PRIVATE_KEY_JWT is not supported",
        ),
        (
            bytes!(filter(OAuth2Config {
                forward_bearer_token: true,
                preserve_authorization_header: true,
                ..good.clone()
            })),
            "preserve_authorization_header: cannot stand",
        ),
        (
            bytes!(filter(OAuth2Config { end_session_endpoint: "https://a/out".to_owned(), ..good.clone() })),
            "end_session_endpoint: needs openid",
        ),
        (bytes!(filter(OAuth2Config { signout_path: None, ..good })), "signout_path: is missing"),
    ];
    check("oauth2.v3.OAuth2", cases);
}

#[test]
fn limits() {
    let bucket = Some(TokenBucket { max_tokens: 1, tokens_per_fill: None, fill_interval: seconds(1) });
    let good =
        LocalRateLimit { stat_prefix: "l".to_owned(), token_bucket: bucket, ..LocalRateLimit::default() };
    let descriptor = |bucket: Option<TokenBucket>| LocalRateLimitDescriptor {
        entries: vec![Entry { key: "k".to_owned(), value: "v".to_owned() }],
        token_bucket: bucket,
        ..LocalRateLimitDescriptor::default()
    };
    let with = |descriptors: Vec<LocalRateLimitDescriptor>| LocalRateLimit { descriptors, ..good.clone() };
    let cases = vec![
        (bytes!(with(vec![descriptor(bucket)])), ""),
        (bytes!(with(vec![descriptor(None)])), "descriptors[0].token_bucket: is missing"),
        (
            bytes!(with(vec![descriptor(bucket), descriptor(bucket)])),
            "descriptors: has the same entries twice",
        ),
        (
            bytes!(with(vec![LocalRateLimitDescriptor { token_bucket: bucket, ..Default::default() }])),
            "descriptors[0].entries: is empty",
        ),
        (
            bytes!(LocalRateLimit {
                max_dynamic_descriptors: Some(UInt32Value { value: 1_000_000 }),
                ..good.clone()
            }),
            "max_dynamic_descriptors: must be from 1",
        ),
        (
            bytes!(LocalRateLimit {
                local_cluster_rate_limit: Some(LocalClusterRateLimit {}),
                ..good.clone()
            }),
            "local_cluster_rate_limit: is not supported",
        ),
    ];
    check("local_ratelimit.v3.LocalRateLimit", cases);
}

#[test]
fn checks_of_the_gateway() {
    let good = HealthCheck { pass_through_mode: Some(BoolValue { value: false }), ..HealthCheck::default() };
    let cases = vec![
        (bytes!(good), ""),
        (bytes!(HealthCheck::default()), "pass_through_mode: is missing"),
        (bytes!(HealthCheck { cache_time: seconds(1), ..good.clone() }), "cache_time: needs"),
    ];
    check("health_check.v3.HealthCheck", cases);
}
