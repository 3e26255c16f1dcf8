// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes access rules.

use crate::decode::metadata_match::metadata_matcher;
use crate::decode::route_match::header_matcher;
use crate::decode::strings::{cidr, string_matcher};
use crate::decode::{Fault, Scope, fields};
use crate::{Rbac, RbacAction, RbacCondition, RbacPolicy, RbacRules, StringMatcher};
use gateway_xds_api::pb::envoy::config::rbac::v3::{
    self as rules, permission::Rule, principal::Identifier, rbac::Action,
};
use gateway_xds_api::pb::envoy::extensions::filters::http::rbac::v3 as pb;
use gateway_xds_api::pb::envoy::r#type::matcher::v3::{PathMatcher, path_matcher};
use gateway_xds_api::pb::google::protobuf::Any;
use gateway_xds_api::unpack;

/// Conditions inside conditions are read this deep.
const DEEPEST: usize = 32;

/// The listener's rules.
pub(crate) fn filter(scope: &mut Scope, any: &Any) -> Result<Rbac, Fault> {
    let message = unpack(any).map_err(|error| scope.fault(error))?;
    rbac(scope, message)
}

/// A route's rules; none: everything is allowed there.
pub(crate) fn per_route(scope: &mut Scope, any: &Any) -> Result<Option<Rbac>, Fault> {
    let pb::RbacPerRoute { rbac } = unpack(any).map_err(|error| scope.fault(error))?;
    rbac.map(|message| scope.at("rbac", |scope| self::rbac(scope, message))).transpose()
}

fn rbac(scope: &mut Scope, message: pb::Rbac) -> Result<Rbac, Fault> {
    fields!(scope, message => pb::Rbac {
        use { rules, matcher, shadow_rules }
        warn { rules_stat_prefix, shadow_matcher, shadow_rules_stat_prefix, track_per_rule_stats }
        quiet { }
    });
    if matcher.is_some() {
        return Err(scope.field_fault("matcher", "is not supported; use rules"));
    }
    Ok(Rbac {
        rules: rules.map(|message| scope.at("rules", |scope| policies(scope, message))).transpose()?,
        shadow: shadow_rules
            .map(|message| scope.at("shadow_rules", |scope| policies(scope, message)))
            .transpose()?,
    })
}

/// Policies and what they do.
pub(crate) fn policies(scope: &mut Scope, message: rules::Rbac) -> Result<RbacRules, Fault> {
    let rules::Rbac { action, policies, audit_logging_options } = message;
    scope.unused("audit_logging_options", &audit_logging_options);
    let action = match Action::try_from(action) {
        Ok(Action::Allow) => RbacAction::Allow,
        Ok(Action::Deny) => RbacAction::Deny,
        Ok(Action::Log) => RbacAction::Log,
        Err(_) => return Err(scope.field_fault("action", "is unknown")),
    };
    let mut named: Vec<_> = policies.into_iter().collect();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    let mut decoded = Vec::with_capacity(named.len());
    for (name, message) in named {
        decoded.push(
            scope.at(format_args!("policies[{name:?}]"), |scope| policy(scope, name.as_str(), message))?,
        );
    }
    Ok(RbacRules { action, policies: decoded.into() })
}

fn policy(scope: &mut Scope, name: &str, message: rules::Policy) -> Result<RbacPolicy, Fault> {
    let rules::Policy { permissions, principals, condition, checked_condition, cel_config } = message;
    if condition.is_some() || checked_condition.is_some() || cel_config.is_some() {
        return Err(scope.field_fault("condition", "is not supported; use permissions and principals"));
    }
    Ok(RbacPolicy {
        name: name.into(),
        permissions: list(scope, "permissions", permissions, 0, permission)?,
        principals: list(scope, "principals", principals, 0, principal)?,
    })
}

type Decode<T> = fn(&mut Scope, T, usize) -> Result<RbacCondition, Fault>;

fn list<T>(
    scope: &mut Scope,
    field: &str,
    items: Vec<T>,
    depth: usize,
    decode: Decode<T>,
) -> Result<Box<[RbacCondition]>, Fault> {
    if items.is_empty() {
        return Err(scope.field_fault(field, "is empty"));
    }
    if depth >= DEEPEST {
        return Err(scope.field_fault(field, format_args!("lies deeper than {DEEPEST} conditions")));
    }
    Ok(scope.each(field, items, |scope, item| decode(scope, item, depth + 1))?.into())
}

