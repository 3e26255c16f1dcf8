// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Settings of the HttpConnectionManager: paths, hosts, addresses, HTTP/1.0, header checks.

use super::Chance;
use serde_json::{Value, json};

const PATHS: [&str; 22] = [
    "/",
    "/a/./b",
    "/a/../b",
    "/a//b",
    "//a",
    "/a/%2e%2e/b",
    "/a%2Fb",
    "/a%2fb",
    "/a%5Cb",
    "/a%5cb",
    "/%61",
    "/a%20b",
    "/a/b/../../c",
    "/..",
    "/a/..",
    "/a/.",
    "/a?x=../y",
    "/a\\b",
    "/%7Ea",
    "/a///b//c",
    "/a%00b",
    "/a#frag",
];
const FORWARDED: [&str; 7] = [
    "x-forwarded-for: 10.0.0.1",
    "x-forwarded-for: 1.2.3.4, 5.6.7.8",
    "x-forwarded-for: 192.168.1.1, 8.8.8.8, 10.1.1.1",
    "x-forwarded-for: nonsense",
    "x-forwarded-proto: https",
    "x-forwarded-host: outer.test",
    "x-forwarded-port: 1234",
];
const OTHER: [&str; 16] = [
    "x_under: 1",
    "x-envoy-internal: true",
    "x-request-id: mine",
    "x-envoy-original-path: /fake",
    "x-envoy-max-retries: 9",
    "via: 1.1 other",
    "user-agent: tester",
    "te: trailers",
    "te: gzip",
    "accept-encoding: gzip",
    "x-envoy-external-address: 9.9.9.9",
    "x-envoy-downstream-service-node: n",
    "expect: 100-continue",
    "connection: close",
    "x-envoy-decorator-operation: op",
    "x-forwarded-client-cert: By=a",
];

pub(super) fn case(chance: &mut Chance) -> Value {
    let mut http = json!({});
    let mut maybe = |chance: &mut Chance, field: &str, values: &[Value]| {
        if chance.once_in(3) {
            http[field] = chance.one(values).clone();
        }
    };
    let truth = [json!(true), json!(false)];
    maybe(chance, "normalize_path", &truth);
    maybe(chance, "merge_slashes", &truth);
    maybe(
        chance,
        "path_with_escaped_slashes_action",
        &["KEEP_UNCHANGED", "REJECT_REQUEST", "UNESCAPE_AND_REDIRECT", "UNESCAPE_AND_FORWARD"]
            .map(Value::from),
    );
    maybe(chance, "use_remote_address", &truth);
    maybe(chance, "xff_num_trusted_hops", &[json!(1), json!(2)]);
    maybe(chance, "skip_xff_append", &truth);
    maybe(chance, "via", &[json!("edge")]);
    maybe(chance, "server_name", &[json!("shop")]);
    maybe(
        chance,
        "server_header_transformation",
        &["OVERWRITE", "APPEND_IF_ABSENT", "PASS_THROUGH"].map(Value::from),
    );
    maybe(chance, "generate_request_id", &truth);
    maybe(chance, "preserve_external_request_id", &truth);
    maybe(chance, "always_set_request_id_in_response", &truth);
    maybe(chance, "append_x_forwarded_port", &truth);
    maybe(chance, "add_user_agent", &truth);
    maybe(
        chance,
        "http_protocol_options",
        &[
            json!({"accept_http_10": true}),
            json!({"accept_http_10": true, "default_host_for_http_10": "ten.test"}),
        ],
    );
    let under = ["ALLOW", "REJECT_REQUEST", "DROP_HEADER"]
        .map(|action| json!({"headers_with_underscores_action": action}));
    maybe(chance, "common_http_protocol_options", &under);
    match chance.up_to(5) {
        0 => http["strip_any_host_port"] = json!(true),
        1 => http["strip_matching_host_port"] = json!(true),
        2 => http["strip_trailing_host_dot"] = json!(true),
        3 => {
            let house = json!({"cidr_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]});
            http["internal_address_config"] = house;
        }
        _ => {}
    }
    let routes = json!([
        {"match": {"prefix": "/a/b"}, "route": {"cluster": "two"}, "name": "ab"},
        {"match": {"path": "/c"}, "route": {"cluster": "three"}, "name": "c"},
        {"match": {"prefix": "/"}, "route": {"cluster": "one"}, "name": "rest"}
    ]);
    let requests: Vec<Value> = (0..80).map(|_| request(chance)).collect();
    json!({"routes": routes, "http": http, "requests": requests})
}

fn request(chance: &mut Chance) -> Value {
    let mut headers: Vec<&str> = Vec::new();
    for _ in 0..chance.up_to(2) {
        headers.push(*chance.one(&FORWARDED));
    }
    for _ in 0..chance.up_to(2) {
        headers.push(*chance.one(&OTHER));
    }
    headers.sort_unstable();
    headers.dedup();
    let mut version = *chance.one(&["1.1", "1.1", "1.1", "1.0", "2"]);
    let path = *chance.one(&PATHS);
    // Fields that are of HTTP/1 alone, and characters that the client's own library refuses.
    let only_http1 = |line: &&str| {
        line.starts_with("connection") || line.starts_with("te: g") || line.starts_with("expect")
    };
    if version == "2" && (path.contains('\\') || path.contains('#') || headers.iter().any(only_http1)) {
        version = "1.1";
    }
    let hosts = ["case.test", "case.test:20000", "case.test:1", "case.test.", "Case.TEST", "127.0.0.1"];
    json!({"path": path, "headers": headers, "version": version, "host": chance.one(&hosts)})
}
