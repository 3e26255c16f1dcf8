// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes string conditions, expressions, fractions and ranges of addresses.

use crate::decode::{Fault, Scope, fields};
use crate::{Fraction, FullRegex, StringMatcher, StringPattern};
use gateway_xds_api::pb::envoy::config::core::v3::{CidrRange, RuntimeFractionalPercent};
use gateway_xds_api::pb::envoy::r#type::matcher::v3::{self as pb, string_matcher::MatchPattern};
use gateway_xds_api::pb::envoy::r#type::v3::{FractionalPercent, fractional_percent::DenominatorType};
use ipnet::IpNet;
use regex::{Regex, RegexBuilder};
use std::net::IpAddr;

/// A string condition.
pub(crate) fn string_matcher(scope: &mut Scope, matcher: pb::StringMatcher) -> Result<StringMatcher, Fault> {
    let pb::StringMatcher { ignore_case, match_pattern } = matcher;
    let bytes = |text: String| -> Box<[u8]> { text.into_bytes().into() };
    let pattern = match scope.required("match_pattern", match_pattern)? {
        MatchPattern::Exact(text) => StringPattern::Exact(bytes(text)),
        MatchPattern::Prefix(text) => StringPattern::Prefix(bytes(text)),
        MatchPattern::Suffix(text) => StringPattern::Suffix(bytes(text)),
        MatchPattern::Contains(text) => StringPattern::Contains(bytes(text)),
        MatchPattern::SafeRegex(regex) => StringPattern::Regex(full_regex(scope, "safe_regex", &regex)?),
        MatchPattern::Custom(_) => {
            return Err(scope.field_fault(
                "custom",
                "is not supported; use exact, prefix, suffix, contains or safe_regex",
            ));
        }
    };
    Ok(StringMatcher { pattern, ignore_case })
}

/// An expression for a whole text.
pub(crate) fn full_regex(scope: &Scope, field: &str, matcher: &pb::RegexMatcher) -> Result<FullRegex, Fault> {
    FullRegex::new(&matcher.regex).map_err(|error| {
        scope.field_fault(field, format_args!("is not a usable expression: {}", one_line(&error)))
    })
}

/// An expression to replace by, with its replacement in the syntax of the `regex` crate.
pub(crate) fn replacement(
    scope: &mut Scope,
    rewrite: pb::RegexMatchAndSubstitute,
) -> Result<(Regex, Box<str>), Fault> {
    let pb::RegexMatchAndSubstitute { pattern, substitution } = rewrite;
    let pattern = scope.required("pattern", pattern)?;
    let regex = RegexBuilder::new(&pattern.regex).size_limit(1 << 20).build().map_err(|error| {
        scope.field_fault("pattern", format_args!("is not a usable expression: {}", one_line(&error)))
    })?;
    let groups = regex.captures_len();
    let substitution = substitution_of(&substitution, groups)
        .map_err(|message| scope.field_fault("substitution", message))?;
    Ok((regex, substitution))
}

/// RE2 writes `\1` and `\\`, the `regex` crate `${1}` and `$$`.
fn substitution_of(text: &str, groups: usize) -> Result<Box<str>, String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '$' => out.push_str("$$"),
            '\\' => match chars.next() {
                Some('\\') => out.push('\\'),
                Some(digit @ '0'..='9') => {
                    let group = digit.to_digit(10).unwrap_or_default() as usize;
                    if group >= groups {
                        return Err(format!("group {group} is not in the expression"));
                    }
                    out.push_str(&format!("${{{group}}}"));
                }
                _ => return Err("a backslash must be followed by a digit or a backslash".to_owned()),
            },
            c => out.push(c),
        }
    }
    Ok(out.into())
}

/// A share of requests; the runtime key has no effect, its default counts.
pub(crate) fn fraction(scope: &mut Scope, fraction: RuntimeFractionalPercent) -> Result<Fraction, Fault> {
    fields!(scope, fraction => RuntimeFractionalPercent { use { default_value } warn { } quiet { runtime_key } });
    let share = scope.required("default_value", default_value)?;
    scope.at("default_value", |scope| percent(scope, share))
}

/// A share of requests.
pub(crate) fn percent(scope: &mut Scope, share: FractionalPercent) -> Result<Fraction, Fault> {
    let FractionalPercent { numerator, denominator } = share;
    let denominator = match DenominatorType::try_from(denominator) {
        Ok(DenominatorType::Hundred) => 100,
        Ok(DenominatorType::TenThousand) => 10_000,
        Ok(DenominatorType::Million) => 1_000_000,
        Err(_) => return Err(scope.field_fault("denominator", "is unknown")),
    };
    Ok(Fraction { numerator, denominator })
}

/// A range of addresses.
pub(crate) fn cidr(scope: &Scope, field: &str, range: &CidrRange) -> Result<IpNet, Fault> {
    let CidrRange { address_prefix, prefix_len } = range;
    let address: IpAddr = address_prefix
        .parse()
        .map_err(|_| scope.field_fault(field, format_args!("{address_prefix:?} is not an address")))?;
    let length = prefix_len.as_ref().map_or(0, |length| length.value);
    let length = u8::try_from(length).unwrap_or(u8::MAX);
    let net = IpNet::new(address, length)
        .map_err(|_| scope.field_fault(field, format_args!("{length} is too long a prefix")))?;
    Ok(net.trunc())
}

/// Errors of the `regex` crate draw the expression over several lines.
fn one_line(error: &regex::Error) -> String {
    error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::substitution_of;

    #[test]
    fn substitutions_are_translated() {
        assert_eq!(&*substitution_of(r"/a\1$x\\", 2).unwrap(), r"/a${1}$$x\");
        assert!(substitution_of(r"\2", 2).is_err());
        assert!(substitution_of(r"\", 1).is_err());
    }
}
