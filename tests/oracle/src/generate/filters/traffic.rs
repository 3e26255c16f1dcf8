// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Filters that change, limit and answer requests.

use super::{Chance, Made, always, off, requests, typed};
use serde_json::{Value, json};

pub(super) fn header_mutation(chance: &mut Chance) -> Made {
    let mutations = |chance: &mut Chance| {
        let one = |chance: &mut Chance| {
            let name = *chance.one(&["x-one", "x-new", "x-origin"]);
            match chance.once_in(3) {
                true => json!({"remove": name}),
                false => json!({"append": {
                    "header": {"key": name, "value": chance.one(&["v", "%REQ(x-two)%", "%PROTOCOL%"])},
                    "append_action": chance.one(&["APPEND_IF_EXISTS_OR_ADD", "ADD_IF_ABSENT", "OVERWRITE_IF_EXISTS_OR_ADD", "OVERWRITE_IF_EXISTS"]),
                }}),
            }
        };
        json!({"mutations": {"request_mutations": [one(chance)], "response_mutations": [one(chance)]}})
    };
    let config = typed("header_mutation.v3.HeaderMutation", mutations(chance));
    let own = typed("header_mutation.v3.HeaderMutationPerRoute", mutations(chance));
    let headers = ["x-one: a", "x-one: b", "x-two: c", "x-do: headers", "x-do: 404"];
    Made { name: "header_mutation", config, own, requests: requests(chance, 40, &["GET", "POST"], &headers) }
}

pub(super) fn fault(chance: &mut Chance) -> Made {
    let abort = |chance: &mut Chance| {
        let mut abort = chance
            .one(&[
                json!({"http_status": 503}),
                json!({"http_status": 418}),
                json!({"grpc_status": 14}),
                json!({"header_abort": {}}),
            ])
            .clone();
        abort["percentage"] = json!({"numerator": 100, "denominator": "HUNDRED"});
        json!({"abort": abort})
    };
    let mut config = abort(chance);
    if chance.once_in(2) {
        config["headers"] = json!([{"name": "x-fault", "present_match": true}]);
    }
    let own = if chance.once_in(2) { off() } else { typed("fault.v3.HTTPFault", abort(chance)) };
    let headers = [
        "x-fault: 1",
        "x-envoy-fault-abort-request: 500",
        "x-envoy-fault-abort-request: 100",
        "x-envoy-fault-abort-grpc-request: 5",
        "x-envoy-fault-abort-request-percentage: 0",
        "content-type: application/grpc",
    ];
    let requests = requests(chance, 40, &["GET", "POST"], &headers);
    Made { name: "fault", config: typed("fault.v3.HTTPFault", config), own, requests }
}

pub(super) fn buffer(chance: &mut Chance) -> Made {
    let most = *chance.one(&[5, 10, 100]);
    let config = typed("buffer.v3.Buffer", json!({"max_request_bytes": most}));
    let own = match chance.once_in(2) {
        true => typed("buffer.v3.BufferPerRoute", json!({"disabled": true})),
        false => typed("buffer.v3.BufferPerRoute", json!({"buffer": {"max_request_bytes": 8}})),
    };
    let mut requests = requests(chance, 40, &["POST", "PUT"], &["x-one: a"]);
    for request in &mut requests {
        request["body"] = json!("x".repeat(*chance.one(&[0, 5, 6, 8, 9, 10, 11, 200])));
    }
    Made { name: "buffer", config, own, requests }
}

pub(super) fn grpc_web(chance: &mut Chance) -> Made {
    let config = typed("grpc_web.v3.GrpcWeb", json!({}));
    let kinds = [
        ("application/grpc-web", "\0\0\0\0\u{1}a"),
        ("application/grpc-web+proto", "\0\0\0\0\0"),
        ("application/grpc-web-text", "AAAAAAFh"),
        ("application/grpc-web-text", "AAAAAAA="),
        ("application/grpc", "\0\0\0\0\u{1}a"),
        ("text/plain", "hello"),
    ];
    let requests = (0..30)
        .map(|_| {
            let (kind, body) = *chance.one(&kinds);
            let result = chance.one(&["grpc-0", "grpc-5", "500"]);
            json!({
                "method": "POST", "path": "/s.S/m", "body": body, "version": chance.one(&["1.1", "2"]),
                "headers": [format!("content-type: {kind}"), format!("x-do: {result}")],
            })
        })
        .collect();
    Made { name: "grpc_web", config, own: Value::Null, requests }
}

pub(super) fn local_rate_limit(chance: &mut Chance) -> Made {
    let bucket =
        |tokens: usize| json!({"max_tokens": tokens, "tokens_per_fill": 1, "fill_interval": "3600s"});
    let mut config = json!({
        "stat_prefix": "limit", "token_bucket": bucket(5 + chance.up_to(10)),
        "filter_enabled": always(), "filter_enforced": always(),
        "always_consume_default_token_bucket": chance.once_in(2),
        "rate_limits": [{"actions": [{"request_headers": {"header_name": "x-user", "descriptor_key": "user"}}]}],
        "descriptors": [
            {"entries": [{"key": "user", "value": "ann"}], "token_bucket": bucket(1 + chance.up_to(3))},
            {"entries": [{"key": "user"}], "token_bucket": bucket(2)},
        ],
    });
    if chance.once_in(2) {
        config["response_headers_to_add"] = json!([{"header": {"key": "x-limited", "value": "yes"}}]);
    }
    if chance.once_in(3) {
        config["status"] = json!({"code": "ServiceUnavailable"});
    }
    if chance.once_in(3) {
        config["rate_limited_as_resource_exhausted"] = json!(true);
    }
    let own = match chance.once_in(2) {
        true => off(),
        false => typed(
            "local_ratelimit.v3.LocalRateLimit",
            json!({"stat_prefix": "own", "token_bucket": bucket(2), "filter_enabled": always(), "filter_enforced": always()}),
        ),
    };
    let headers =
        ["x-user: ann", "x-user: bob", "x-user: eve", "x-user: ann", "content-type: application/grpc"];
    let requests = requests(chance, 40, &["GET"], &headers);
    Made {
        name: "local_ratelimit",
        config: typed("local_ratelimit.v3.LocalRateLimit", config),
        own,
        requests,
    }
}

pub(super) fn health_check(chance: &mut Chance) -> Made {
    let headers = json!([{"name": ":path", "string_match": {"exact": "/own"}}]);
    let mut config = json!({"pass_through_mode": chance.once_in(3), "headers": headers});
    if config["pass_through_mode"] == json!(true) {
        if chance.once_in(2) {
            config["cache_time"] = json!("60s");
        }
    } else if chance.once_in(2) {
        let cluster = *chance.one(&["one", "empty", "half", "none"]);
        config["cluster_min_healthy_percentages"] = json!({cluster: {"value": chance.one(&[0, 50, 100])}});
    }
    let requests = requests(chance, 30, &["GET", "HEAD", "POST"], &["x-do: 200", "x-do: 503", "x-one: a"]);
    Made {
        name: "health_check",
        config: typed("health_check.v3.HealthCheck", config),
        own: Value::Null,
        requests,
    }
}
