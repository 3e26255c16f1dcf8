// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Matchers of all kinds, and what routes do with a request.

use super::Chance;
use serde_json::{Value, json};

const PATHS: [&str; 24] = [
    "/",
    "/a",
    "/a/",
    "/a/b",
    "/ab",
    "/A",
    "/a/b/c",
    "/b",
    "/b/a",
    "/a.b",
    "/a-b",
    "/aa",
    "/v1/users/42",
    "/v1/users/",
    "/v1/users/42/x",
    "/a%20b",
    "/a//b",
    "/a;p=1",
    "/abc/def",
    "/x/y/z",
    "/A/B",
    "/%61",
    "/v1",
    "/long/path/with/many/parts",
];
const PREFIXES: [&str; 10] = ["/", "/a", "/a/", "/ab", "/v1/", "/A", "/x/y", "/b", "/a/b", "/long"];
const REGEXES: [&str; 8] = [
    "/a.*",
    "/v1/users/\\d+",
    "/v1/users/(\\d+)(/.*)?",
    "/[a-z]+",
    "/a|/b",
    "/(?:a|b)/.*",
    ".*b",
    "/x/[^/]+/z",
];
const QUERIES: [&str; 8] = ["", "?x=1", "?x=2", "?x", "?y=1&x=1", "?x=1&x=2", "?x=abc", "?X=1"];
const NAMES: [&str; 3] = ["x-one", "x-two", "x-three"];
const VALUES: [&str; 7] = ["1", "2", "abc", "ABC", "10", "", "a,b"];

pub(super) fn case(chance: &mut Chance) -> Value {
    let mut routes: Vec<Value> = (0..1 + chance.up_to(5)).map(|index| route(chance, index)).collect();
    if chance.once_in(2) {
        routes.push(json!({"match": {"prefix": "/"}, "route": {"cluster": "three"}, "name": "last"}));
    }
    let requests: Vec<Value> = (0..95).map(|_| request(chance)).collect();
    json!({"routes": routes, "requests": requests})
}

fn route(chance: &mut Chance, index: usize) -> Value {
    let mut matcher = path_matcher(chance);
    let by_prefix = matcher.get("prefix").is_some();
    if chance.once_in(5) {
        matcher["case_sensitive"] = json!(false);
        if matcher.get("safe_regex").is_some() {
            matcher.as_object_mut().map(|fields| fields.remove("case_sensitive"));
        }
    }
    if chance.once_in(3) {
        matcher["headers"] = (0..1 + chance.up_to(1)).map(|_| header_matcher(chance)).collect();
    }
    if chance.once_in(4) {
        matcher["query_parameters"] = json!([query_matcher(chance)]);
    }
    let mut route = json!({"match": matcher, "name": format!("r{index}")});
    match chance.up_to(9) {
        0 => route["redirect"] = redirect(chance, by_prefix),
        1 => {
            route["direct_response"] = json!({"status": chance.one(&[200, 202, 403, 404, 503]), "body": {"inline_string": "direct\n"}});
        }
        _ => route["route"] = forward(chance, by_prefix),
    }
    route
}

fn path_matcher(chance: &mut Chance) -> Value {
    match chance.up_to(7) {
        0 | 1 => json!({"path": chance.one(&PATHS)}),
        2 | 3 => json!({"safe_regex": {"regex": chance.one(&REGEXES)}}),
        4 => json!({"path_separated_prefix": chance.one(&["/a", "/a/b", "/v1", "/x/y", "/A"])}),
        _ => json!({"prefix": chance.one(&PREFIXES)}),
    }
}

fn header_matcher(chance: &mut Chance) -> Value {
    let mut matcher = json!({"name": chance.one(&NAMES)});
    let text = *chance.one(&["1", "abc", "a"]);
    match chance.up_to(8) {
        0 => matcher["present_match"] = json!(chance.once_in(2)),
        1 => matcher["range_match"] = json!({"start": 1, "end": 10}),
        2 => {
            matcher["string_match"] =
                json!({"safe_regex": {"regex": chance.one(&["[a-z]+", "\\d+", "a.c", ".*"])}})
        }
        3 => matcher["string_match"] = json!({"prefix": text}),
        4 => matcher["string_match"] = json!({"suffix": text}),
        5 => matcher["string_match"] = json!({"contains": text}),
        6 => {
            matcher =
                json!({"name": ":method", "string_match": {"exact": chance.one(&["GET", "POST", "PUT"])}})
        }
        7 => matcher["string_match"] = json!({"exact": text, "ignore_case": true}),
        _ => matcher["string_match"] = json!({"exact": text}),
    }
    if chance.once_in(4) {
        matcher["invert_match"] = json!(true);
    }
    if chance.once_in(5) {
        matcher["treat_missing_header_as_empty"] = json!(true);
    }
    matcher
}

