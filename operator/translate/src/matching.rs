// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Which requests a route takes.

use crate::wire::{boolean, regex};
use gateway_xds_api::pb::envoy::config::route::v3 as route;
use gateway_xds_api::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use operator_ir::{PathMatch, RequestMatch, StringMatch};
use route::header_matcher::HeaderMatchSpecifier;
use route::query_parameter_matcher::QueryParameterMatchSpecifier;
use route::route_match::PathSpecifier;

pub(crate) fn route_match(matches: &RequestMatch) -> route::RouteMatch {
    let RequestMatch { path, method, headers, query } = matches;
    let method = method.iter().map(|method| {
        let value = StringMatch::Exact(method.clone());
        header_matcher(":method", &value)
    });
    let headers = headers.iter().map(|header| header_matcher(&header.name, &header.value));
    route::RouteMatch {
        path_specifier: Some(path_specifier(path)),
        headers: method.chain(headers).collect(),
        query_parameters: query.iter().map(|q| query_matcher(&q.name, &q.value)).collect(),
        case_sensitive: boolean(true),
        ..Default::default()
    }
}

fn path_specifier(path: &PathMatch) -> PathSpecifier {
    match path {
        PathMatch::Exact(path) => PathSpecifier::Path(path.clone()),
        PathMatch::Prefix(prefix) if prefix == "/" => PathSpecifier::Prefix("/".to_owned()),
        PathMatch::Prefix(prefix) => PathSpecifier::PathSeparatedPrefix(prefix.clone()),
        PathMatch::StringPrefix(prefix) => PathSpecifier::Prefix(prefix.clone()),
        PathMatch::Regex(pattern) => PathSpecifier::SafeRegex(regex(pattern)),
    }
}

fn header_matcher(name: &str, value: &StringMatch) -> route::HeaderMatcher {
    let specifier = match string_matcher(value) {
        Some(matcher) => HeaderMatchSpecifier::StringMatch(matcher),
        None => HeaderMatchSpecifier::PresentMatch(true),
    };
    route::HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(specifier),
        ..Default::default()
    }
}

fn query_matcher(name: &str, value: &StringMatch) -> route::QueryParameterMatcher {
    let specifier = match string_matcher(value) {
        Some(matcher) => QueryParameterMatchSpecifier::StringMatch(matcher),
        None => QueryParameterMatchSpecifier::PresentMatch(true),
    };
    route::QueryParameterMatcher { name: name.to_owned(), query_parameter_match_specifier: Some(specifier) }
}

/// `None` where presence is enough.
fn string_matcher(value: &StringMatch) -> Option<StringMatcher> {
    let pattern = match value {
        StringMatch::Exact(text) => MatchPattern::Exact(text.clone()),
        StringMatch::Prefix(text) => MatchPattern::Prefix(text.clone()),
        StringMatch::Regex(pattern) => MatchPattern::SafeRegex(regex(pattern)),
        StringMatch::Present => return None,
    };
    Some(StringMatcher { match_pattern: Some(pattern), ..Default::default() })
}
