// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Which requests a rule takes.

use serde::{Deserialize, Serialize};

/// All set conditions must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestMatch {
    /// The request's path.
    pub path: PathMatch,
    /// The request's method, where restricted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Header conditions; names in lower case, each name once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HeaderMatch>,
    /// Query parameter conditions, each name once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<QueryMatch>,
}

/// A condition on the path, without the query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// Whole segments: `/foo` takes `/foo`, `/foo/` and `/foo/bar`, not `/foobar`. No trailing slash, `/` takes all.
    Prefix(String),
    /// Plain characters: `/foo` also takes `/foobar` (Istio, Gloo, nginx without regex).
    StringPrefix(String),
    /// The whole path against a regular expression in RE2 syntax.
    Regex(String),
}

/// A condition on one header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderMatch {
    /// Lower-case name.
    pub name: String,
    /// What its value must be.
    pub value: StringMatch,
}

/// A condition on one query parameter; names are case-sensitive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryMatch {
    /// Exact name.
    pub name: String,
    /// What its value must be.
    pub value: StringMatch,
}

/// A condition on a string.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StringMatch {
    /// Equal, case-sensitive.
    Exact(String),
    /// Begins so.
    Prefix(String),
    /// The whole value against a regular expression in RE2 syntax.
    Regex(String),
    /// There at all, with any value.
    Present,
}
