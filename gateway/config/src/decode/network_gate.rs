// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes network filters that stand in front of the one that handles the bytes.

use crate::decode::filters::local_rate_limit::bucket;
use crate::decode::filters::rbac::policies;
use crate::decode::{Fault, Scope, fields};
use crate::{ConnectionLimit, ConnectionRate, NetworkGate, NetworkRbac, Rbac, RbacCondition, RbacRules};
use gateway_xds_api::pb::envoy::config::core::v3::RuntimeFeatureFlag;
use gateway_xds_api::pb::envoy::config::rbac::v3 as rules;
use gateway_xds_api::pb::envoy::extensions::filters::network::connection_limit::v3::ConnectionLimit as PbLimit;
use gateway_xds_api::pb::envoy::extensions::filters::network::local_ratelimit::v3::LocalRateLimit;
use gateway_xds_api::pb::envoy::extensions::filters::network::rbac::v3 as rbac;
use gateway_xds_api::pb::google::protobuf::Any;
use gateway_xds_api::unpack;
use std::sync::Arc;
use std::time::Duration;

/// A delay keeps a connection open that nobody serves.
const LONGEST_DELAY: Duration = Duration::from_secs(3600);

/// Access rules on connections.
pub(crate) fn network_rbac(scope: &mut Scope, any: &Any) -> Result<NetworkGate, Fault> {
    let message: rbac::Rbac = unpack(any).map_err(|error| scope.fault(error))?;
    // Whether rules are looked at once or again and again: they see the same.
    fields!(scope, message => rbac::Rbac {
        use { rules, matcher, shadow_rules, shadow_matcher, stat_prefix, delay_deny }
        warn { shadow_rules_stat_prefix }
        quiet { enforcement_type }
    });
    if matcher.is_some() {
        return Err(scope.field_fault("matcher", "is not supported; use rules"));
    }
    scope.unused("shadow_matcher", &shadow_matcher);
    let mut read = |field: &str, message: Option<rules::Rbac>| {
        message.map(|message| scope.at(field, |scope| connection_rules(scope, message))).transpose()
    };
    let rbac = Rbac { rules: read("rules", rules)?, shadow: read("shadow_rules", shadow_rules)? };
    let delay = delay(scope, "delay_deny", delay_deny)?;
    Ok(NetworkGate::Rbac(Arc::new(NetworkRbac { stat_prefix: stat_prefix.into(), rbac, delay })))
}

fn connection_rules(scope: &mut Scope, message: rules::Rbac) -> Result<RbacRules, Fault> {
    let rules = policies(scope, message)?;
    let all = rules.policies.iter().flat_map(|policy| policy.permissions.iter().chain(&policy.principals));
    match all.into_iter().find_map(of_a_request) {
        Some(what) => {
            Err(scope.fault(format_args!("has a condition on {what}, which connections do not have")))
        }
        None => Ok(rules),
    }
}

/// What a condition reads that only requests have.
fn of_a_request(condition: &RbacCondition) -> Option<&'static str> {
    match condition {
        RbacCondition::Header(_) => Some("a header"),
        RbacCondition::Path(_) => Some("a path"),
        RbacCondition::Metadata(_) => Some("metadata"),
        RbacCondition::All(inner) | RbacCondition::OneOf(inner) => inner.iter().find_map(of_a_request),
        RbacCondition::Not(inner) => of_a_request(inner),
        RbacCondition::Any
        | RbacCondition::DestinationIp(_)
        | RbacCondition::DestinationPort(_)
        | RbacCondition::ServerName(_)
        | RbacCondition::DirectRemoteIp(_)
        | RbacCondition::RemoteIp(_)
        | RbacCondition::Authenticated(_) => None,
    }
}

/// A limit of new connections; none where it is switched off.
pub(crate) fn connection_rate(scope: &mut Scope, any: &Any) -> Result<Option<NetworkGate>, Fault> {
    let LocalRateLimit { stat_prefix, token_bucket, runtime_enabled, share_key } =
        unpack(any).map_err(|error| scope.fault(error))?;
    if !share_key.is_empty() {
        return Err(scope.field_fault("share_key", "is not supported; each filter chain has its own bucket"));
    }
    let tokens = scope.required("token_bucket", token_bucket)?;
    let bucket = scope.at("token_bucket", |scope| bucket(scope, tokens))?;
    let rate = ConnectionRate { stat_prefix: stat_prefix.into(), bucket };
    Ok(is_on(runtime_enabled).then(|| NetworkGate::RateLimit(Arc::new(rate))))
}

/// A limit of open connections; none where it is switched off.
pub(crate) fn connection_limit(scope: &mut Scope, any: &Any) -> Result<Option<NetworkGate>, Fault> {
    let PbLimit { stat_prefix, max_connections, delay: wait, runtime_enabled } =
        unpack(any).map_err(|error| scope.fault(error))?;
    let most = scope.required("max_connections", max_connections)?.value;
    if most == 0 {
        return Err(scope.field_fault("max_connections", "must be above 0"));
    }
    let limit = ConnectionLimit::new(stat_prefix.into(), most, delay(scope, "delay", wait)?);
    Ok(is_on(runtime_enabled).then(|| NetworkGate::Limit(Arc::new(limit))))
}

fn is_on(flag: Option<RuntimeFeatureFlag>) -> bool {
    flag.and_then(|flag| flag.default_value).is_none_or(|value| value.value)
}

fn delay(
    scope: &Scope,
    field: &str,
    value: Option<gateway_xds_api::pb::google::protobuf::Duration>,
) -> Result<Duration, Fault> {
    match scope.duration(field, value)?.unwrap_or_default() {
        delay if delay > LONGEST_DELAY => Err(scope.field_fault(field, "must be an hour at most")),
        delay => Ok(delay),
    }
}
