// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Changes of request and response headers on all levels, with operators and append actions.

use super::Chance;
use serde_json::{Value, json};

const VALUES: [&str; 7] = [
    "plain",
    "%REQ(x-one)%",
    "%REQ(x-none?x-one)%",
    "%PROTOCOL%",
    "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "100%%",
    "%REQ(x-none)%",
];
const ACTIONS: [&str; 4] =
    ["APPEND_IF_EXISTS_OR_ADD", "ADD_IF_ABSENT", "OVERWRITE_IF_EXISTS_OR_ADD", "OVERWRITE_IF_EXISTS"];
const NAMES: [&str; 6] = ["x-one", "x-two", "x-new", "x-multi", "user-agent", "X-Upper"];

pub(super) fn case(chance: &mut Chance) -> Value {
    let mut route = json!({"match": {"prefix": "/"}, "name": "only", "route": {"cluster": "one"}});
    let mut virtual_host = json!({});
    let mut route_config = json!({});
    for level in [&mut route, &mut virtual_host, &mut route_config] {
        if chance.once_in(3) {
            continue;
        }
        level["request_headers_to_add"] = additions(chance, false);
        level["response_headers_to_add"] = additions(chance, true);
        if chance.once_in(2) {
            level["request_headers_to_remove"] = json!([chance.one(&["x-two", "X-Drop", "x-none"])]);
            level["response_headers_to_remove"] =
                json!([chance.one(&["x-drop", "x-origin", "X-Multi", "server"])]);
        }
    }
    if chance.once_in(4) {
        let weight = json!({"name": "two", "weight": 100, "request_headers_to_add": additions(chance, false),
                            "response_headers_to_add": additions(chance, true)});
        route["route"] = json!({"weighted_clusters": {"clusters": [weight]}});
    }
    if chance.once_in(4) {
        route_config["most_specific_header_mutations_wins"] = json!(true);
    }
    let direct = json!({"match": {"prefix": "/direct"}, "direct_response": {"status": 200, "body": {"inline_string": "direct"}},
                        "response_headers_to_add": additions(chance, true)});
    let requests: Vec<Value> = (0..80)
        .map(|_| {
            let mut headers = vec![format!("x-do: {}", chance.one(&["200", "headers", "404"]))];
            for name in ["x-one", "x-two", "x-drop", "user-agent"] {
                if chance.once_in(2) {
                    headers.push(format!("{name}: {}", chance.one(&["v", "value", "w,x"])));
                }
            }
            if chance.once_in(6) {
                headers.push("x-one: again".to_owned());
            }
            json!({"path": chance.one(&["/", "/a?b=c", "/direct"]), "headers": headers,
                   "version": chance.one(&["1.1", "1.1", "2"])})
        })
        .collect();
    json!({"routes": [direct, route], "virtual_host": virtual_host, "route_config": route_config, "requests": requests})
}

fn additions(chance: &mut Chance, response: bool) -> Value {
    (0..1 + chance.up_to(2))
        .map(|_| {
            let name = *chance.one(if response {
                &["x-multi", "x-new", "x-origin", "X-Upper", "x-two", "x-res"]
            } else {
                &NAMES
            });
            let mut addition = json!({"header": {"key": name, "value": chance.one(&VALUES)}});
            if !chance.once_in(3) {
                addition["append_action"] = json!(chance.one(&ACTIONS));
            }
            if chance.once_in(5) {
                addition["keep_empty_value"] = json!(true);
            }
            addition
        })
        .collect()
}
