// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Many routes and many hosts: the index finds what the order says, in a time that hardly grows.

use crate::put;
use crate::resources::{PathSpecifier, host, prefix, route, table};
use gateway_config::{ConfigStore, RequestView, RouteTable};
use gateway_xds_api::ResourceType;
use gateway_xds_api::pb::envoy::config::route::v3::{
    HeaderMatcher, Route, VirtualHost, header_matcher::HeaderMatchSpecifier,
};
use gateway_xds_api::pb::envoy::r#type::matcher::v3::{
    RegexMatcher, StringMatcher, string_matcher::MatchPattern,
};
use gateway_xds_api::pb::google::protobuf::BoolValue;
use http::{HeaderMap, HeaderValue, Method};
use proptest::prelude::*;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn tabled(hosts: Vec<VirtualHost>) -> Arc<RouteTable> {
    let mut store = ConfigStore::new();
    let applied = put(&mut store, ResourceType::RouteConfiguration, [table("t", hosts)]);
    assert!(applied.rejections.is_empty(), "{:?}", applied.rejections);
    Arc::clone(store.snapshot().route_tables.get("t").unwrap())
}

fn found<'a>(table: &'a RouteTable, authority: &str, path: &str, headers: &HeaderMap) -> Option<&'a str> {
    let request = RequestView {
        path,
        query: None,
        method: &Method::GET,
        authority,
        scheme: "http",
        headers,
        random: 7,
    };
    table.find(&request).map(|found| &*found.route.name)
}

fn tenant(value: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("x-tenant", HeaderValue::from_str(value).unwrap());
    headers
}

fn for_tenant(mut route: Route, tenant: &str) -> Route {
    let exact =
        StringMatcher { match_pattern: Some(MatchPattern::Exact(tenant.to_owned())), ignore_case: false };
    route.r#match.as_mut().unwrap().headers.push(HeaderMatcher {
        name: "x-tenant".to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(exact)),
        ..HeaderMatcher::default()
    });
    route
}

fn any_case(mut route: Route) -> Route {
    route.r#match.as_mut().unwrap().case_sensitive = Some(BoolValue { value: false });
    route
}

fn regex(text: &str) -> PathSpecifier {
    PathSpecifier::SafeRegex(RegexMatcher { regex: text.to_owned(), ..RegexMatcher::default() })
}

/// As many routes of five kinds on one host.
fn mixed(count: usize) -> Arc<RouteTable> {
    let routes = (0..count).map(|at| {
        let name = at.to_string();
        match at % 5 {
            0 => route(&name, PathSpecifier::Path(format!("/exact/{at}"))),
            1 => prefix(&name, &format!("/prefix/{at}/")),
            2 => route(&name, regex(&format!("/regex/{at}/\\d+"))),
            3 => for_tenant(prefix(&name, "/tenants"), &name),
            _ => any_case(prefix(&name, &format!("/Any/{at}/"))),
        }
    });
    tabled(vec![host("h", &["*"], routes.collect())])
}

fn asks(count: usize) -> Vec<(String, String, HeaderMap)> {
    let last = count - count % 5;
    let ask = |at: usize, path: String, headers| (at.to_string(), path, headers);
    vec![
        ask(last - 5, format!("/exact/{}", last - 5), HeaderMap::new()),
        ask(last - 4, format!("/prefix/{}/x", last - 4), HeaderMap::new()),
        ask(last - 3, format!("/regex/{}/42", last - 3), HeaderMap::new()),
        ask(last - 2, "/tenants/x".to_owned(), tenant(&(last - 2).to_string())),
        ask(last - 1, format!("/aNY/{}/x", last - 1), HeaderMap::new()),
    ]
}

/// The shortest of some runs.
fn time(mut run: impl FnMut()) -> Duration {
    let mut once = || {
        let began = Instant::now();
        (0..200).for_each(|_| run());
        began.elapsed()
    };
    (0..20).map(|_| once()).min().unwrap()
}

