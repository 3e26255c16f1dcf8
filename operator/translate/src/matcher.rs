// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Which requests a route takes.

use crate::value::regex;
use gateway_xds_api::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use gateway_xds_api::pb::envoy::config::route::v3::query_parameter_matcher::QueryParameterMatchSpecifier;
use gateway_xds_api::pb::envoy::config::route::v3::route_match::PathSpecifier;
use gateway_xds_api::pb::envoy::config::route::v3::{HeaderMatcher, QueryParameterMatcher, RouteMatch};
use gateway_xds_api::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use operator_ir::{PathMatch, RequestMatch, StringMatch};

pub(crate) fn route_match(matches: &RequestMatch) -> RouteMatch {
    let method = matches.method.as_ref().map(|method| HeaderMatcher {
        name: ":method".to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(pattern(MatchPattern::Exact(
            method.clone(),
        )))),
        ..HeaderMatcher::default()
    });
    let headers = matches.headers.iter().map(|header| HeaderMatcher {
        name: header.name.clone(),
        header_match_specifier: Some(match string_matcher(&header.value) {
            Some(matcher) => HeaderMatchSpecifier::StringMatch(matcher),
            None => HeaderMatchSpecifier::PresentMatch(true),
        }),
        ..HeaderMatcher::default()
    });
    let query = matches.query.iter().map(|parameter| QueryParameterMatcher {
        name: parameter.name.clone(),
        query_parameter_match_specifier: Some(match string_matcher(&parameter.value) {
            Some(matcher) => QueryParameterMatchSpecifier::StringMatch(matcher),
            None => QueryParameterMatchSpecifier::PresentMatch(true),
        }),
    });
    RouteMatch {
        path_specifier: Some(path(&matches.path)),
        headers: method.into_iter().chain(headers).collect(),
        query_parameters: query.collect(),
        ..RouteMatch::default()
    }
}

fn path(path: &PathMatch) -> PathSpecifier {
    match path {
        PathMatch::Exact(path) => PathSpecifier::Path(path.clone()),
        PathMatch::Prefix(prefix) => match prefix.trim_end_matches('/') {
            // A separated prefix may not be `/` (Envoy, RouteMatch.path_separated_prefix).
            "" => PathSpecifier::Prefix("/".to_owned()),
            prefix => PathSpecifier::PathSeparatedPrefix(prefix.to_owned()),
        },
        PathMatch::StringPrefix(prefix) => PathSpecifier::Prefix(prefix.clone()),
        PathMatch::Regex(pattern) => PathSpecifier::SafeRegex(regex(pattern)),
    }
}

/// None where presence is all that is asked.
fn string_matcher(value: &StringMatch) -> Option<StringMatcher> {
    match value {
        StringMatch::Exact(text) => Some(pattern(MatchPattern::Exact(text.clone()))),
        // Envoy refuses an empty prefix; every value has one.
        StringMatch::Prefix(text) if text.is_empty() => None,
        StringMatch::Prefix(text) => Some(pattern(MatchPattern::Prefix(text.clone()))),
        StringMatch::Regex(text) => Some(pattern(MatchPattern::SafeRegex(regex(text)))),
        StringMatch::Present => None,
    }
}

fn pattern(pattern: MatchPattern) -> StringMatcher {
    StringMatcher { match_pattern: Some(pattern), ..StringMatcher::default() }
}
