// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Matches of an HTTPRoute: conditions on the request, and how specific they are.

use crate::checks::is_header_name;
use crate::route::{PathRank, Rank};
use crds::gateway_api::{
    HttpRouteRulesMatches, HttpRouteRulesMatchesHeadersType, HttpRouteRulesMatchesMethod,
    HttpRouteRulesMatchesPath, HttpRouteRulesMatchesPathType, HttpRouteRulesMatchesQueryParamsType,
};
use operator_ir::{HeaderMatch, PathMatch, QueryMatch, RequestMatch, StringMatch};
use std::cmp::Reverse;

/// Largest regular expression, compiled, in bytes.
const REGEX_LIMIT: usize = 256 * 1024;

/// A match, or why it cannot be served.
pub(super) fn translate(matches: &HttpRouteRulesMatches) -> Result<RequestMatch, String> {
    let mut headers: Vec<HeaderMatch> = Vec::new();
    for header in matches.headers.iter().flatten() {
        let name = header.name.to_ascii_lowercase();
        if !is_header_name(&name) {
            return Err(format!("{name:?} is no header name"));
        }
        // Of several with one name only the first counts (Gateway API, `HTTPHeaderMatch.name`).
        if headers.iter().all(|other| other.name != name) {
            let is_regex = header.r#type == Some(HttpRouteRulesMatchesHeadersType::RegularExpression);
            headers.push(HeaderMatch { name, value: value(is_regex, &header.value)? });
        }
    }
    let mut query: Vec<QueryMatch> = Vec::new();
    for parameter in matches.query_params.iter().flatten() {
        if query.iter().all(|other| other.name != parameter.name) {
            let is_regex = parameter.r#type == Some(HttpRouteRulesMatchesQueryParamsType::RegularExpression);
            query
                .push(QueryMatch { name: parameter.name.clone(), value: value(is_regex, &parameter.value)? });
        }
    }
    Ok(RequestMatch {
        path: path(matches.path.as_ref())?,
        method: matches.method.as_ref().map(|method| method_name(method).to_owned()),
        headers,
        query,
    })
}

/// The match of a rule that has none: every request.
pub(super) fn everything() -> RequestMatch {
    let path = PathMatch::Prefix("/".to_owned());
    RequestMatch { path, method: None, headers: Vec::new(), query: Vec::new() }
}

pub(super) fn rank(matches: &RequestMatch) -> Rank {
    Rank {
        path: path_rank(&matches.path),
        method: Reverse(matches.method.is_some()),
        headers: Reverse(matches.headers.len()),
        query: Reverse(matches.query.len()),
    }
}

/// How specific a path match is.
pub(crate) fn path_rank(path: &PathMatch) -> PathRank {
    match path {
        PathMatch::Exact(_) => PathRank::Exact,
        PathMatch::Regex(regex) => PathRank::Regex(Reverse(regex.chars().count())),
        PathMatch::Prefix(prefix) | PathMatch::StringPrefix(prefix) => {
            PathRank::Prefix(Reverse(prefix.chars().count()))
        }
    }
}

/// A prefix of whole segments: without trailing slashes, but for `/` itself.
pub(crate) fn segment_prefix(text: &str) -> PathMatch {
    let trimmed = text.trim_end_matches('/');
    PathMatch::Prefix(if trimmed.is_empty() { "/" } else { trimmed }.to_owned())
}

fn path(path: Option<&HttpRouteRulesMatchesPath>) -> Result<PathMatch, String> {
    let Some(path) = path else { return Ok(PathMatch::Prefix("/".to_owned())) };
    let text = path.value.as_deref().unwrap_or("/");
    match path.r#type.as_ref().unwrap_or(&HttpRouteRulesMatchesPathType::PathPrefix) {
        HttpRouteRulesMatchesPathType::RegularExpression => {
            check_regex(text)?;
            Ok(PathMatch::Regex(text.to_owned()))
        }
        _ if !text.starts_with('/') => Err(format!("path {text} does not begin with a slash")),
        HttpRouteRulesMatchesPathType::Exact => Ok(PathMatch::Exact(text.to_owned())),
        HttpRouteRulesMatchesPathType::PathPrefix => Ok(segment_prefix(text)),
    }
}

fn value(is_regex: bool, text: &str) -> Result<StringMatch, String> {
    if is_regex {
        check_regex(text)?;
        return Ok(StringMatch::Regex(text.to_owned()));
    }
    Ok(StringMatch::Exact(text.to_owned()))
}

/// A proxy that cannot compile an expression rejects more than the one rule, so it never gets there.
fn check_regex(text: &str) -> Result<(), String> {
    let built = regex::RegexBuilder::new(text).size_limit(REGEX_LIMIT).build();
    built.map(drop).map_err(|error| {
        let reason = error.to_string();
        format!("regular expression {text}: {}", reason.lines().last().unwrap_or_default().trim())
    })
}

fn method_name(method: &HttpRouteRulesMatchesMethod) -> &'static str {
    match method {
        HttpRouteRulesMatchesMethod::Get => "GET",
        HttpRouteRulesMatchesMethod::Head => "HEAD",
        HttpRouteRulesMatchesMethod::Post => "POST",
        HttpRouteRulesMatchesMethod::Put => "PUT",
        HttpRouteRulesMatchesMethod::Delete => "DELETE",
        HttpRouteRulesMatchesMethod::Connect => "CONNECT",
        HttpRouteRulesMatchesMethod::Options => "OPTIONS",
        HttpRouteRulesMatchesMethod::Trace => "TRACE",
        HttpRouteRulesMatchesMethod::Patch => "PATCH",
    }
}
