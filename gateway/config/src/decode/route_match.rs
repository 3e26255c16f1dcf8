// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes the conditions of a route.

use crate::decode::strings::{fraction, full_regex, string_matcher};
use crate::decode::uri_template::template;
use crate::decode::{Fault, Scope, fields, truth};
use crate::{
    CookieMatcher, FullRegex, HeaderMatcher, HeaderSource, PathMatcher, QueryMatcher, RouteMatcher,
    StringMatcher, StringPattern, ValueMatcher,
};
use gateway_xds_api::pb::envoy::config::route::v3 as pb;
use gateway_xds_api::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use gateway_xds_api::pb::envoy::config::route::v3::query_parameter_matcher::QueryParameterMatchSpecifier;
use gateway_xds_api::pb::envoy::config::route::v3::route_match::PathSpecifier;
use http::HeaderName;

/// The conditions of a route.
pub(crate) fn route_match(scope: &mut Scope, matcher: pb::RouteMatch) -> Result<RouteMatcher, Fault> {
    let pb::RouteMatch {
        case_sensitive,
        runtime_fraction,
        headers,
        query_parameters,
        cookies,
        grpc,
        tls_context,
        dynamic_metadata,
        filter_state,
        path_specifier,
    } = matcher;
    // A condition that is not looked at would send requests where they do not belong.
    let unknown = [
        ("tls_context", tls_context.is_some()),
        ("dynamic_metadata", !dynamic_metadata.is_empty()),
        ("filter_state", !filter_state.is_empty()),
    ];
    if let Some((field, _)) = unknown.into_iter().find(|(_, set)| *set) {
        return Err(
            scope.field_fault(field, "this condition is not supported; use headers or query_parameters")
        );
    }
    let path = path(scope, path_specifier)?;
    let mut headers = scope.each("headers", headers, header_matcher)?;
    if grpc.is_some() {
        headers.push(grpc_content_type());
    }
    let query = scope.each("query_parameters", query_parameters, query_matcher)?;
    let cookies = scope.each("cookies", cookies, cookie_matcher)?;
    let fraction =
        runtime_fraction.map(|f| scope.at("runtime_fraction", |scope| fraction(scope, f))).transpose()?;
    Ok(RouteMatcher {
        path,
        case_sensitive: truth(case_sensitive, true),
        headers: headers.into(),
        query: query.into(),
        cookies: cookies.into(),
        fraction,
    })
}

fn path(scope: &mut Scope, specifier: Option<PathSpecifier>) -> Result<PathMatcher, Fault> {
    Ok(match scope.required("path_specifier", specifier)? {
        PathSpecifier::Path(path) => PathMatcher::Exact(path.into()),
        PathSpecifier::Prefix(prefix) => PathMatcher::Prefix(prefix.into()),
        PathSpecifier::PathSeparatedPrefix(prefix) => {
            if prefix.len() < 2
                || !prefix.starts_with('/')
                || prefix.ends_with('/')
                || prefix.contains(['?', '#'])
            {
                return Err(scope.field_fault(
                    "path_separated_prefix",
                    "must start with a slash, not end with one, and have no query",
                ));
            }
            PathMatcher::SeparatedPrefix(prefix.into())
        }
        PathSpecifier::SafeRegex(regex) => PathMatcher::Regex(full_regex(scope, "safe_regex", &regex)?),
        PathSpecifier::ConnectMatcher(_) => PathMatcher::Connect,
        PathSpecifier::PathMatchPolicy(policy) => scope.at("path_match_policy", |scope| {
            let expression = template(scope, &policy)?;
            FullRegex::new(&expression).map(PathMatcher::Regex).map_err(|error| scope.fault(error))
        })?,
    })
}

fn exact(text: &str) -> StringMatcher {
    StringMatcher { pattern: StringPattern::Exact(text.as_bytes().into()), ignore_case: false }
}

fn grpc_content_type() -> HeaderMatcher {
    // `application/grpc` and `application/grpc+...`; Envoy's check is the same prefix with a following end or plus sign.
    let pattern = FullRegex::new(r"application/grpc(?:\+.*)?").map(StringPattern::Regex);
    let pattern = pattern.unwrap_or_else(|_| exact("application/grpc").pattern);
    HeaderMatcher {
        name: HeaderSource::Header(http::header::CONTENT_TYPE),
        value: ValueMatcher::Text(StringMatcher { pattern, ignore_case: false }),
        invert: false,
        missing_as_empty: false,
    }
}

