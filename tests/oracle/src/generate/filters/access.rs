// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Filters that decide who may come in.

use super::{Chance, Made, always, off, requests, typed};
use serde_json::{Value, json};

pub(super) fn csrf(chance: &mut Chance) -> Made {
    let origins = |chance: &mut Chance| {
        let all = [
            json!({"exact": "friend.test"}),
            json!({"suffix": ".friend.test"}),
            json!({"safe_regex": {"regex": ".*friend.*"}}),
        ];
        let one = chance.one(&all);
        json!({"filter_enabled": always(), "additional_origins": [one]})
    };
    let config = typed("csrf.v3.CsrfPolicy", origins(chance));
    let own = typed("csrf.v3.CsrfPolicy", origins(chance));
    let headers = [
        "origin: http://case.test",
        "origin: https://case.test:443",
        "origin: http://friend.test",
        "origin: http://a.friend.test",
        "origin: http://evil.test",
        "origin: null",
        "referer: http://friend.test/page",
        "referer: http://evil.test/page",
    ];
    let requests = requests(chance, 40, &["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD"], &headers);
    Made { name: "csrf", config, own, requests }
}

pub(super) fn rbac(chance: &mut Chance) -> Made {
    let permissions = [
        json!({"any": true}),
        json!({"header": {"name": ":method", "string_match": {"exact": "GET"}}}),
        json!({"url_path": {"path": {"prefix": "/a"}}}),
        json!({"not_rule": {"url_path": {"path": {"exact": "/own"}}}}),
        json!({"and_rules": {"rules": [{"destination_port": 1}, {"any": true}]}}),
        json!({"or_rules": {"rules": [{"header": {"name": "x-role", "present_match": true}}, {"url_path": {"path": {"suffix": "/b"}}}]}}),
    ];
    let principals = [
        json!({"any": true}),
        json!({"header": {"name": "x-role", "string_match": {"exact": "admin"}}}),
        json!({"direct_remote_ip": {"address_prefix": "127.0.0.0", "prefix_len": 8}}),
        json!({"not_id": {"remote_ip": {"address_prefix": "10.0.0.0", "prefix_len": 8}}}),
        json!({"or_ids": {"ids": [{"header": {"name": "x-role", "string_match": {"prefix": "ad"}}}, {"authenticated": {}}]}}),
    ];
    let rules = |chance: &mut Chance| {
        json!({
            "action": chance.one(&["ALLOW", "DENY"]),
            "policies": {"p": {"permissions": [chance.one(&permissions)], "principals": [chance.one(&principals)]}},
        })
    };
    let config = typed("rbac.v3.RBAC", json!({"rules": rules(chance)}));
    let own = match chance.up_to(2) {
        0 => Value::Null,
        1 => typed("rbac.v3.RBACPerRoute", json!({})),
        _ => typed("rbac.v3.RBACPerRoute", json!({"rbac": {"rules": rules(chance)}})),
    };
    let headers = ["x-role: admin", "x-role: user", "x-role: adept", "x-other: 1"];
    let requests = requests(chance, 40, &["GET", "POST", "DELETE"], &headers);
    Made { name: "rbac", config, own, requests }
}

pub(super) fn basic_auth(chance: &mut Chance) -> Made {
    // ann:pass and bob:word.
    let users = ["ann:{SHA}nU4eI71bcnBGqeO0t9tXvY1u5oQ=", "bob:{SHA}PLzZCtxLGSqHpiWFC38jHK3fDrM="];
    let inline = |text: &str| json!({"users": {"inline_string": text}});
    let mut config = inline(&users[..=chance.up_to(1)].join("\n"));
    if chance.once_in(2) {
        config["forward_username_header"] = json!("x-user");
    }
    let own = match chance.up_to(2) {
        0 => off(),
        1 => typed("basic_auth.v3.BasicAuthPerRoute", inline(users[0])),
        _ => Value::Null,
    };
    let headers = [
        "authorization: Basic YW5uOnBhc3M=",
        "authorization: Basic YW5uOndyb25n",
        "authorization: Basic Ym9iOnBhc3M=",
        "authorization: Basic ZXZlOnBhc3M=",
        "authorization: basic YW5uOnBhc3M=",
        "authorization: Basic nonsense!",
        "authorization: Bearer token",
        "authorization: Basic",
        "x-user: eve",
    ];
    let requests = requests(chance, 40, &["GET", "POST"], &headers);
    Made { name: "basic_auth", config: typed("basic_auth.v3.BasicAuth", config), own, requests }
}

