// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes the rules for header changes that services ask for, and lists of string conditions.

use crate::decode::strings::{full_regex, string_matcher};
use crate::decode::{Fault, Scope, truth};
use crate::{MutationRules, StringMatcher};
use gateway_xds_api::pb::envoy::config::common::mutation_rules::v3::HeaderMutationRules;
use gateway_xds_api::pb::envoy::r#type::matcher::v3::ListStringMatcher;

/// The rules.
pub(crate) fn mutation_rules(scope: &mut Scope, rules: HeaderMutationRules) -> Result<MutationRules, Fault> {
    let HeaderMutationRules {
        allow_all_routing,
        allow_envoy,
        disallow_system,
        disallow_all,
        allow_expression,
        disallow_expression,
        disallow_is_error,
    } = rules;
    let regex = |field: &str, matcher: Option<_>| {
        matcher.map(|matcher| full_regex(scope, field, &matcher)).transpose()
    };
    Ok(MutationRules {
        allow_all_routing: truth(allow_all_routing, false),
        allow_envoy: truth(allow_envoy, false),
        disallow_system: truth(disallow_system, false),
        disallow_all: truth(disallow_all, false),
        allow: regex("allow_expression", allow_expression)?,
        disallow: regex("disallow_expression", disallow_expression)?,
        disallow_is_error: truth(disallow_is_error, false),
    })
}

/// Conditions of which one has to hold; none where the list is not there.
pub(crate) fn string_matchers(
    scope: &mut Scope,
    field: &str,
    list: Option<ListStringMatcher>,
) -> Result<Option<Box<[StringMatcher]>>, Fault> {
    list.map(|ListStringMatcher { patterns }| {
        scope.at(field, |scope| scope.each("patterns", patterns, string_matcher)).map(Into::into)
    })
    .transpose()
}
