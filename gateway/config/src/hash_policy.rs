// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What requests are hashed by (`RouteAction.HashPolicy`).

use crate::HeaderSource;
use regex::Regex;
use std::time::Duration;

/// One part of a request's hash.
#[derive(Clone, Debug)]
pub struct HashPolicy {
    /// What is hashed.
    pub source: HashSource,
    /// The policies behind it only count where none gave a hash so far.
    pub terminal: bool,
}

/// What is hashed.
#[derive(Clone, Debug)]
pub enum HashSource {
    /// A header's value.
    Header {
        /// Its name; several values count whatever their order.
        name: HeaderSource,
        /// All matches of the expression are replaced before.
        rewrite: Option<(Regex, Box<str>)>,
    },
    /// A cookie's value.
    Cookie {
        /// Its name.
        name: Box<str>,
        /// The cookie that a client without it gets.
        generated: Option<GeneratedCookie>,
    },
    /// The client's address, without the port.
    SourceIp,
    /// The first value of a query parameter.
    QueryParameter(Box<str>),
}

/// A cookie that is set so that a client keeps its endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratedCookie {
    /// `Max-Age`; zero: as long as the browser's session.
    pub max_age: Duration,
    /// What follows the value in `Set-Cookie`.
    pub attributes: Box<str>,
}
