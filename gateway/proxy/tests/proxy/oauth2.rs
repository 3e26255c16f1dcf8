// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Logins at a little authorization server: all the way, forged, refused, refreshed, signed out, and with nobody there.

use crate::client::{Answer, Client};
use crate::config::{Resources, chain, cluster, filter, host, http, listener, route, time, to};
use crate::gateway::{Gateway, options};
use crate::origin::{Origin, full, nobody};
use crate::services::http_uri;
use ::http::{Request, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_xds_api::ResourceType;
use gateway_xds_api::pb::envoy::config::core::v3::{DataSource, data_source};
use gateway_xds_api::pb::envoy::config::route::v3::{HeaderMatcher, header_matcher};
use gateway_xds_api::pb::envoy::extensions::filters::http::oauth2::v3::{
    OAuth2, OAuth2Config, OAuth2Credentials, o_auth2_config::AuthType, o_auth2_credentials::TokenFormation,
};
use gateway_xds_api::pb::envoy::extensions::filters::http::router::v3::Router;
use gateway_xds_api::pb::envoy::extensions::transport_sockets::tls::v3::{
    GenericSecret, SdsSecretConfig, Secret, secret,
};
use gateway_xds_api::pb::envoy::r#type::matcher::v3::{
    PathMatcher, StringMatcher, path_matcher, string_matcher,
};
use gateway_xds_api::pb::google::protobuf::BoolValue;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

fn exact(path: &str) -> Option<PathMatcher> {
    let matcher = StringMatcher {
        match_pattern: Some(string_matcher::MatchPattern::Exact(path.to_owned())),
        ..StringMatcher::default()
    };
    Some(PathMatcher { rule: Some(path_matcher::Rule::Path(matcher)) })
}

fn named(name: &str) -> SdsSecretConfig {
    SdsSecretConfig { name: name.to_owned(), sds_config: None }
}

fn has(header: &str) -> Vec<HeaderMatcher> {
    vec![HeaderMatcher {
        name: header.to_owned(),
        header_match_specifier: Some(header_matcher::HeaderMatchSpecifier::PresentMatch(true)),
        ..HeaderMatcher::default()
    }]
}

fn config() -> OAuth2Config {
    OAuth2Config {
        token_endpoint: Some(http_uri("auth", "http://auth.example/token?v=2", Duration::from_secs(2))),
        authorization_endpoint: "https://auth.example/login?tenant=t".to_owned(),
        credentials: Some(OAuth2Credentials {
            client_id: "gate".to_owned(),
            token_secret: Some(named("client")),
            token_formation: Some(TokenFormation::HmacSecret(named("cookies"))),
            ..OAuth2Credentials::default()
        }),
        redirect_uri: "%REQ(:scheme)%://%REQ(:authority)%/callback".to_owned(),
        redirect_path_matcher: exact("/callback"),
        signout_path: exact("/signout"),
        forward_bearer_token: true,
        auth_scopes: vec!["openid".to_owned(), "mail".to_owned()],
        resources: vec!["https://api.example/".to_owned()],
        pass_through_matcher: has("x-public"),
        deny_redirect_matcher: has("x-requested-with"),
        ..OAuth2Config::default()
    }
}

/// A form and the authorization that came with it.
type Asked = (HashMap<String, String>, Option<String>);

/// What the server was asked, and how long its tokens last.
#[derive(Default)]
struct Server {
    asked: Mutex<Vec<Asked>>,
    /// The code challenge of the login.
    challenge: Mutex<String>,
}

fn form(text: &str) -> HashMap<String, String> {
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned();
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), decoded(value))).collect()
}

/// A token endpoint that gives tokens for the code `good` under its verifier, and for refresh tokens.
async fn server(lifetime: u64) -> (Origin, Arc<Server>) {
    let state = Arc::<Server>::default();
    let shared = Arc::clone(&state);
    let origin = Origin::start(move |request| {
        let state = Arc::clone(&shared);
        async move {
            assert_eq!(request.uri(), "/token?v=2");
            assert_eq!(request.headers()["host"], "auth.example");
            let basic = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let form = form(std::str::from_utf8(&body).unwrap());
            let good = match &*form["grant_type"] {
                "authorization_code" => {
                    let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(&form["code_verifier"]));
                    form["code"] == "good" && digest == *state.challenge.lock()
                }
                "refresh_token" => form["refresh_token"] == "refresh-1",
                _ => false,
            };
            let count = state.asked.lock().len() + 1;
            state.asked.lock().push((form, basic));
            if !good {
                return Response::builder().status(400).body(full(r#"{"error":"invalid_grant"}"#)).unwrap();
            }
            Response::new(full(format!(
                r#"{{"access_token":"access-{count}","id_token":"id-{count}","refresh_token":"refresh-{count}",
                    "token_type":"bearer","expires_in":{lifetime}}}"#
            )))
        }
    })
    .await;
    (origin, state)
}

