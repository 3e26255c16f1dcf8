// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Header changes at a filter's place in the chain.

use crate::{HeaderMutations, StringMatcher};

/// Changes of one request and its answer (`envoy.extensions.filters.http.header_mutation.v3.Mutations`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mutations {
    /// Changes of the request, in order.
    pub request: Box<[HeaderMutation]>,
    /// Changes of the query, in order.
    pub query: Box<[QueryMutation]>,
    /// Changes of the answer, in order.
    pub response: Box<[HeaderMutation]>,
}

/// One change of headers.
#[derive(Clone, Debug, PartialEq)]
pub enum HeaderMutation {
    /// A removal or an addition.
    Change(HeaderMutations),
    /// Every header whose name matches goes.
    RemoveMatching(StringMatcher),
}

/// One change of the query string; names and values are written as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryMutation {
    /// All parameters of this name go.
    Remove(Box<str>),
    /// Another one is appended.
    Append(Box<str>, Box<str>),
    /// Appended where there is none of this name.
    AddIfAbsent(Box<str>, Box<str>),
    /// All of this name go, this one comes.
    Overwrite(Box<str>, Box<str>),
    /// The same, only where there is one.
    OverwriteIfExists(Box<str>, Box<str>),
}