#[test]
fn ten_thousand_routes_of_a_host_take_hardly_longer_than_a_hundred() {
    let took = [100, 10_000].map(|count| {
        let (table, asks) = (mixed(count), asks(count));
        for (expected, path, headers) in &asks {
            assert_eq!(found(&table, "h", path, headers), Some(&**expected), "{path}");
        }
        assert_eq!(found(&table, "h", "/tenants", &tenant("nobody")), None);
        asks.iter()
            .map(|(_, path, headers)| {
                time(|| {
                    black_box(found(&table, "h", path, headers));
                })
            })
            .collect::<Vec<_>>()
    });
    for (few, many) in took[0].iter().zip(&took[1]) {
        // One after the other would be a hundred times as long.
        assert!(*many < *few * 10, "{few:?} and {many:?}: {took:?}");
    }
}

#[test]
fn ten_thousand_hosts_take_hardly_longer_than_a_hundred() {
    let took = [100, 10_000].map(|count| {
        let hosts = (0..count).map(|at| {
            let name = at.to_string();
            let domain = match at % 4 {
                0 => format!("h{at}.test"),
                1 => format!("*.h{at}.test"),
                2 => format!("*-h{at:05}.test"),
                _ => format!("h{at:05}.*"),
            };
            host(&name, &[&domain], vec![prefix(&name, "/")])
        });
        let (table, none) = (tabled(hosts.collect()), HeaderMap::new());
        let last = count - count % 4;
        let asks = [
            (last - 4, format!("h{}.test", last - 4)),
            (last - 3, format!("a.b.h{}.test", last - 3)),
            (last - 2, format!("a-h{:05}.test", last - 2)),
            (last - 1, format!("h{:05}.anything", last - 1)),
        ];
        asks.map(|(expected, authority)| {
            assert_eq!(found(&table, &authority, "/", &none), Some(&*expected.to_string()), "{authority}");
            time(|| {
                black_box(found(&table, &authority, "/", &none));
            })
        })
    });
    for (few, many) in took[0].iter().zip(&took[1]) {
        assert!(*many < *few * 10, "{few:?} and {many:?}: {took:?}");
    }
}

#[test]
fn hosts_with_wildcards_at_either_end() {
    let names = ["*", "*-x.test", "*.test", "*test", "*-a-x.test", "pre.*", "pre.fix-*", "pre.fix-a.test"];
    let table = tabled(names.iter().map(|name| host(name, &[name], vec![prefix(name, "/")])).collect());
    for (asked, expected) in [
        ("a-x.test", "*-x.test"),
        ("-x.test", "*.test"),
        ("a.b-x.test", "*-x.test"),
        ("b-a-x.test", "*-a-x.test"),
        ("a.test", "*.test"),
        (".test", "*test"),
        ("latest", "*test"),
        ("test", "*"),
        ("pre.com", "pre.*"),
        ("pre.", "*"),
        ("pre.fix-b.com", "pre.fix-*"),
        ("pre.fix-b.test", "*.test"),
        ("PRE.FIX-A.test", "pre.fix-a.test"),
    ] {
        let none = HeaderMap::new();
        let got = found(&table, asked, "/", &none);
        assert_eq!(got, Some(expected), "{asked}");
    }
}

proptest! {
    /// Routes that are told apart by a header are found as looking at one after the other finds them.
    #[test]
    fn the_header_index_agrees_with_the_order(
        routes in proptest::collection::vec((0_u8..3, proptest::option::of(0_u8..12), any::<bool>()), 1..60),
        requests in proptest::collection::vec((0_u8..3, proptest::option::of(0_u8..14), any::<bool>()), 1..20),
    ) {
        let path = |kind: u8, upper: bool| format!("/{}/{}", if upper { "AB" } else { "ab" }, "x/".repeat(kind.into()));
        let listed = routes.iter().enumerate().map(|(at, (kind, asked, insensitive))| {
            let made = prefix(&at.to_string(), &path(*kind, *insensitive));
            let made = if *insensitive { any_case(made) } else { made };
            match asked {
                Some(asked) => for_tenant(made, &asked.to_string()),
                None => made,
            }
        });
        let table = tabled(vec![host("h", &["*"], listed.collect())]);
        for (kind, sent, upper) in requests {
            let headers = sent.map(|sent| tenant(&sent.to_string())).unwrap_or_default();
            let expected = routes.iter().position(|(own, asked, insensitive)| {
                *own <= kind && (*insensitive || !upper) && (asked.is_none() || *asked == sent)
            });
            let asked = path(kind, upper);
            prop_assert_eq!(found(&table, "h", &asked, &headers).map(str::to_owned), expected.map(|at| at.to_string()), "{}", asked);
        }
    }
}
