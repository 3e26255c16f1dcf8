// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Clients that show a password or a key.

use crate::client::{Answer, Client};
use crate::config::{any, chain, cluster, filter, host, http, listener, route, to};
use crate::gateway::Gateway;
use crate::origin::{Origin, full};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gateway_xds_api::pb::envoy::config::core::v3::{DataSource, data_source};
use gateway_xds_api::pb::envoy::config::route::v3::Route;
use gateway_xds_api::pb::envoy::extensions::filters::http::api_key_auth::v3::{
    ApiKeyAuth, ApiKeyAuthPerRoute, Credential, Forwarding, KeySource,
};
use gateway_xds_api::pb::envoy::extensions::filters::http::basic_auth::v3::{BasicAuth, BasicAuthPerRoute};
use gateway_xds_api::pb::envoy::extensions::filters::http::router::v3::Router;
use gateway_xds_api::pb::google::protobuf::Any;
use http::Request;
use prost::Name;

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

async fn ask(gateway: &Gateway, target: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::get(target).header("host", "a.example");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Client::http1(gateway.address).await.send(request.body(full("")).unwrap()).await
}

fn inline(text: &str) -> Option<DataSource> {
    Some(DataSource {
        specifier: Some(data_source::Specifier::InlineString(text.to_owned())),
        ..DataSource::default()
    })
}

/// The SHA-1 of "test1" and of "test2".
const USERS: &str = "user1:{SHA}tESsBmE/yNY3lb6a0L6vVQEZNqw=\n\nuser2:{SHA}EJ9LPFDXsN9ynSmbxvjp75Bmlx8=\n";

#[tokio::test]
async fn a_password_opens_and_everything_else_is_told_apart() {
    let config = BasicAuth {
        users: inline(USERS),
        forward_username_header: "x-user".to_owned(),
        ..BasicAuth::default()
    };
    let own = any(&BasicAuthPerRoute { users: inline("only:{SHA}tESsBmE/yNY3lb6a0L6vVQEZNqw=") });
    let (gateway, origin) = gateway(config, vec![with("/own", own), route("/", to("echo"))]).await;
    let basic = |credentials: &str| format!("Basic {}", STANDARD.encode(credentials));
    let answer = ask(&gateway, "/", &[("authorization", &basic("user2:test2")), ("x-user", "forged")]).await;
    assert_eq!((answer.status.as_u16(), answer.lines("x-user")), (200, vec!["x-user: user2"]));
    let answer = ask(&gateway, "/own", &[("authorization", &basic("only:test1"))]).await;
    assert_eq!(answer.status.as_u16(), 200);
    for (path, value, body) in [
        ("/", "", "User authentication failed. Missing username and password."),
        ("/", "Bearer x", "User authentication failed. Expected 'Basic' authentication scheme."),
        ("/", "Basic eA==", "User authentication failed. Invalid basic credential format."),
        ("/", "Basic ???", "User authentication failed. Invalid basic credential format."),
        ("/", &basic("user1:test2"), "User authentication failed. Invalid username/password combination."),
        ("/", &basic("nobody:test1"), "User authentication failed. Invalid username/password combination."),
        ("/own", &basic("user1:test1"), "User authentication failed. Invalid username/password combination."),
    ] {
        let headers: &[(&str, &str)] = if value.is_empty() { &[] } else { &[("authorization", value)] };
        let answer = ask(&gateway, path, headers).await;
        assert_eq!((answer.status.as_u16(), answer.body.as_str()), (401, body), "{value}");
        let realm = format!("Basic realm=\"http://a.example{path}\"");
        assert_eq!(answer.header("www-authenticate"), Some(&*realm));
    }
    assert_eq!(origin.count(), 2);
    assert_eq!(gateway.metric("envoy_http_basic_auth_denied", ""), 7);
}

#[tokio::test]
async fn a_key_opens_from_each_place_and_can_be_hidden() {
    let credential = |key: &str, client: &str| Credential { key: key.to_owned(), client: client.to_owned() };
    let config = ApiKeyAuth {
        credentials: vec![credential("k1", "one"), credential("k2", "two")],
        key_sources: vec![
            KeySource { header: "x-key".to_owned(), ..KeySource::default() },
            KeySource { query: "key".to_owned(), ..KeySource::default() },
            KeySource { cookie: "key".to_owned(), ..KeySource::default() },
        ],
        forwarding: Some(Forwarding { header: "x-client".to_owned(), hide_credentials: true }),
    };
    let own =
        any(&ApiKeyAuthPerRoute { allowed_clients: vec!["two".to_owned()], ..ApiKeyAuthPerRoute::default() });
    let (gateway, origin) = gateway(config, vec![with("/own", own), route("/", to("echo"))]).await;
    for (target, headers, first) in [
        ("/", &[("x-key", "k1")][..], "GET / HTTP/1.1"),
        ("/", &[("x-key", "Bearer k1")], "GET / HTTP/1.1"),
        ("/?a=1&key=k1&b=2", &[], "GET /?a=1&b=2 HTTP/1.1"),
        ("/?key=k1", &[], "GET / HTTP/1.1"),
        ("/", &[("cookie", "a=1; key=k1; b=2")], "GET / HTTP/1.1"),
        ("/?key=k1", &[("x-key", "k1"), ("cookie", "key=k1")], "GET / HTTP/1.1"),
    ] {
        let answer = ask(&gateway, target, headers).await;
        assert_eq!(answer.lines("GET"), [first], "{target} {headers:?}: {}", answer.body);
        assert_eq!(answer.lines("x-client"), ["x-client: one"]);
        assert!(!answer.body.contains("k1"), "{}", answer.body);
    }
    assert_eq!(ask(&gateway, "/own", &[("x-key", "k2")]).await.status.as_u16(), 200);
    for (target, headers, status, body) in [
        ("/", &[][..], 401, "Client authentication failed."),
        ("/", &[("x-key", "k3")], 401, "Client authentication failed."),
        ("/?key=", &[], 401, "Client authentication failed."),
        ("/own", &[("x-key", "k1")], 403, "Client is forbidden."),
    ] {
        let answer = ask(&gateway, target, headers).await;
        assert_eq!((answer.status.as_u16(), answer.body.as_str()), (status, body), "{target}");
    }
    assert_eq!(origin.count(), 7);
    assert_eq!(gateway.metric("envoy_http_api_key_auth_unauthorized", ""), 3);
    assert_eq!(gateway.metric("envoy_http_api_key_auth_forbidden", ""), 1);
}