async fn gateway(config: OAuth2Config, auth: SocketAddr) -> (Gateway, Origin) {
    let origin = Origin::echo().await;
    let mut settings = http(vec![host(vec![route("/", to("one"))])]);
    let config = OAuth2 { config: Some(config) };
    settings.http_filters = vec![filter("oauth", &config), filter("router", &Router::default())];
    let mut resources = Resources::default();
    resources.clusters([cluster("one", &[origin.address]), cluster("auth", &[auth])]);
    for (name, text) in [("client", "client secret&"), ("cookies", "cookie secret")] {
        let source = DataSource {
            specifier: Some(data_source::Specifier::InlineString(text.to_owned())),
            ..DataSource::default()
        };
        let generic = GenericSecret { secret: Some(source), ..GenericSecret::default() };
        let secret = Secret { name: name.to_owned(), r#type: Some(secret::Type::GenericSecret(generic)) };
        resources.set(ResourceType::Secret, name, &secret);
    }
    (Gateway::start(options(), resources, &listener(vec![chain(&settings)])).await, origin)
}

/// A browser: it keeps cookies.
#[derive(Clone, Default)]
struct Browser(BTreeMap<String, String>);

impl Browser {
    async fn get(&mut self, gateway: &Gateway, target: &str, headers: &[(&str, &str)]) -> Answer {
        let cookies: Vec<_> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut request = Request::get(target).header("host", "app.example");
        if !cookies.is_empty() {
            request = request.header("cookie", cookies.join("; "));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = Client::http1(gateway.address).await.send(request.body(full("")).unwrap()).await;
        for line in answer.headers.get_all("set-cookie") {
            let line = line.to_str().unwrap();
            let (name, rest) = line.split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            match value {
                "deleted" => drop(self.0.remove(name)),
                _ => {
                    assert!(line.contains("HttpOnly") && line.contains("secure"), "{line}");
                    self.0.insert(name.to_owned(), value.to_owned());
                }
            }
        }
        answer
    }

    /// Goes to the server and comes back with a code; the state as the server hands it back.
    async fn begin(&mut self, gateway: &Gateway, server: &Server, target: &str) -> String {
        let answer = self.get(gateway, target, &[]).await;
        assert_eq!(answer.status.as_u16(), 302, "{}", answer.body);
        let location = answer.header("location").unwrap();
        let (start, query) = location.split_once('?').unwrap();
        assert_eq!(start, "https://auth.example/login");
        let query = form(query);
        for (name, value) in [
            ("client_id", "gate"),
            ("response_type", "code"),
            ("scope", "openid mail"),
            ("tenant", "t"),
            ("redirect_uri", "http://app.example/callback"),
            ("code_challenge_method", "S256"),
            ("resource", "https://api.example/"),
        ] {
            assert_eq!(query.get(name).map(String::as_str), Some(value), "{name}");
        }
        server.challenge.lock().clone_from(&query["code_challenge"]);
        query["state"].clone()
    }

    async fn log_in(&mut self, gateway: &Gateway, server: &Server) {
        let state = self.begin(gateway, server, "/page?a=b").await;
        let answer = self.get(gateway, &format!("/callback?code=good&state={state}"), &[]).await;
        let location = answer.header("location");
        assert_eq!((answer.status.as_u16(), location), (302, Some("http://app.example/page?a=b")));
    }
}

#[tokio::test]
async fn users_log_in_and_out() {
    let (auth, server) = server(3600).await;
    let (gateway, origin) = gateway(config(), auth.address).await;
    let mut browser = Browser::default();
    browser.log_in(&gateway, &server).await;
    assert_eq!(origin.count(), 0);
    let names: Vec<_> = browser.0.keys().map(String::as_str).collect();
    assert_eq!(names, ["BearerToken", "IdToken", "OauthExpires", "OauthHMAC", "RefreshToken"]);
    for value in browser.0.values() {
        assert!(!["access-1", "id-1", "refresh-1"].contains(&value.as_str()), "{value}");
    }
    let answer =
        browser.get(&gateway, "/page", &[("authorization", "Bearer forged"), ("x-other", "1")]).await;
    assert_eq!(answer.status.as_u16(), 200);
    assert_eq!(answer.lines("authorization"), ["authorization: Bearer access-1"]);
    assert_eq!(answer.lines("cookie"), ["cookie: BearerToken=access-1; IdToken=id-1"]);
    let (asked, basic) = server.asked.lock()[0].clone();
    assert_eq!((&*asked["client_id"], &*asked["client_secret"], basic), ("gate", "client secret&", None));
    assert_eq!(asked["redirect_uri"], "http://app.example/callback");

    let answer = browser.get(&gateway, "/signout", &[]).await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (302, Some("http://app.example/")));
    assert!(browser.0.is_empty(), "{:?}", browser.0.keys());
    assert_eq!(browser.get(&gateway, "/page", &[]).await.status.as_u16(), 302);
    assert_eq!(gateway.metric("envoy_http_oauth_success", ""), 2);
}

#[tokio::test]
async fn forged_cookies_and_states_are_worth_nothing() {
    let (auth, server) = server(3600).await;
    let settings = OAuth2Config { use_refresh_token: Some(BoolValue { value: false }), ..config() };
    let (gateway, origin) = gateway(settings, auth.address).await;
    let mut browser = Browser::default();
    browser.log_in(&gateway, &server).await;
    for (name, value) in [
        ("BearerToken", "other"),
        ("IdToken", "other"),
        ("OauthExpires", "99999999999"),
        ("OauthHMAC", "AAAA"),
        ("RefreshToken", "new"),
    ] {
        let mut forged = browser.clone();
        forged.0.insert(name.to_owned(), value.to_owned());
        assert_eq!(forged.get(&gateway, "/page", &[]).await.status.as_u16(), 302, "{name}");
    }
    // Another host's cookies.
    let cookies: Vec<_> = browser.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let request = Request::get("/page").header("host", "other.example").header("cookie", cookies.join("; "));
    let answer = Client::http1(gateway.address).await.send(request.body(full("")).unwrap()).await;
    assert_eq!(answer.status.as_u16(), 302);

    let asked = server.asked.lock().len();
    let mut browser = Browser::default();
    let state = browser.begin(&gateway, &server, "/page").await;
    let decoded = String::from_utf8(URL_SAFE_NO_PAD.decode(&state).unwrap()).unwrap();
    let elsewhere =
        URL_SAFE_NO_PAD.encode(decoded.replace("http://app.example/page", "http://app.example/callback"));
    let broken = URL_SAFE_NO_PAD.encode(decoded.replace("\"csrf_token\":\"", "\"csrf_token\":\"a"));
    for query in [
        format!("code=good&state={broken}"),
        format!("code=good&state={elsewhere}"),
        "code=good&state=e30".to_owned(),
        "code=good".to_owned(),
        format!("state={state}"),
        format!("error=access_denied&code=good&state={state}"),
    ] {
        let answer = browser.clone().get(&gateway, &format!("/callback?{query}"), &[]).await;
        assert_eq!((answer.status.as_u16(), &*answer.body), (401, "OAuth flow failed."), "{query}");
    }
    // Another browser has no part in this login.
    let answer = Browser::default().get(&gateway, &format!("/callback?code=good&state={state}"), &[]).await;
    assert_eq!(answer.status.as_u16(), 401);
    // Nor is another code verifier any good.
    let mut other = browser.clone();
    for (name, value) in &mut other.0 {
        if name.starts_with("OauthCodeVerifier") {
            *value = "AAAA".to_owned();
        }
    }
    let answer = other.get(&gateway, &format!("/callback?code=good&state={state}"), &[]).await;
    assert_eq!(answer.status.as_u16(), 401);
    assert_eq!((server.asked.lock().len(), origin.count()), (asked, 0));
}

#[tokio::test]
async fn the_server_refuses_and_is_not_there() {
    let (auth, server) = server(3600).await;
    let (gateway, origin) = gateway(config(), auth.address).await;
    let mut browser = Browser::default();
    let state = browser.begin(&gateway, &server, "/page").await;
    let answer = browser.get(&gateway, &format!("/callback?code=bad&state={state}"), &[]).await;
    assert_eq!((answer.status.as_u16(), &*answer.body), (401, "OAuth flow failed."));
    assert!(browser.0.is_empty(), "the login is over: {:?}", browser.0.keys());
    assert_eq!(origin.count(), 0);

    let (gateway, origin) = self::gateway(config(), nobody().await).await;
    let state = browser.begin(&gateway, &server, "/page").await;
    let answer = browser.get(&gateway, &format!("/callback?code=good&state={state}"), &[]).await;
    assert_eq!((answer.status.as_u16(), origin.count()), (401, 0));
    assert_eq!(gateway.metric("envoy_http_oauth_failure", ""), 1);
}

#[tokio::test]
async fn tokens_that_have_ended_are_refreshed() {
    let (auth, server) = server(1).await;
    let (gateway, _origin) = gateway(config(), auth.address).await;
    let mut browser = Browser::default();
    browser.log_in(&gateway, &server).await;
    let answer = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            let answer = browser.get(&gateway, "/page", &[]).await;
            assert_eq!(answer.status.as_u16(), 200);
            if answer.lines("authorization") != ["authorization: Bearer access-1"] {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let answer = answer.await.unwrap();
    assert_eq!(answer.lines("authorization"), ["authorization: Bearer access-2"]);
    assert_eq!(answer.lines("cookie"), ["cookie: BearerToken=access-2; IdToken=id-2"]);
    assert_eq!(server.asked.lock()[1].0["refresh_token"], "refresh-1");
    assert_eq!(gateway.metric("envoy_http_oauth_refreshtoken_success", ""), 1);
    // The second refresh token is refused: the user has to log in again.
    let answer = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            let answer = browser.get(&gateway, "/page", &[]).await;
            if answer.status.as_u16() != 200 {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    assert_eq!(answer.await.unwrap().status.as_u16(), 302);
    assert_eq!(gateway.metric("envoy_http_oauth_refreshtoken_failure", ""), 1);
}

#[tokio::test]
async fn some_requests_need_no_login() {
    let (auth, server) = server(3600).await;
    let mut settings = OAuth2Config {
        auth_type: AuthType::BasicAuth.into(),
        allow_failed_matcher: has("x-optional"),
        allowed_redirect_domains: vec!["*.example".to_owned()],
        default_expires_in: time(Duration::from_secs(9)),
        end_session_endpoint: "https://auth.example/logout".to_owned(),
        ..config()
    };
    settings.resources = vec!["https://api.example/".to_owned()];
    let (gateway, _origin) = gateway(settings, auth.address).await;
    let mut browser = Browser::default();
    let answer = browser
        .get(
            &gateway,
            "/a",
            &[("x-public", "1"), ("authorization", "Bearer own"), ("x-envoy-oauth-status", "ok")],
        )
        .await;
    assert_eq!(
        (answer.status.as_u16(), answer.lines("authorization")),
        (200, vec!["authorization: Bearer own"])
    );
    assert!(answer.lines("x-envoy-oauth-status").is_empty());
    assert_eq!(browser.get(&gateway, "/a", &[("x-requested-with", "x")]).await.status.as_u16(), 401);
    let answer = browser.get(&gateway, "/a", &[("x-optional", "1"), ("authorization", "Bearer own")]).await;
    assert_eq!((answer.status.as_u16(), answer.lines("authorization")), (200, vec![]));
    assert_eq!(answer.lines("x-envoy-oauth-status"), ["x-envoy-oauth-status: failed"]);
    browser.log_in(&gateway, &server).await;
    assert_eq!(server.asked.lock()[0].1.as_deref(), Some("Basic Z2F0ZTpjbGllbnQgc2VjcmV0Jg=="));
    let answer = browser.get(&gateway, "/signout", &[]).await;
    let (start, query) = answer.header("location").unwrap().split_once('?').unwrap();
    let query = form(query);
    assert_eq!(start, "https://auth.example/logout");
    assert_eq!(
        (&*query["id_token_hint"], &*query["post_logout_redirect_uri"]),
        ("id-1", "http://app.example/")
    );
    // A host that is not allowed.
    let request = Request::get("/a").header("host", "evil.test").body(full("")).unwrap();
    assert_eq!(Client::http1(gateway.address).await.send(request).await.status.as_u16(), 401);
}
