// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Which virtual host and route a request finds: precedence of hosts and paths, conditions.

use crate::put;
use crate::resources::{PathSpecifier, host, packed_host, prefix, route, table, vhds_table};
use gateway_config::{ConfigStore, RequestView, RouteTable};
use gateway_xds_api::ResourceType;
use gateway_xds_api::pb::envoy::config::route::v3::{
    HeaderMatcher, QueryParameterMatcher, Route, header_matcher, query_parameter_matcher,
};
use gateway_xds_api::pb::envoy::r#type::matcher::v3::{
    RegexMatcher, StringMatcher, string_matcher::MatchPattern,
};
use gateway_xds_api::pb::google::protobuf::BoolValue;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;
use std::sync::Arc;

fn tabled(hosts: Vec<gateway_xds_api::pb::envoy::config::route::v3::VirtualHost>) -> Arc<RouteTable> {
    let mut store = ConfigStore::new();
    let applied = put(&mut store, ResourceType::RouteConfiguration, [table("t", hosts)]);
    assert_eq!((applied.rejections, applied.warnings), (Vec::new(), Vec::new()));
    Arc::clone(store.snapshot().route_tables.get("t").unwrap())
}

#[derive(Clone, Copy)]
struct Asked<'a> {
    host: &'a str,
    target: &'a str,
    method: &'a str,
    headers: &'a [(&'a str, &'a str)],
}

fn found(table: &RouteTable, asked: Asked<'_>) -> Option<String> {
    let mut headers = HeaderMap::new();
    for (name, value) in asked.headers {
        headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    let method: Method = asked.method.parse().unwrap();
    let (path, query) =
        asked.target.split_once('?').map_or((asked.target, None), |(path, query)| (path, Some(query)));
    let request = RequestView {
        path,
        query,
        method: &method,
        authority: asked.host,
        scheme: "http",
        headers: &headers,
        random: 7,
    };
    table.find(&request).map(|found| found.route.name.to_string())
}

fn get<'a>(host: &'a str, target: &'a str) -> Asked<'a> {
    Asked { host, target, method: "GET", headers: &[] }
}

#[test]
fn hosts_by_precedence() {
    let names = ["*", "*.com", "*.shop.com", "shop.com", "a.shop.com", "ported.com:8080"];
    let table = tabled(names.iter().map(|name| host(name, &[name], vec![prefix(name, "/")])).collect());
    for (asked, expected) in [
        ("shop.com", "shop.com"),
        ("SHOP.com", "shop.com"),
        ("a.shop.com", "a.shop.com"),
        ("b.shop.com", "*.shop.com"),
        ("c.b.shop.com", "*.shop.com"),
        ("other.com", "*.com"),
        ("x.a.shop.com", "*.shop.com"),
        ("badshop.com", "*.com"),
        ("com", "*"),
        (".com", "*"),
        ("", "*"),
        ("shop.com:8080", "*"),
        ("ported.com:8080", "ported.com:8080"),
        ("ported.com", "*.com"),
    ] {
        assert_eq!(found(&table, get(asked, "/")).as_deref(), Some(expected), "{asked}");
    }
    let without_any = tabled(vec![host("a", &["a.com"], vec![prefix("r", "/")])]);
    assert_eq!(found(&without_any, get("b.com", "/")), None);
}

#[test]
fn ports_play_no_part_where_the_table_says_so() {
    let mut store = ConfigStore::new();
    put(&mut store, ResourceType::RouteConfiguration, [vhds_table("t")]);
    put(&mut store, ResourceType::VirtualHost, [packed_host("t", "shop.com", vec![prefix("r", "/")])]);
    let table = Arc::clone(store.snapshot().route_tables.get("t").unwrap());
    for (asked, finds) in [
        ("shop.com:8080", true),
        ("shop.com", true),
        ("shop.com:", true),
        ("[::1]:80", false),
        ("shop.com:x", false),
    ] {
        assert_eq!(found(&table, get(asked, "/")).is_some(), finds, "{asked}");
    }
}

fn regex(text: &str) -> PathSpecifier {
    PathSpecifier::SafeRegex(RegexMatcher { regex: text.to_owned(), ..RegexMatcher::default() })
}

#[test]
fn the_first_route_that_matches_wins() {
    let mut no_case = prefix("no-case", "/CaSe");
    no_case.r#match.as_mut().unwrap().case_sensitive = Some(BoolValue { value: false });
    let routes = vec![
        route("exact", PathSpecifier::Path("/foo".to_owned())),
        route("early-regex", regex("/foo/[0-9]+")),
        route("separated", PathSpecifier::PathSeparatedPrefix("/foo".to_owned())),
        prefix("longer", "/bar/baz"),
        prefix("string", "/bar"),
        prefix("never", "/bar/baz/deeper"),
        no_case,
        route("late-exact", PathSpecifier::Path("/bar".to_owned())),
        prefix("rest", "/"),
    ];
    let table = tabled(vec![host("h", &["*"], routes)]);
    for (path, expected) in [
        ("/foo", "exact"),
        ("/foo/", "separated"),
        ("/foo/12", "early-regex"),
        ("/foo/12/x", "separated"),
        ("/foobar", "rest"),
        ("/bar/baz", "longer"),
        ("/bar/baz/deeper", "longer"),
        ("/bar/ba", "string"),
        ("/barbaz", "string"),
        ("/bar", "string"),
        ("/cAsE/x", "no-case"),
        ("/FOO", "rest"),
        ("/", "rest"),
        ("/foo?x=/bar", "exact"),
    ] {
        assert_eq!(found(&table, get("h", path)).as_deref(), Some(expected), "{path}");
    }
    assert_eq!(found(&table, get("h", "*")), None);
}

fn with_header(
    name: &str,
    header: &str,
    specifier: Option<header_matcher::HeaderMatchSpecifier>,
    invert: bool,
) -> Route {
    let mut made = prefix(name, "/");
    made.r#match.as_mut().unwrap().headers.push(HeaderMatcher {
        name: header.to_owned(),
        invert_match: invert,
        header_match_specifier: specifier,
        ..HeaderMatcher::default()
    });
    made
}

