// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Hostnames as routing knows them: exact, wildcard suffix, or any.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A hostname to match, in lower case. `*.x` matches any number of labels before `.x`, never `x` itself
/// (Gateway API, `Hostname`). The order puts the more specific pattern first: exact, longer wildcard, any.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub enum HostPattern {
    /// This host alone.
    Exact(String),
    /// Any host that ends in `.suffix`; holds the suffix without `*.`.
    Suffix(String),
    /// Every host.
    Any,
}

impl HostPattern {
    /// Reads `*`, an empty string (any), `*.suffix` or a host; case is folded.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let text = text.to_ascii_lowercase();
        match text.as_str() {
            "" | "*" => Self::Any,
            _ => match text.strip_prefix("*.") {
                Some(suffix) => Self::Suffix(suffix.to_owned()),
                None => Self::Exact(text),
            },
        }
    }

    /// Whether every host that `other` matches is matched by `self`.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (_, Self::Any) => false,
            (Self::Exact(a), Self::Exact(b)) => a == b,
            (Self::Exact(_), Self::Suffix(_)) => false,
            (Self::Suffix(a), Self::Exact(b)) => under(b, a),
            (Self::Suffix(a), Self::Suffix(b)) => a == b || under(b, a),
        }
    }

    /// The hosts that both match, if any: the more specific of the two.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        if self.covers(other) {
            Some(other.clone())
        } else if other.covers(self) {
            Some(self.clone())
        } else {
            None
        }
    }
}

fn under(host: &str, suffix: &str) -> bool {
    host.len() > suffix.len() + 1
        && host.ends_with(suffix)
        && host.as_bytes()[host.len() - suffix.len() - 1] == b'.'
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Suffix(suffix) => write!(f, "*.{suffix}"),
            Self::Any => f.write_str("*"),
        }
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> Self {
        pattern.to_string()
    }
}

impl From<String> for HostPattern {
    fn from(text: String) -> Self {
        Self::parse(&text)
    }
}

impl Ord for HostPattern {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        fn key(p: &HostPattern) -> (u8, std::cmp::Reverse<usize>, &str) {
            match p {
                HostPattern::Exact(h) => (0, std::cmp::Reverse(0), h),
                HostPattern::Suffix(s) => (1, std::cmp::Reverse(s.len()), s),
                HostPattern::Any => (2, std::cmp::Reverse(0), ""),
            }
        }
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for HostPattern {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::HostPattern;

    #[test]
    fn wildcard_never_covers_its_own_suffix() {
        let wide = HostPattern::parse("*.Example.com");
        assert!(wide.covers(&HostPattern::parse("a.b.example.com")));
        assert!(!wide.covers(&HostPattern::parse("example.com")));
        assert!(!wide.covers(&HostPattern::parse("badexample.com")));
        assert!(wide.covers(&HostPattern::parse("*.x.example.com")));
        assert_eq!(wide.intersect(&HostPattern::Any), Some(wide.clone()));
        assert_eq!(wide.intersect(&HostPattern::parse("*.org")), None);
    }

    #[test]
    fn specific_patterns_sort_first() {
        let mut hosts: Vec<_> =
            ["*", "*.com", "*.example.com", "b.com", "a.com"].map(HostPattern::parse).into();
        hosts.sort();
        assert_eq!(
            hosts.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["a.com", "b.com", "*.example.com", "*.com", "*"]
        );
    }
}
