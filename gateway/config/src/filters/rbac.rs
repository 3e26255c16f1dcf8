// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Access rules on what is known of a request.

use crate::{HeaderMatcher, StringMatcher};
use ipnet::IpNet;
use std::ops::RangeInclusive;

/// Rules that are enforced, and rules that are only counted (`envoy.extensions.filters.http.rbac.v3.RBAC`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rbac {
    /// None: everything is allowed.
    pub rules: Option<RbacRules>,
    /// Tried and counted.
    pub shadow: Option<RbacRules>,
}

/// Policies with one action (`envoy.config.rbac.v3.RBAC`).
#[derive(Clone, Debug, PartialEq)]
pub struct RbacRules {
    /// What happens where a policy matches.
    pub action: RbacAction,
    /// By name, in order of their names.
    pub policies: Box<[RbacPolicy]>,
}

/// What happens where a policy matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RbacAction {
    /// Only matching requests are allowed.
    Allow,
    /// Matching requests are refused.
    Deny,
    /// All are allowed; whether one matches is kept as metadata.
    Log,
}

/// A policy: one of the permissions and one of the principals must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct RbacPolicy {
    /// Its name.
    pub name: Box<str>,
    /// What is done.
    pub permissions: Box<[RbacCondition]>,
    /// Who does it.
    pub principals: Box<[RbacCondition]>,
}

/// A condition on a request, of a permission or a principal.
#[derive(Clone, Debug, PartialEq)]
pub enum RbacCondition {
    /// Always.
    Any,
    /// All of these.
    All(Box<[RbacCondition]>),
    /// One of these.
    OneOf(Box<[RbacCondition]>),
    /// Not this.
    Not(Box<RbacCondition>),
    /// A header; of a repeated one each value and all together are looked at, so that no further value hides one.
    Header(HeaderMatcher),
    /// The path without query.
    Path(StringMatcher),
    /// The address that the client connected to.
    DestinationIp(IpNet),
    /// The port that the client connected to.
    DestinationPort(RangeInclusive<u16>),
    /// The server name of the TLS handshake.
    ServerName(StringMatcher),
    /// The peer's address.
    DirectRemoteIp(IpNet),
    /// The client's address, as trusted proxies before this one say.
    RemoteIp(IpNet),
    /// A name in the client's certificate: URIs, else DNS names, else the subject; none: any client that has one.
    Authenticated(Option<StringMatcher>),
    /// What an earlier filter learned.
    Metadata(MetadataMatcher),
}

/// A condition on dynamic metadata (`envoy.type.matcher.v3.MetadataMatcher`).
#[derive(Clone, Debug, PartialEq)]
pub struct MetadataMatcher {
    /// The namespace, a filter's name most often.
    pub filter: Box<str>,
    /// Keys on the way to the value.
    pub path: Box<[Box<str>]>,
    /// What it must be.
    pub value: MetadataValue,
    /// Holds where the condition does not.
    pub invert: bool,
}

/// What a value must be (`envoy.type.matcher.v3.ValueMatcher`).
#[derive(Clone, Debug, PartialEq)]
pub enum MetadataValue {
    /// It is null.
    Null,
    /// A number from `start` to below `end`; equal where both are the same.
    Number {
        /// First number that matches.
        start: f64,
        /// First number that no longer matches.
        end: f64,
    },
    /// A text.
    Text(StringMatcher),
    /// A truth value.
    Truth(bool),
    /// It is there.
    Present(bool),
    /// One of a list's items.
    Item(Box<MetadataValue>),
    /// One of these.
    OneOf(Box<[MetadataValue]>),
}