pub(super) fn api_key_auth(chance: &mut Chance) -> Made {
    let sources = [
        json!([{"header": "x-api-key"}]),
        json!([{"query": "key"}]),
        json!([{"cookie": "key"}]),
        json!([{"header": "x-api-key"}, {"query": "key"}, {"cookie": "key"}]),
        json!([{"header": "authorization"}]),
    ];
    let credentials = json!([{"key": "k1", "client": "one"}, {"key": "k2", "client": "two"}]);
    let mut config = json!({"credentials": credentials, "key_sources": chance.one(&sources)});
    if chance.once_in(2) {
        config["forwarding"] = json!({"header": "x-client", "hide_credentials": chance.once_in(2)});
    }
    let own = match chance.up_to(3) {
        0 => off(),
        1 => typed("api_key_auth.v3.ApiKeyAuthPerRoute", json!({"allowed_clients": ["two"]})),
        2 => typed("api_key_auth.v3.ApiKeyAuthPerRoute", json!({"key_sources": [{"query": "key"}]})),
        _ => Value::Null,
    };
    let headers = [
        "x-api-key: k1",
        "x-api-key: k2",
        "x-api-key: k3",
        "cookie: a=b; key=k2",
        "authorization: Bearer k1",
        "authorization: k1",
        "x-client: forged",
    ];
    let requests = requests(chance, 40, &["GET", "POST"], &headers);
    Made { name: "api_key_auth", config: typed("api_key_auth.v3.ApiKeyAuth", config), own, requests }
}

/// A key of HMAC, and what it has signed; all but the first token are wrong in one thing.
const KEYS: &str =
    r#"{"keys":[{"kty":"oct","alg":"HS256","kid":"k1","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}]}"#;
