// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Tokens: good, bad, missing, of others; keys that come, change and do not come.

use crate::client::{Answer, Client};
use crate::config::{any, chain, cluster, filter, host, http, listener, route, time, to};
use crate::gateway::Gateway;
use crate::origin::{Origin, full, nobody, raw};
use crate::services::http_uri;
use ::http::{Request, Response};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_xds_api::pb::envoy::config::cluster::v3::Cluster;
use gateway_xds_api::pb::envoy::config::core::v3::{DataSource, data_source};
use gateway_xds_api::pb::envoy::config::route::v3::Route;
use gateway_xds_api::pb::envoy::extensions::filters::http::jwt_authn::v3::{
    JwksAsyncFetch, JwtAuthentication, JwtClaimToHeader, JwtProvider, JwtRequirement, JwtRequirementOrList,
    PerRouteConfig, RemoteJwks, RequirementRule, jwt_provider::JwksSourceSpecifier,
    jwt_requirement::RequiresType, per_route_config, requirement_rule,
};
use gateway_xds_api::pb::envoy::extensions::filters::http::router::v3::Router;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(2);

/// Signs tokens.
struct Issuer {
    pair: EcdsaKeyPair,
    kid: &'static str,
}

impl Issuer {
    fn new(kid: &'static str) -> Self {
        Self { pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(), kid }
    }

    fn jwks(&self) -> String {
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": self.kid, "alg": "ES256", "x": x, "y": y}]})
            .to_string()
    }