fn exactly(text: &str) -> Option<header_matcher::HeaderMatchSpecifier> {
    let matcher =
        StringMatcher { match_pattern: Some(MatchPattern::Exact(text.to_owned())), ignore_case: false };
    Some(header_matcher::HeaderMatchSpecifier::StringMatch(matcher))
}

#[test]
fn conditions_on_methods_headers_and_queries() {
    let mut query = prefix("query", "/");
    let text =
        StringMatcher { match_pattern: Some(MatchPattern::Exact("b c".to_owned())), ignore_case: false };
    query.r#match.as_mut().unwrap().query_parameters.push(QueryParameterMatcher {
        name: "a".to_owned(),
        query_parameter_match_specifier: Some(
            query_parameter_matcher::QueryParameterMatchSpecifier::StringMatch(text),
        ),
    });
    let table = tabled(vec![host(
        "h",
        &["*"],
        vec![
            with_header("post", ":method", exactly("POST"), false),
            with_header("joined", "x-list", exactly("a,b"), false),
            with_header("present", "x-here", None, false),
            with_header("not-one", "x-version", exactly("1"), true),
            query,
            prefix("rest", "/"),
        ],
    )]);
    let asked = |method, headers, target| Asked { host: "h", target, method, headers };
    for (asked, expected) in [
        (asked("POST", &[][..], "/"), "post"),
        (asked("GET", &[("x-list", "a"), ("x-list", "b")], "/"), "joined"),
        (asked("GET", &[("x-list", "a")], "/"), "rest"),
        (asked("GET", &[("x-here", "")], "/"), "present"),
        (asked("GET", &[("x-version", "2")], "/"), "not-one"),
        (asked("GET", &[("x-version", "1")], "/"), "rest"),
        (asked("GET", &[], "/?x=1&a=b%20c"), "query"),
        (asked("GET", &[], "/?a=x&a=b%20c"), "rest"),
    ] {
        assert_eq!(
            found(&table, asked).as_deref(),
            Some(expected),
            "{} {} {:?}",
            asked.method,
            asked.target,
            asked.headers
        );
    }
}

proptest! {
    /// The index finds what looking at one route after the other finds.
    #[test]
    fn the_index_agrees_with_the_order(
        routes in proptest::collection::vec((0_u8..4, "(/[ab]{1,2}){1,3}"), 1..40),
        paths in proptest::collection::vec("(/[ab]{0,3}){1,4}", 1..20),
    ) {
        let specifier = |kind: u8, path: &str| match kind {
            0 => PathSpecifier::Path(path.to_owned()),
            1 => PathSpecifier::Prefix(path.to_owned()),
            2 => PathSpecifier::PathSeparatedPrefix(path.to_owned()),
            _ => regex(&format!("{path}b*")),
        };
        let listed = routes.iter().enumerate().map(|(at, (kind, path))| route(&at.to_string(), specifier(*kind, path))).collect();
        let table = tabled(vec![host("h", &["*"], listed)]);
        for path in paths {
            let expected = routes.iter().position(|(kind, pattern)| match kind {
                0 => path == *pattern,
                1 => path.starts_with(pattern.as_str()),
                2 => path == *pattern || path.starts_with(&format!("{pattern}/")),
                _ => path.strip_prefix(pattern.as_str()).is_some_and(|rest| rest.bytes().all(|b| b == b'b')),
            });
            prop_assert_eq!(found(&table, get("h", &path)), expected.map(|at| at.to_string()), "{}", path);
        }
    }
}