const TOKENS: [&str; 7] = [
    "eyJhbGciOiJIUzI1NiIsImtpZCI6ImsxIiwidHlwIjoiSldUIn0.eyJpc3MiOiJpc3N1ZXIudGVzdCIsInN1YiI6ImFubiIsImF1ZCI6ImNhc2UiLCJleHAiOjQxMDI0NDQ4MDAsImdyb3VwcyI6WyJhIiwiYiJdfQ.j-njxTaabfE9DIc5Ziz1ZZS20s1604h9jAfLeWmCzcc",
    "eyJhbGciOiJIUzI1NiIsImtpZCI6ImsxIiwidHlwIjoiSldUIn0.eyJpc3MiOiJpc3N1ZXIudGVzdCIsInN1YiI6ImFubiIsImF1ZCI6ImNhc2UiLCJleHAiOjEwMDAwMDAwMDAsImdyb3VwcyI6WyJhIiwiYiJdfQ.E9U45UEb_QiT_MPjnAFdmxZeHDs6TY0RszCyJT-6VYM",
    "eyJhbGciOiJIUzI1NiIsImtpZCI6ImsxIiwidHlwIjoiSldUIn0.eyJpc3MiOiJpc3N1ZXIudGVzdCIsInN1YiI6ImFubiIsImF1ZCI6Im90aGVyIiwiZXhwIjo0MTAyNDQ0ODAwLCJncm91cHMiOlsiYSIsImIiXX0.bmEKGq8nzItyB74Hzed7FgyewxmrhAao6XwWE2bDrZY",
    "eyJhbGciOiJIUzI1NiIsImtpZCI6ImsxIiwidHlwIjoiSldUIn0.eyJpc3MiOiJvdGhlci50ZXN0Iiwic3ViIjoiYW5uIiwiYXVkIjoiY2FzZSIsImV4cCI6NDEwMjQ0NDgwMCwiZ3JvdXBzIjpbImEiLCJiIl19.czWg9_4Xb4lQfGf_urQN0l_GhrNMI8db-qxPCNImmnw",
    "eyJhbGciOiJIUzI1NiIsImtpZCI6ImsxIiwidHlwIjoiSldUIn0.eyJpc3MiOiJpc3N1ZXIudGVzdCIsInN1YiI6ImFubiIsImF1ZCI6ImNhc2UiLCJleHAiOjQxMDI0NDQ4MDAsImdyb3VwcyI6WyJhIiwiYiJdfQ.jYC_yBNv64VOKRDJeg1PAHs4D7MOQ5qlVdGjlem2nOw",
    "eyJhbGciOiJIUzI1NiIsImtpZCI6ImsyIiwidHlwIjoiSldUIn0.eyJpc3MiOiJpc3N1ZXIudGVzdCIsInN1YiI6ImFubiIsImF1ZCI6ImNhc2UiLCJleHAiOjQxMDI0NDQ4MDAsImdyb3VwcyI6WyJhIiwiYiJdfQ.bSKlDjEDhoKRCR3DO7YpEcjMH4ay9_XPiIvz0n9nvf8",
    "nonsense",
];

pub(super) fn jwt_authn(chance: &mut Chance) -> Made {
    let mut provider =
        json!({"issuer": "issuer.test", "audiences": ["case"], "local_jwks": {"inline_string": KEYS}});
    if chance.once_in(2) {
        provider["forward"] = json!(true);
    }
    if chance.once_in(2) {
        provider["forward_payload_header"] = json!("x-payload");
    }
    if chance.once_in(2) {
        provider["claim_to_headers"] = json!([{"header_name": "x-sub", "claim_name": "sub"}]);
    }
    if chance.once_in(2) {
        provider["from_headers"] = json!([{"name": "x-token", "value_prefix": "T "}]);
        provider["from_params"] = json!(["token"]);
    }
    let requirement = chance
        .one(&[
            json!({"provider_name": "p"}),
            json!({"requires_any": {"requirements": [{"provider_name": "p"}, {"allow_missing": {}}]}}),
            json!({"requires_any": {"requirements": [{"provider_name": "p"}, {"allow_missing_or_failed": {}}]}}),
            json!({"provider_and_audiences": {"provider_name": "p", "audiences": ["other"]}}),
        ])
        .clone();
    let rules = json!([{"match": {"prefix": "/a"}, "requires": requirement}, {"match": {"prefix": "/own"}, "requires": {"provider_name": "p"}}]);
    let config = json!({"providers": {"p": provider}, "rules": rules, "requirement_map": {"loose": {"allow_missing_or_failed": {}}}});
    let own = match chance.up_to(2) {
        0 => typed("jwt_authn.v3.PerRouteConfig", json!({"disabled": true})),
        1 => typed("jwt_authn.v3.PerRouteConfig", json!({"requirement_name": "loose"})),
        _ => Value::Null,
    };
    let headers: Vec<String> = TOKENS
        .iter()
        .flat_map(|token| [format!("authorization: Bearer {token}"), format!("x-token: T {token}")])
        .chain([
            "authorization: Basic YTpi".to_owned(),
            "x-sub: forged".to_owned(),
            "x-payload: forged".to_owned(),
        ])
        .collect();
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    let requests = requests(chance, 40, &["GET"], &headers);
    Made { name: "jwt_authn", config: typed("jwt_authn.v3.JwtAuthentication", config), own, requests }
}
