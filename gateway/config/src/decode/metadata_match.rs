// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes conditions on metadata.

use crate::decode::strings::string_matcher;
use crate::decode::{Fault, Scope};
use crate::{MetadataMatcher, MetadataValue};
use gateway_xds_api::pb::envoy::r#type::matcher::v3::{
    self as pb, double_matcher, list_matcher, metadata_matcher::path_segment::Segment,
    value_matcher::MatchPattern,
};

/// Conditions inside conditions are read this deep.
const DEEPEST: usize = 16;

/// A condition on dynamic metadata.
pub(crate) fn metadata_matcher(
    scope: &mut Scope,
    matcher: pb::MetadataMatcher,
) -> Result<MetadataMatcher, Fault> {
    let pb::MetadataMatcher { filter, path, value, invert } = matcher;
    let path = scope.each("path", path, |scope, segment| match segment.segment {
        Some(Segment::Key(key)) if !key.is_empty() => Ok(key.into()),
        _ => Err(scope.field_fault("key", "is missing")),
    })?;
    if path.is_empty() {
        return Err(scope.field_fault("path", "is empty"));
    }
    let value = scope.required("value", value)?;
    let value = scope.at("value", |scope| self::value(scope, value, 0))?;
    Ok(MetadataMatcher { filter: filter.into(), path: path.into(), value, invert })
}

fn value(scope: &mut Scope, matcher: pb::ValueMatcher, depth: usize) -> Result<MetadataValue, Fault> {
    if depth >= DEEPEST {
        return Err(scope.fault(format_args!("lies deeper than {DEEPEST} conditions")));
    }
    Ok(match scope.required("match_pattern", matcher.match_pattern)? {
        MatchPattern::NullMatch(_) => MetadataValue::Null,
        MatchPattern::DoubleMatch(matcher) => match scope.required("double_match", matcher.match_pattern)? {
            double_matcher::MatchPattern::Range(range) => {
                MetadataValue::Number { start: range.start, end: range.end }
            }
            double_matcher::MatchPattern::Exact(number) => {
                MetadataValue::Number { start: number, end: number }
            }
        },
        MatchPattern::StringMatch(matcher) => {
            MetadataValue::Text(scope.at("string_match", |scope| string_matcher(scope, matcher))?)
        }
        MatchPattern::BoolMatch(truth) => MetadataValue::Truth(truth),
        MatchPattern::PresentMatch(present) => MetadataValue::Present(present),
        MatchPattern::ListMatch(list) => match scope.required("list_match", list.match_pattern)? {
            list_matcher::MatchPattern::OneOf(inner) => MetadataValue::Item(Box::new(
                scope.at("list_match.one_of", |scope| value(scope, *inner, depth + 1))?,
            )),
        },
        MatchPattern::OrMatch(or) => MetadataValue::OneOf(
            scope
                .each("or_match.value_matchers", or.value_matchers, |scope, inner| {
                    value(scope, inner, depth + 1)
                })?
                .into(),
        ),
    })
}