    fn token(&self, payload: &Value) -> String {
        let header = json!({"alg": "ES256", "kid": self.kid});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(payload));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn claims() -> Value {
    json!({"iss": "https://issuer", "aud": "https://shop/", "sub": "ann", "exp": 4_000_000_000_u64, "n": {"role": 7}})
}

fn local(issuer: &Issuer) -> JwksSourceSpecifier {
    JwksSourceSpecifier::LocalJwks(DataSource {
        specifier: Some(data_source::Specifier::InlineString(issuer.jwks())),
        ..Default::default()
    })
}

fn remote(early: bool) -> JwksSourceSpecifier {
    JwksSourceSpecifier::RemoteJwks(RemoteJwks {
        http_uri: Some(http_uri("keys", "https://keys.example/jwks?a=b", LIMIT)),
        cache_duration: time(Duration::from_secs(300)),
        async_fetch: early.then(|| JwksAsyncFetch { fast_listener: true, ..Default::default() }),
        ..Default::default()
    })
}

fn provider(keys: JwksSourceSpecifier) -> JwtProvider {
    JwtProvider {
        issuer: "https://issuer".to_owned(),
        audiences: vec!["shop".to_owned()],
        forward_payload_header: "x-payload".to_owned(),
        claim_to_headers: ["sub", "n.role", "n"]
            .map(|claim| JwtClaimToHeader {
                header_name: format!("x-claim-{}", claim.replace('.', "-")),
                claim_name: claim.to_owned(),
                ..Default::default()
            })
            .into(),
        jwks_source_specifier: Some(keys),
        ..Default::default()
    }
}

fn requires(kind: RequiresType) -> JwtRequirement {
    JwtRequirement { requires_type: Some(kind) }
}

fn of(name: &str) -> JwtRequirement {
    requires(RequiresType::ProviderName(name.to_owned()))
}

fn any_of(requirements: Vec<JwtRequirement>) -> JwtRequirement {
    requires(RequiresType::RequiresAny(JwtRequirementOrList { requirements }))
}

fn rule(path: &str, requirement: Option<JwtRequirement>) -> RequirementRule {
    RequirementRule {
        r#match: crate::config::prefix(path),
        requirement_type: requirement.map(requirement_rule::RequirementType::Requires),
    }
}

async fn gateway(config: &JwtAuthentication, keys: SocketAddr, routes: Vec<Route>) -> (Gateway, Origin) {
    let origin = Origin::echo().await;
    let mut settings = http(vec![host(routes)]);
    settings.http_filters = vec![filter("jwt", config), filter("router", &Router::default())];
    let clusters: Vec<Cluster> = vec![cluster("one", &[origin.address]), cluster("keys", &[keys])];
    (Gateway::listening(&listener(vec![chain(&settings)]), clusters).await, origin)
}

async fn get(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::get(path).header("host", "a.example").header("x-claim-sub", "eve");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Client::http1(gateway.address).await.send(request.body(full("")).unwrap()).await
}

async fn bearer(gateway: &Gateway, path: &str, token: &str) -> Answer {
    get(gateway, path, &[("authorization", &format!("Bearer {token}"))]).await
}

#[tokio::test]
async fn good_tokens_pass_and_their_claims_go_on() {
    let issuer = Issuer::new("a");
    let config = JwtAuthentication {
        providers: [("main".to_owned(), provider(local(&issuer)))].into(),
        rules: vec![rule("/free", None), rule("/", Some(of("main")))],
        ..Default::default()
    };
    let (gateway, origin) = gateway(&config, nobody().await, vec![route("/", to("one"))]).await;
    let free = get(&gateway, "/free", &[]).await;
    assert_eq!((free.status.as_u16(), free.lines("x-claim")), (200, vec![]), "claims are never the client's");

    let token = issuer.token(&claims());
    let good = bearer(&gateway, "/", &token).await;
    assert_eq!(good.status.as_u16(), 200, "{}", good.body);
    assert_eq!(
        good.lines("x-claim"),
        ["x-claim-n-role: 7", "x-claim-n: eyJyb2xlIjo3fQ==", "x-claim-sub: ann"]
    );
    assert_eq!(good.lines("x-payload"), [format!("x-payload: {}", token.split('.').nth(1).unwrap())]);
    assert!(good.lines("authorization").is_empty());
    let param = get(&gateway, &format!("/?a=1&access_token={token}"), &[]).await;
    assert_eq!((param.status.as_u16(), param.lines("GET")), (200, vec!["GET /?a=1 HTTP/1.1"]));
    assert_eq!(origin.count(), 3);

    let with = |name: &str, value: Value| {
        let mut payload = claims();
        payload[name] = value;
        issuer.token(&payload)
    };
    let realm = "Bearer realm=\"http://a.example/\"";
    let invalid = format!("{realm}, error=\"invalid_token\"");
    for (token, status, body) in [
        (with("exp", json!(1)), 401, "Jwt is expired"),
        (with("nbf", json!(4_000_000_000_u64)), 401, "Jwt not yet valid"),
        (with("iss", json!("https://other")), 401, "Jwt issuer is not configured"),
        (with("aud", json!(["other"])), 403, "Audiences in Jwt are not allowed"),
        (Issuer::new("a").token(&claims()), 401, "Jwt verification fails"),
        (Issuer::new("b").token(&claims()), 401, "Jwks doesn't have key to match kid or alg from Jwt"),
        (
            "a.b".to_owned(),
            401,
            "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections",
        ),
    ] {
        let answer = bearer(&gateway, "/", &token).await;
        assert_eq!((answer.status.as_u16(), &*answer.body), (status, body));
        assert_eq!(answer.header("www-authenticate"), Some(&*invalid), "{body}");
    }
    let missing = get(&gateway, "/", &[]).await;
    assert_eq!((missing.status.as_u16(), &*missing.body), (401, "Jwt is missing"));
    assert_eq!(missing.header("www-authenticate"), Some(realm));
    // A good token does not help a bad one beside it.
    let expired = format!("/?access_token={}", with("exp", json!(1)));
    assert_eq!(bearer(&gateway, &expired, &token).await.status.as_u16(), 401);
    assert_eq!(origin.count(), 3);
}

#[tokio::test]
async fn requirements_combine() {
    let (one, two) = (Issuer::new("one"), Issuer::new("two"));
    let second = JwtProvider {
        issuer: "https://second".to_owned(),
        audiences: vec![],
        from_cookies: vec!["session".to_owned()],
        forward: true,
        ..provider(local(&two))
    };
    let allow_missing = || requires(RequiresType::AllowMissing(Default::default()));
    let config = JwtAuthentication {
        providers: [("one".to_owned(), provider(local(&one))), ("two".to_owned(), second)].into(),
        rules: vec![
            rule("/any", Some(any_of(vec![of("one"), of("two")]))),
            rule("/optional", Some(any_of(vec![of("one"), allow_missing()]))),
            rule("/whatever", Some(requires(RequiresType::AllowMissingOrFailed(Default::default())))),
            rule("/missing", Some(allow_missing())),
        ],
        requirement_map: [("two".to_owned(), of("two"))].into(),
        bypass_cors_preflight: true,
        ..Default::default()
    };
    let named = |path: &str, name: &str| {
        let mut route = route(path, to("one"));
        let specifier = per_route_config::RequirementSpecifier::RequirementName(name.to_owned());
        let own = PerRouteConfig { requirement_specifier: Some(specifier) };
        route.typed_per_filter_config.insert("jwt".to_owned(), any(&own));
        route
    };
    let routes = vec![named("/named", "two"), named("/unknown", "none"), route("/", to("one"))];
    let (gateway, _origin) = gateway(&config, nobody().await, routes).await;
    let first = format!("Bearer {}", one.token(&claims()));
    let forged = format!("Bearer {}", two.token(&claims()));
    let cookie = format!("a=b; session={}", two.token(&json!({"iss": "https://second"})));
    for (path, headers, status) in [
        ("/any", vec![("authorization", &*first)], 200),
        ("/any", vec![("cookie", &*cookie)], 200),
        ("/any", vec![("authorization", &*forged)], 401),
        ("/any", vec![], 401),
        ("/optional", vec![], 200),
        ("/optional", vec![("authorization", &*first)], 200),
        ("/optional", vec![("authorization", &*forged)], 401),
        ("/missing", vec![("cookie", &*cookie)], 200),
        ("/missing", vec![], 200),
        ("/missing", vec![("authorization", &*forged)], 401),
        ("/whatever", vec![("authorization", &*forged)], 200),
        ("/named", vec![("authorization", &*first)], 401),
        ("/named", vec![("cookie", &*cookie)], 200),
        ("/unknown", vec![("cookie", &*cookie)], 403),
        ("/elsewhere", vec![], 200),
    ] {
        let answer = get(&gateway, path, &headers).await;
        assert_eq!(answer.status.as_u16(), status, "{path} {headers:?}: {}", answer.body);
        // The forged token's claims are nobody's.
        let claims = if headers.is_empty() || headers[0].1 == forged || path == "/elsewhere" { 0 } else { 1 };
        assert!(
            status != 200 || answer.lines("x-payload").len() == claims,
            "{path} {headers:?}: {}",
            answer.body
        );
    }
    let preflight = Request::options("/any").header("host", "a").header("origin", "http://b");
    let preflight = preflight.header("access-control-request-method", "GET").body(full("")).unwrap();
    assert_eq!(Client::http1(gateway.address).await.send(preflight).await.status.as_u16(), 200);
}

#[tokio::test]
async fn keys_of_a_service_are_fetched_once() {
    let issuer = Issuer::new("a");
    for early in [false, true] {
        let jwks = issuer.jwks();
        let keys = Origin::start(move |request| {
            let jwks = jwks.clone();
            async move {
                assert_eq!(
                    (request.uri().to_string(), request.headers()["host"].to_str().unwrap()),
                    ("/jwks?a=b".to_owned(), "keys.example")
                );
                Response::new(full(jwks))
            }
        })
        .await;
        let config = JwtAuthentication {
            providers: [("main".to_owned(), provider(remote(early)))].into(),
            rules: vec![rule("/", Some(of("main")))],
            ..Default::default()
        };
        let (gateway, _origin) = gateway(&config, keys.address, vec![route("/", to("one"))]).await;
        let token = issuer.token(&claims());
        let answers = futures::future::join_all((0..20).map(|_| bearer(&gateway, "/", &token))).await;
        assert!(answers.iter().all(|answer| answer.status.as_u16() == 200), "{answers:?}");
        assert_eq!(keys.count(), 1);
    }
}

#[tokio::test]
async fn without_keys_nothing_is_good_enough() {
    let issuer = Issuer::new("a");
    let token = issuer.token(&claims());
    let broken = raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nnot json!").await;
    let empty = raw(b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{\"keys\":[]}").await;
    let error = raw(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n").await;
    let large = Origin::start(|_| async { Response::new(full(vec![b' '; 2 << 20])) }).await;
    for early in [false, true] {
        for address in [nobody().await, broken, empty, error, large.address] {
            let config = JwtAuthentication {
                providers: [("main".to_owned(), provider(remote(early)))].into(),
                rules: vec![rule("/", Some(of("main")))],
                ..Default::default()
            };
            let (gateway, origin) = gateway(&config, address, vec![route("/", to("one"))]).await;
            for _ in 0..2 {
                let answer = bearer(&gateway, "/", &token).await;
                assert_eq!((answer.status.as_u16(), &*answer.body), (401, "Jwks remote fetch is failed"));
            }
            assert_eq!(origin.count(), 0);
        }
    }
}

#[tokio::test]
async fn a_service_that_comes_back_is_asked_again() {
    let issuer = Issuer::new("a");
    let (jwks, up) = (issuer.jwks(), Arc::new(AtomicBool::new(false)));
    let state = Arc::clone(&up);
    let keys = Origin::start(move |_| {
        let (jwks, up) = (jwks.clone(), state.load(Ordering::SeqCst));
        async move { Response::builder().status(if up { 200 } else { 503 }).body(full(jwks)).unwrap() }
    })
    .await;
    let config = JwtAuthentication {
        providers: [("main".to_owned(), provider(remote(false)))].into(),
        rules: vec![rule("/", Some(of("main")))],
        ..Default::default()
    };
    let (gateway, _origin) = gateway(&config, keys.address, vec![route("/", to("one"))]).await;
    let token = issuer.token(&claims());
    assert_eq!(bearer(&gateway, "/", &token).await.status.as_u16(), 401);
    up.store(true, Ordering::SeqCst);
    let end = tokio::time::Instant::now() + Duration::from_secs(5);
    while bearer(&gateway, "/", &token).await.status.as_u16() != 200 {
        assert!(tokio::time::Instant::now() < end, "the keys were not fetched again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(keys.count(), 2, "not while the failure was fresh");
}