#[allow(deprecated, reason = "older control planes send the deprecated conditions still")]
fn permission(scope: &mut Scope, message: rules::Permission, depth: usize) -> Result<RbacCondition, Fault> {
    Ok(match scope.required("rule", message.rule)? {
        Rule::AndRules(set) => {
            RbacCondition::All(list(scope, "and_rules.rules", set.rules, depth, permission)?)
        }
        Rule::OrRules(set) => {
            RbacCondition::OneOf(list(scope, "or_rules.rules", set.rules, depth, permission)?)
        }
        Rule::NotRule(inner) => not(list(scope, "not_rule", vec![*inner], depth, permission)?),
        Rule::Any(any) => always(scope, any)?,
        Rule::Header(header) => {
            RbacCondition::Header(scope.at("header", |scope| header_matcher(scope, header))?)
        }
        Rule::UrlPath(matcher) => RbacCondition::Path(path(scope, matcher)?),
        Rule::DestinationIp(range) => RbacCondition::DestinationIp(cidr(scope, "destination_ip", &range)?),
        Rule::DestinationPort(number) => {
            let port = port(scope, "destination_port", i64::from(number))?;
            RbacCondition::DestinationPort(port..=port)
        }
        Rule::DestinationPortRange(range) => {
            let start = port(scope, "destination_port_range.start", i64::from(range.start))?;
            let end = port(scope, "destination_port_range.end", i64::from(range.end) - 1)?;
            RbacCondition::DestinationPort(start..=end)
        }
        Rule::RequestedServerName(matcher) => RbacCondition::ServerName(
            scope.at("requested_server_name", |scope| string_matcher(scope, matcher))?,
        ),
        Rule::Metadata(matcher) => {
            RbacCondition::Metadata(scope.at("metadata", |scope| metadata_matcher(scope, matcher))?)
        }
        Rule::SourcedMetadata(sourced) => sourced_metadata(scope, sourced)?,
        Rule::Matcher(_) => return Err(scope.field_fault("matcher", "is not supported")),
        Rule::UriTemplate(_) => return Err(scope.field_fault("uri_template", "is not supported")),
    })
}

#[allow(deprecated, reason = "older control planes send the deprecated conditions still")]
fn principal(scope: &mut Scope, message: rules::Principal, depth: usize) -> Result<RbacCondition, Fault> {
    Ok(match scope.required("identifier", message.identifier)? {
        Identifier::AndIds(set) => RbacCondition::All(list(scope, "and_ids.ids", set.ids, depth, principal)?),
        Identifier::OrIds(set) => RbacCondition::OneOf(list(scope, "or_ids.ids", set.ids, depth, principal)?),
        Identifier::NotId(inner) => not(list(scope, "not_id", vec![*inner], depth, principal)?),
        Identifier::Any(any) => always(scope, any)?,
        Identifier::Authenticated(authenticated) => {
            let name = authenticated.principal_name.map(|matcher| {
                scope.at("authenticated.principal_name", |scope| string_matcher(scope, matcher))
            });
            RbacCondition::Authenticated(name.transpose()?)
        }
        // Deprecated; Envoy reads it as the address of the connection.
        Identifier::SourceIp(range) => RbacCondition::DirectRemoteIp(cidr(scope, "source_ip", &range)?),
        Identifier::DirectRemoteIp(range) => {
            RbacCondition::DirectRemoteIp(cidr(scope, "direct_remote_ip", &range)?)
        }
        Identifier::RemoteIp(range) => RbacCondition::RemoteIp(cidr(scope, "remote_ip", &range)?),
        Identifier::Header(header) => {
            RbacCondition::Header(scope.at("header", |scope| header_matcher(scope, header))?)
        }
        Identifier::UrlPath(matcher) => RbacCondition::Path(path(scope, matcher)?),
        Identifier::Metadata(matcher) => {
            RbacCondition::Metadata(scope.at("metadata", |scope| metadata_matcher(scope, matcher))?)
        }
        Identifier::SourcedMetadata(sourced) => sourced_metadata(scope, sourced)?,
        Identifier::FilterState(_) => return Err(scope.field_fault("filter_state", "is not supported")),
        Identifier::Custom(_) => return Err(scope.field_fault("custom", "is not supported")),
    })
}

fn not(inner: Box<[RbacCondition]>) -> RbacCondition {
    // One condition went in.
    RbacCondition::Not(Box::new(RbacCondition::All(inner)))
}

fn always(scope: &Scope, any: bool) -> Result<RbacCondition, Fault> {
    if any { Ok(RbacCondition::Any) } else { Err(scope.field_fault("any", "must be true")) }
}

fn sourced_metadata(scope: &mut Scope, sourced: rules::SourcedMetadata) -> Result<RbacCondition, Fault> {
    let rules::SourcedMetadata { metadata_matcher: matcher, metadata_source } = sourced;
    if metadata_source != i32::from(rules::MetadataSource::Dynamic) {
        return Err(scope.field_fault("sourced_metadata.metadata_source", "must be DYNAMIC"));
    }
    let matcher = scope.required("sourced_metadata.metadata_matcher", matcher)?;
    let matcher = scope.at("sourced_metadata.metadata_matcher", |scope| metadata_matcher(scope, matcher))?;
    Ok(RbacCondition::Metadata(matcher))
}

fn path(scope: &mut Scope, matcher: PathMatcher) -> Result<StringMatcher, Fault> {
    scope.at("url_path.path", |scope| match matcher.rule {
        Some(path_matcher::Rule::Path(matcher)) => string_matcher(scope, matcher),
        None => Err(scope.fault("is missing")),
    })
}

fn port(scope: &Scope, field: &str, number: i64) -> Result<u16, Fault> {
    u16::try_from(number).map_err(|_| scope.field_fault(field, "is not a port"))
}
