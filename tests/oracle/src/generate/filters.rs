// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! HTTP filters, one in each configuration, at the listener and sometimes otherwise at a route.

mod access;
mod traffic;

use super::Chance;
use serde_json::{Map, Value, json};

/// A filter with what routes may say instead, and requests that it has to do with.
struct Made {
    /// The extension's name without `envoy.filters.http.`.
    name: &'static str,
    config: Value,
    /// Of a route; null: nothing.
    own: Value,
    requests: Vec<Value>,
}

pub(super) fn case(chance: &mut Chance) -> Value {
    let made = match chance.up_to(11) {
        0 => access::csrf(chance),
        1 | 2 => access::rbac(chance),
        3 => access::basic_auth(chance),
        4 => access::api_key_auth(chance),
        5 => access::jwt_authn(chance),
        6 => traffic::header_mutation(chance),
        7 => traffic::fault(chance),
        8 => traffic::buffer(chance),
        9 => traffic::grpc_web(chance),
        10 => traffic::local_rate_limit(chance),
        _ => traffic::health_check(chance),
    };
    let Made { name, config, own, requests } = made;
    let backend = if name == "grpc_web" { "http2" } else { "one" };
    let full = format!("envoy.filters.http.{name}");
    let mut special = json!({"match": {"prefix": "/own"}, "name": "own", "route": {"cluster": backend}});
    if !own.is_null() {
        let mut settings = Map::new();
        settings.insert(full.clone(), own);
        special["typed_per_filter_config"] = Value::Object(settings);
    }
    json!({
        "filters": [{"name": full, "typed_config": config}],
        "routes": [special, {"match": {"prefix": "/"}, "name": "rest", "route": {"cluster": backend}}],
        "requests": requests,
    })
}

/// A message of a filter.
fn typed(name: &str, mut value: Value) -> Value {
    value["@type"] = json!(format!("type.googleapis.com/envoy.extensions.filters.http.{name}"));
    value
}

/// The filter is off at a route.
fn off() -> Value {
    json!({"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": true})
}

fn always() -> Value {
    json!({"default_value": {"numerator": 100, "denominator": "HUNDRED"}})
}

/// Requests with some of the headers.
fn requests(chance: &mut Chance, count: usize, methods: &[&str], headers: &[&str]) -> Vec<Value> {
    (0..count)
        .map(|_| {
            let mut lines: Vec<&str> = (0..chance.up_to(2)).map(|_| *chance.one(headers)).collect();
            lines.sort_unstable();
            lines.dedup();
            json!({
                "method": chance.one(methods),
                "path": chance.one(&["/", "/a/b?c=d", "/own", "/own/x?key=k1"]),
                "headers": lines,
                "version": chance.one(&["1.1", "1.1", "2"]),
            })
        })
        .collect()
}
