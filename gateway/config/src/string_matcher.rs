// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! String conditions (`envoy.type.matcher.v3.StringMatcher`), over bytes, as headers need not be UTF-8.

use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::literal::{ExtractKind, Extractor};
use std::fmt;

/// The largest program that one regular expression may compile to, in bytes.
const REGEX_SIZE_LIMIT: usize = 1 << 20;

/// A regular expression that must match the whole text, as RE2's `FullMatch` does.
#[derive(Clone)]
pub struct FullRegex {
    source: Box<str>,
    regex: Regex,
}

impl FullRegex {
    /// Compiles an expression.
    ///
    /// # Errors
    /// Where it is no regular expression or compiles to more than 1 MiB.
    pub fn new(source: &str) -> Result<Self, regex::Error> {
        let regex = RegexBuilder::new(&format!(r"\A(?:{source})\z")).size_limit(REGEX_SIZE_LIMIT).build()?;
        Ok(Self { source: source.into(), regex })
    }

    /// Texts of which every match begins with one; none where it may begin with anything.
    pub(crate) fn beginnings(&self) -> Option<Vec<String>> {
        let hir = ParserBuilder::new().utf8(false).build().parse(&self.source).ok()?;
        let found = Extractor::new().kind(ExtractKind::Prefix).extract(&hir);
        let texts = found.literals()?.iter().map(|literal| String::from_utf8(literal.as_bytes().to_vec()));
        let texts: Vec<String> = texts.collect::<Result<_, _>>().ok()?;
        (!texts.is_empty() && texts.iter().all(|text| !text.is_empty())).then_some(texts)
    }

    /// Whether it matches all of `text`.
    #[must_use]
    pub fn is_match(&self, text: &[u8]) -> bool {
        self.regex.is_match(text)
    }
}

impl fmt::Debug for FullRegex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl PartialEq for FullRegex {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

/// How a text is compared.
#[derive(Clone, Debug, PartialEq)]
pub enum StringPattern {
    /// The same bytes.
    Exact(Box<[u8]>),
    /// Starts with.
    Prefix(Box<[u8]>),
    /// Ends with.
    Suffix(Box<[u8]>),
    /// Has these bytes somewhere.
    Contains(Box<[u8]>),
    /// Matches as a whole.
    Regex(FullRegex),
}

/// A condition on one text.
#[derive(Clone, Debug, PartialEq)]
pub struct StringMatcher {
    /// The comparison.
    pub pattern: StringPattern,
    /// ASCII letters compare without case; has no effect on expressions, as in Envoy.
    pub ignore_case: bool,
}

impl StringMatcher {
    /// Whether the condition holds.
    #[must_use]
    pub fn is_match(&self, text: &[u8]) -> bool {
        let same = |a: &[u8], b: &[u8]| if self.ignore_case { a.eq_ignore_ascii_case(b) } else { a == b };
        match &self.pattern {
            StringPattern::Exact(value) => same(text, value),
            StringPattern::Prefix(value) => text.len() >= value.len() && same(&text[..value.len()], value),
            StringPattern::Suffix(value) => {
                text.len() >= value.len() && same(&text[text.len() - value.len()..], value)
            }
            StringPattern::Contains(value) => {
                value.is_empty() || text.windows(value.len()).any(|part| same(part, value))
            }
            StringPattern::Regex(regex) => regex.is_match(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FullRegex, StringMatcher, StringPattern};

    fn holds(pattern: StringPattern, ignore_case: bool, text: &str) -> bool {
        StringMatcher { pattern, ignore_case }.is_match(text.as_bytes())
    }

    #[test]
    fn patterns_compare_as_envoy_does() {
        let bytes = |text: &str| -> Box<[u8]> { text.as_bytes().into() };
        let regex = |text: &str| StringPattern::Regex(FullRegex::new(text).unwrap());
        for (pattern, ignore_case, text, expected) in [
            (StringPattern::Exact(bytes("Abc")), false, "abc", false),
            (StringPattern::Exact(bytes("Abc")), true, "aBC", true),
            (StringPattern::Prefix(bytes("ab")), false, "abc", true),
            (StringPattern::Prefix(bytes("abcd")), false, "abc", false),
            (StringPattern::Suffix(bytes("BC")), true, "abc", true),
            (StringPattern::Suffix(bytes("BC")), false, "abc", false),
            (StringPattern::Contains(bytes("b")), false, "abc", true),
            (StringPattern::Contains(bytes("")), false, "", true),
            (StringPattern::Contains(bytes("x")), false, "abc", false),
            (regex("a|b"), false, "ab", false),
            (regex("a.c"), false, "abc", true),
            (regex("b"), false, "abc", false),
        ] {
            let shown = format!("{pattern:?} {ignore_case} {text}");
            assert_eq!(holds(pattern, ignore_case, text), expected, "{shown}");
        }
    }

    #[test]
    fn expressions_begin_with_something_or_anything() {
        for (regex, expected) in [
            (r"/v1/users/\d+", Some(&["/v1/users/"][..])),
            ("/(?:a|b)/.*", Some(&["/a/", "/b/"])),
            ("/a|/b", Some(&["/a", "/b"])),
            ("/ab?", Some(&["/ab", "/a"])),
            (r"/a\.b", Some(&["/a.b"])),
            (".*b", None),
            ("a*", None),
            ("", None),
        ] {
            let found = FullRegex::new(regex).unwrap().beginnings();
            let expected = expected.map(|texts| texts.iter().map(ToString::to_string).collect());
            assert_eq!(found, expected, "{regex}");
        }
    }

    #[test]
    fn huge_expressions_are_refused() {
        assert!(FullRegex::new("(?:[a-z]{1000}){1000}").is_err());
        assert!(FullRegex::new("(").is_err());
    }
}