fn query_matcher(chance: &mut Chance) -> Value {
    match chance.up_to(3) {
        0 => json!({"name": "x", "present_match": true}),
        1 => json!({"name": "x", "string_match": {"safe_regex": {"regex": "[0-9]+"}}}),
        2 => json!({"name": "x", "string_match": {"prefix": "a"}}),
        _ => json!({"name": "x", "string_match": {"exact": chance.one(&["1", "2", "abc"])}}),
    }
}

fn redirect(chance: &mut Chance, by_prefix: bool) -> Value {
    let mut redirect = json!({});
    match chance.up_to(3) {
        0 => redirect["path_redirect"] = json!(chance.one(&["/new", "/new?y=2", "/"])),
        1 if by_prefix => redirect["prefix_rewrite"] = json!(chance.one(&["/new", "/", "/new/"])),
        2 => {
            redirect["regex_rewrite"] =
                json!({"pattern": {"regex": "^/([^/]+)"}, "substitution": "/new/\\1"});
        }
        _ => {}
    }
    if chance.once_in(3) {
        redirect["host_redirect"] = json!("other.test");
    }
    match chance.up_to(4) {
        0 => redirect["https_redirect"] = json!(true),
        1 => redirect["scheme_redirect"] = json!("https"),
        _ => {}
    }
    if chance.once_in(4) {
        redirect["port_redirect"] = json!(chance.one(&[80, 443, 8443]));
    }
    if chance.once_in(2) {
        let codes = ["MOVED_PERMANENTLY", "FOUND", "SEE_OTHER", "TEMPORARY_REDIRECT", "PERMANENT_REDIRECT"];
        redirect["response_code"] = json!(chance.one(&codes));
    }
    if chance.once_in(3) {
        redirect["strip_query"] = json!(true);
    }
    redirect
}

fn forward(chance: &mut Chance, by_prefix: bool) -> Value {
    let mut action = json!({"cluster": chance.one(&["one", "two", "three"])});
    match chance.up_to(11) {
        0 => action["cluster"] = json!("missing"),
        1 => action["cluster"] = json!("empty"),
        2 => action["cluster"] = json!("http2"),
        _ => {}
    }
    if action["cluster"] == "missing" && chance.once_in(2) {
        action["cluster_not_found_response_code"] =
            json!(chance.one(&["NOT_FOUND", "INTERNAL_SERVER_ERROR"]));
    }
    match chance.up_to(4) {
        0 if by_prefix => action["prefix_rewrite"] = json!(chance.one(&["/new", "/new/", "/"])),
        1 => {
            let (pattern, substitution) = *chance.one(&[
                ("^/([^/]+)(/.*)?$", "/new/\\1\\2"),
                ("a", "b"),
                ("/+", "/"),
                ("^/v1/users/(\\d+)", "/user-\\1"),
            ]);
            action["regex_rewrite"] = json!({"pattern": {"regex": pattern}, "substitution": substitution});
        }
        _ => {}
    }
    match chance.up_to(7) {
        0 => action["host_rewrite_literal"] = json!("inner.test"),
        1 => action["host_rewrite_header"] = json!("x-one"),
        _ => {}
    }
    if action.as_object().is_some_and(|fields| fields.keys().any(|key| key.starts_with("host_rewrite")))
        && chance.once_in(2)
    {
        action["append_x_forwarded_host"] = json!(true);
    }
    action
}

fn request(chance: &mut Chance) -> Value {
    let path = format!("{}{}", chance.one(&PATHS), chance.one(&QUERIES));
    let mut headers = Vec::new();
    for name in NAMES {
        if chance.once_in(3) {
            headers.push(format!("{name}: {}", chance.one(&VALUES)));
        }
    }
    let method = chance.one(&["GET", "GET", "GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE"]);
    let body = if *method == "POST" || *method == "PUT" { *chance.one(&["", "hello"]) } else { "" };
    let version = chance.one(&["1.1", "1.1", "1.1", "2"]);
    // A body without a length is another matter.
    json!({"path": path, "method": method, "headers": headers, "body": body, "version": version,
           "host": chance.one(&["case.test", "case.test", "case.test:8080", "Case.Test"])})
}