#[allow(deprecated, reason = "the older forms of header conditions are still sent")]
pub(crate) fn header_matcher(scope: &mut Scope, matcher: pb::HeaderMatcher) -> Result<HeaderMatcher, Fault> {
    fields!(scope, matcher => pb::HeaderMatcher {
        use { name, invert_match, treat_missing_header_as_empty, header_match_specifier }
        warn { }
        quiet { }
    });
    let text = |pattern| ValueMatcher::Text(StringMatcher { pattern, ignore_case: false });
    let bytes = |text: String| -> Box<[u8]> { text.into_bytes().into() };
    let value = match header_match_specifier {
        None => ValueMatcher::Present(true),
        Some(HeaderMatchSpecifier::PresentMatch(present)) => ValueMatcher::Present(present),
        Some(HeaderMatchSpecifier::StringMatch(matcher)) => {
            ValueMatcher::Text(scope.at("string_match", |scope| string_matcher(scope, matcher))?)
        }
        Some(HeaderMatchSpecifier::RangeMatch(range)) => {
            ValueMatcher::Range { start: range.start, end: range.end }
        }
        Some(HeaderMatchSpecifier::ExactMatch(value)) => text(StringPattern::Exact(bytes(value))),
        Some(HeaderMatchSpecifier::PrefixMatch(value)) => text(StringPattern::Prefix(bytes(value))),
        Some(HeaderMatchSpecifier::SuffixMatch(value)) => text(StringPattern::Suffix(bytes(value))),
        Some(HeaderMatchSpecifier::ContainsMatch(value)) => text(StringPattern::Contains(bytes(value))),
        Some(HeaderMatchSpecifier::SafeRegexMatch(regex)) => {
            text(StringPattern::Regex(full_regex(scope, "safe_regex_match", &regex)?))
        }
    };
    let name = header_source(scope, "name", &name)?;
    Ok(HeaderMatcher { name, value, invert: invert_match, missing_as_empty: treat_missing_header_as_empty })
}

/// What a header's name reads: also the parts of a request that are no headers here.
pub(crate) fn header_source(scope: &Scope, field: &str, name: &str) -> Result<HeaderSource, Fault> {
    Ok(match name {
        ":method" => HeaderSource::Method,
        ":path" => HeaderSource::Path,
        ":authority" => HeaderSource::Authority,
        ":scheme" => HeaderSource::Scheme,
        name if name.eq_ignore_ascii_case("host") => HeaderSource::Authority,
        name => HeaderSource::Header(
            HeaderName::try_from(name)
                .map_err(|_| scope.field_fault(field, format_args!("{name:?} is not a header name")))?,
        ),
    })
}

fn cookie_matcher(scope: &mut Scope, matcher: pb::CookieMatcher) -> Result<CookieMatcher, Fault> {
    let pb::CookieMatcher { name, string_match, invert_match } = matcher;
    if name.is_empty() {
        return Err(scope.field_fault("name", "is empty"));
    }
    let value = scope.required("string_match", string_match)?;
    let value = scope.at("string_match", |scope| string_matcher(scope, value))?;
    Ok(CookieMatcher { name: name.into(), value, invert: invert_match })
}

pub(crate) fn query_matcher(
    scope: &mut Scope,
    matcher: pb::QueryParameterMatcher,
) -> Result<QueryMatcher, Fault> {
    let pb::QueryParameterMatcher { name, query_parameter_match_specifier } = matcher;
    if name.is_empty() {
        return Err(scope.field_fault("name", "is empty"));
    }
    let value = match query_parameter_match_specifier {
        None => ValueMatcher::Present(true),
        Some(QueryParameterMatchSpecifier::PresentMatch(present)) => ValueMatcher::Present(present),
        Some(QueryParameterMatchSpecifier::StringMatch(matcher)) => {
            ValueMatcher::Text(scope.at("string_match", |scope| string_matcher(scope, matcher))?)
        }
    };
    Ok(QueryMatcher { name: name.into(), value })
}
