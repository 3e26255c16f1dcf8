// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Path rewrites with Gateway API's semantics (`HTTPPathModifier`), said in Envoy's terms.

use crate::value::{quote, regex};
use gateway_xds_api::pb::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;
use operator_ir::{PathMatch, PathRewrite};

/// How Envoy is told to change a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EnvoyRewrite {
    /// The matched prefix is replaced.
    Prefix(String),
    /// What the pattern matches is replaced.
    Regex(RegexMatchAndSubstitute),
}

/// The rewrite of a rule's path; none where it changes nothing.
pub(crate) fn path_rewrite(matched: &PathMatch, rewrite: &PathRewrite) -> Option<EnvoyRewrite> {
    match rewrite {
        PathRewrite::Full(path) => Some(whole(path)),
        PathRewrite::Prefix(replacement) => match matched {
            PathMatch::Prefix(prefix) => segments(prefix.trim_end_matches('/'), replacement),
            // Plain characters: what the user wrote takes the prefix's place, slash or not (Istio, Gloo, nginx).
            PathMatch::StringPrefix(prefix) if prefix == replacement => None,
            PathMatch::StringPrefix(prefix) => Some(if replacement.is_empty() {
                substitute(format!("^{}", quote(prefix)), replacement)
            } else {
                EnvoyRewrite::Prefix(replacement.clone())
            }),
            // The prefix is the whole path.
            PathMatch::Exact(_) => Some(whole(replacement)),
            // There is no prefix to replace; the front ends refuse this.
            PathMatch::Regex(_) => None,
        },
    }
}

/// Replaces whole segments, so that no slash doubles and none is lost:
/// `/foo` by `/xyz` makes `/xyz/bar` of `/foo/bar`; by `/` it makes `/bar` of `/foo/bar` and `/` of `/foo`.
fn segments(prefix: &str, replacement: &str) -> Option<EnvoyRewrite> {
    let replacement = replacement.trim_end_matches('/');
    match (prefix, replacement) {
        (prefix, replacement) if prefix == replacement => None,
        // The match is the leading slash, which the rest of the path needs back.
        ("", replacement) => Some(EnvoyRewrite::Prefix(format!("{replacement}/"))),
        // Nothing remains of the prefix but the slash behind it, or one in its place.
        (prefix, "") => Some(substitute(format!("^{}/*", quote(prefix)), "/")),
        (_, replacement) => Some(EnvoyRewrite::Prefix(replacement.to_owned())),
    }
}

fn whole(path: &str) -> EnvoyRewrite {
    substitute("^/.*$".to_owned(), if path.is_empty() { "/" } else { path })
}

fn substitute(pattern: String, substitution: &str) -> EnvoyRewrite {
    // A backslash would refer to a group.
    let substitution = substitution.replace('\\', r"\\");
    EnvoyRewrite::Regex(RegexMatchAndSubstitute { pattern: Some(regex(&pattern)), substitution })
}

#[cfg(test)]
mod tests {
    use super::{EnvoyRewrite, path_rewrite};
    use operator_ir::{PathMatch, PathRewrite};

    /// What Envoy does with a path.
    fn apply(matched: &str, rewrite: Option<EnvoyRewrite>, path: &str) -> String {
        match rewrite {
            None => path.to_owned(),
            Some(EnvoyRewrite::Prefix(replacement)) => {
                let prefix = if matched.trim_end_matches('/').is_empty() {
                    "/"
                } else {
                    matched.trim_end_matches('/')
                };
                format!("{replacement}{}", path.strip_prefix(prefix).expect("the route matched"))
            }
            Some(EnvoyRewrite::Regex(regex)) => {
                let pattern = regex.pattern.expect("a pattern").regex;
                // The two shapes of patterns that are written here.
                if pattern == "^/.*$" {
                    return regex.substitution;
                }
                let prefix = pattern.trim_start_matches('^').trim_end_matches("/*").replace('\\', "");
                format!(
                    "{}{}",
                    regex.substitution,
                    path.strip_prefix(&prefix).unwrap().trim_start_matches('/')
                )
            }
        }
    }

    #[test]
    fn prefixes_follow_the_table_of_gateway_api() {
        for (path, prefix, replacement, expected) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "", "/bar"),
            ("/foo/", "/foo", "", "/"),
            ("/foo", "/foo", "", "/"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
            ("/", "/", "/xyz", "/xyz/"),
            ("/a", "/", "/xyz", "/xyz/a"),
            ("/a", "/", "/", "/a"),
            ("/a.b/c", "/a.b", "/", "/c"),
        ] {
            let rewrite =
                path_rewrite(&PathMatch::Prefix(prefix.into()), &PathRewrite::Prefix(replacement.into()));
            assert_eq!(apply(prefix, rewrite, path), expected, "{path}: {prefix} by {replacement:?}");
        }
    }

    #[test]
    fn whole_paths_are_literal() {
        let rewrite = path_rewrite(&PathMatch::Regex("/a.*".into()), &PathRewrite::Full(r"/x\1".into()));
        let Some(EnvoyRewrite::Regex(regex)) = rewrite else { panic!("not a regex") };
        assert_eq!((regex.pattern.unwrap().regex.as_str(), regex.substitution.as_str()), ("^/.*$", r"/x\\1"));
    }
}
