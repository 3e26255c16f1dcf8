// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What a rate limit service is told about a request (`envoy.config.route.v3.RateLimit`).

use crate::{HeaderMatcher, QueryMatcher};
use http::HeaderName;

/// One descriptor: what its actions say, or nothing where one of them does not fit the request.
#[derive(Clone, Debug, PartialEq)]
pub struct RateLimitRule {
    /// The filter of this stage sends it.
    pub stage: u32,
    /// In order.
    pub actions: Box<[RateLimitAction]>,
    /// The limit instead of the service's own: requests in a unit of time, in the service's numbers for units.
    pub limit: Option<(u32, i32)>,
    /// What the request counts as; none: one.
    pub hits: Option<u64>,
}

/// One entry of a descriptor.
#[derive(Clone, Debug, PartialEq)]
pub enum RateLimitAction {
    /// The cluster that the request goes to.
    DestinationCluster,
    /// The value of a header.
    RequestHeader {
        /// The header.
        header: HeaderName,
        /// The entry's key.
        key: Box<str>,
        /// Without the header the entry is left out rather than the descriptor.
        skip_if_absent: bool,
    },
    /// The value of a query parameter.
    QueryParameter {
        /// The parameter.
        name: Box<str>,
        /// The entry's key.
        key: Box<str>,
        /// Without the parameter the entry is left out rather than the descriptor.
        skip_if_absent: bool,
    },
    /// The client's address.
    RemoteAddress,
    /// The client's network: bits of IPv4 and IPv6 addresses that count.
    MaskedRemoteAddress(u8, u8),
    /// Always the same.
    GenericKey {
        /// The entry's key.
        key: Box<str>,
        /// Its value.
        value: Box<str>,
    },
    /// The same for requests whose headers match, or do not.
    HeaderMatch {
        /// The entry's key.
        key: Box<str>,
        /// Its value.
        value: Box<str>,
        /// Whether they have to match.
        expect: bool,
        /// All of these.
        headers: Box<[HeaderMatcher]>,
    },
    /// The same for requests whose query matches, or does not.
    QueryMatch {
        /// The entry's key.
        key: Box<str>,
        /// Its value.
        value: Box<str>,
        /// Whether it has to match.
        expect: bool,
        /// All of these.
        parameters: Box<[QueryMatcher]>,
    },
    /// What filters learned.
    Metadata {
        /// The entry's key.
        key: Box<str>,
        /// The namespace, which is a filter's name most often.
        namespace: Box<str>,
        /// The keys below it.
        path: Box<[Box<str>]>,
        /// The value where nothing is there; empty: none.
        default: Box<str>,
        /// Without a value the entry is left out rather than the descriptor.
        skip_if_absent: bool,
    },
}
