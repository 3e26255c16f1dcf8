// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Retries: conditions, numbers, hosts, limits in time, and the headers by which a client asks for them.

use super::Chance;
use serde_json::{Value, json};

const CONDITIONS: [&str; 12] = [
    "5xx",
    "gateway-error",
    "connect-failure",
    "retriable-4xx",
    "reset",
    "retriable-status-codes",
    "retriable-headers",
    "refused-stream",
    "5xx,retriable-4xx",
    "reset-before-request",
    "cancelled,unavailable",
    "connect-failure,refused-stream,unavailable,retriable-status-codes",
];
const STEPS: [&str; 14] = [
    "200",
    "503",
    "500",
    "502",
    "409",
    "404",
    "503,200",
    "503,503,200",
    "reset,200",
    "reset",
    "500,409,200",
    "retriable,200",
    "grpc-14,200",
    "grpc-0",
];

pub(super) fn case(chance: &mut Chance) -> Value {
    let mut policy = json!({"retry_on": chance.one(&CONDITIONS)});
    if !chance.once_in(3) {
        policy["num_retries"] = json!(chance.one(&[0, 1, 2, 3]));
    }
    if chance.once_in(2) {
        policy["retriable_status_codes"] = json!([chance.one(&[404, 500, 503])]);
    }
    if chance.once_in(3) {
        policy["retriable_headers"] = json!([{"name": "x-retry-me", "present_match": true}]);
    }
    if chance.once_in(3) {
        policy["retry_host_predicate"] = json!([{
            "name": "envoy.retry_host_predicates.previous_hosts",
            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"}
        }]);
        policy["host_selection_retry_max_attempts"] = json!(5);
    }
    policy["retry_back_off"] = json!({"base_interval": "0.001s", "max_interval": "0.002s"});
    let mut action = json!({"cluster": chance.one(&["one", "all", "dead", "http2"]), "retry_policy": policy});
    if chance.once_in(4) {
        action["retry_policy"]["per_try_timeout"] = json!("0.2s");
    }
    let mut virtual_host = json!({});
    if chance.once_in(2) {
        virtual_host["include_request_attempt_count"] = json!(true);
    }
    if chance.once_in(3) {
        virtual_host["include_attempt_count_in_response"] = json!(true);
    }
    let requests: Vec<Value> = (0..60).map(|_| request(chance)).collect();
    json!({"routes": [{"match": {"prefix": "/"}, "route": action}], "virtual_host": virtual_host, "requests": requests})
}

fn request(chance: &mut Chance) -> Value {
    let mut headers = vec![format!("x-do: {}", chance.one(&STEPS))];
    if chance.once_in(6) {
        headers.push(format!("x-envoy-max-retries: {}", chance.one(&["0", "1", "2", "nonsense"])));
    }
    if chance.once_in(6) {
        headers.push(format!("x-envoy-retry-on: {}", chance.one(&CONDITIONS)));
    }
    if chance.once_in(8) {
        headers.push("x-envoy-retriable-status-codes: 404,500".to_owned());
    }
    if chance.once_in(8) {
        headers.push("x-envoy-upstream-rq-timeout-ms: 5000".to_owned());
    }
    let post = chance.once_in(4);
    json!({"path": "/", "headers": headers, "method": if post { "POST" } else { "GET" }, "body": if post { "hello" } else { "" },
           "version": chance.one(&["1.1", "1.1", "2"])})
}
