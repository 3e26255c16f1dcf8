// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What access rules say of a request or a connection, as Envoy's RBAC engine decides it.

use crate::routing::view;
use gateway_config::{
    MetadataMatcher, MetadataValue, RbacAction, RbacCondition, RbacPolicy, RbacRules, StringMatcher,
};
use gateway_filter_api::{ConnectionInfo, Metadata, RequestHead};
use serde_json::Value;
use std::net::IpAddr;

/// What is known.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) connection: &'a ConnectionInfo,
    /// The client, as trusted proxies before this one say.
    pub(crate) client: IpAddr,
    /// Of the TLS hello.
    pub(crate) server_name: Option<&'a str>,
    /// None: it is about a connection.
    pub(crate) request: Option<(&'a RequestHead, &'a Metadata)>,
}

/// What the rules say.
pub(crate) struct Verdict<'a> {
    pub(crate) allowed: bool,
    /// The policy that holds.
    pub(crate) policy: Option<&'a str>,
}

/// Tries rules.
pub(crate) fn judge<'r>(rules: &'r RbacRules, facts: Facts<'_>) -> Verdict<'r> {
    let one = |conditions: &[RbacCondition]| conditions.iter().any(|c| holds(c, facts));
    let matches = |policy: &&RbacPolicy| one(&policy.permissions) && one(&policy.principals);
    let policy = rules.policies.iter().find(matches).map(|policy| &*policy.name);
    let allowed = match rules.action {
        RbacAction::Allow => policy.is_some(),
        RbacAction::Deny => policy.is_none(),
        RbacAction::Log => true,
    };
    Verdict { allowed, policy }
}

fn holds(condition: &RbacCondition, facts: Facts<'_>) -> bool {
    let connection = facts.connection;
    let ip = |address: IpAddr| address.to_canonical();
    match condition {
        RbacCondition::Any => true,
        RbacCondition::All(inner) => inner.iter().all(|c| holds(c, facts)),
        RbacCondition::OneOf(inner) => inner.iter().any(|c| holds(c, facts)),
        RbacCondition::Not(inner) => !holds(inner, facts),
        RbacCondition::Header(header) => {
            facts.request.is_some_and(|(head, _)| header.is_match_of_any(&view(head, 0)))
        }
        RbacCondition::Path(path) => {
            facts.request.is_some_and(|(head, _)| path.is_match(head.path.path().as_bytes()))
        }
        RbacCondition::DestinationIp(range) => range.contains(&ip(connection.local.ip())),
        RbacCondition::DestinationPort(ports) => ports.contains(&connection.local.port()),
        RbacCondition::ServerName(name) => name.is_match(facts.server_name.unwrap_or_default().as_bytes()),
        RbacCondition::DirectRemoteIp(range) => range.contains(&ip(connection.direct_remote.ip())),
        RbacCondition::RemoteIp(range) => range.contains(&ip(facts.client)),
        RbacCondition::Authenticated(name) => authenticated(name.as_ref(), connection),
        RbacCondition::Metadata(matcher) => facts.request.is_some_and(|(_, metadata)| has(metadata, matcher)),
    }
}

fn authenticated(name: Option<&StringMatcher>, connection: &ConnectionInfo) -> bool {
    let peer = connection.tls.as_ref().and_then(|tls| tls.peer.as_deref());
    match (peer, name) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(peer), Some(name)) => peer.principals().any(|text| name.is_match(text.as_bytes())),
    }
}

fn has(metadata: &Metadata, matcher: &MetadataMatcher) -> bool {
    let found = metadata.value(&matcher.filter, matcher.path.iter().map(|key| &**key));
    is(found, &matcher.value) != matcher.invert
}

/// Whether a value is as wanted.
pub(crate) fn is(found: Option<&Value>, wanted: &MetadataValue) -> bool {
    match (wanted, found) {
        (MetadataValue::Present(present), found) => found.is_some() == *present,
        (MetadataValue::OneOf(wanted), found) => wanted.iter().any(|wanted| is(found, wanted)),
        (_, None) => false,
        (MetadataValue::Null, Some(value)) => value.is_null(),
        (MetadataValue::Truth(wanted), Some(value)) => value.as_bool() == Some(*wanted),
        (MetadataValue::Text(wanted), Some(value)) => {
            value.as_str().is_some_and(|text| wanted.is_match(text.as_bytes()))
        }
        (MetadataValue::Number { start, end }, Some(value)) => value
            .as_f64()
            .is_some_and(|number| number >= *start && (number < *end || start == end && number <= *end)),
        (MetadataValue::Item(wanted), Some(value)) => {
            value.as_array().is_some_and(|items| items.iter().any(|item| is(Some(item), wanted)))
        }
    }
}
