// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Access rules: who may do what, as Envoy's RBAC filter decides it.

use super::{Counter, Site};
use crate::routing::{Routing, view};
use bytes::Bytes;
use gateway_config::{
    MetadataMatcher, MetadataValue, Rbac, RbacAction, RbacCondition, RbacPolicy, RbacRules, StringMatcher,
};
use gateway_filter_api::{FilterContext, HttpFilter, LocalResponse, Metadata, Outcome};
use http::StatusCode;
use serde_json::Value;
use std::net::IpAddr;
use std::sync::Arc;

/// The namespace of what the filter leaves in the metadata.
const NAMESPACE: &str = "envoy.filters.http.rbac";

/// The filter's numbers on one worker.
#[derive(Clone, Debug)]
pub(crate) struct Counters {
    pub(crate) allowed: Counter,
    pub(crate) denied: Counter,
    pub(crate) shadow_allowed: Counter,
    pub(crate) shadow_denied: Counter,
}

impl Counters {
    pub(crate) fn new(site: Site<'_>) -> Self {
        Self {
            allowed: site.http("http_rbac_allowed"),
            denied: site.http("http_rbac_denied"),
            shadow_allowed: site.http("http_rbac_shadow_allowed"),
            shadow_denied: site.http("http_rbac_shadow_denied"),
        }
    }
}

/// Looks at one request.
#[derive(Debug)]
pub(crate) struct Check {
    rbac: Arc<Rbac>,
    counters: Counters,
    client: IpAddr,
}

/// What the rules say.
struct Verdict<'a> {
    allowed: bool,
    policy: Option<&'a str>,
}

impl Check {
    /// The check of one request.
    pub(crate) fn new(rbac: &Arc<Rbac>, counters: &Counters, routing: &Routing<'_>) -> Self {
        Self { rbac: Arc::clone(rbac), counters: counters.clone(), client: routing.client.address }
    }

    fn judge<'r>(&self, rules: &'r RbacRules, context: &FilterContext<'_>) -> Verdict<'r> {
        let holds = |conditions: &[RbacCondition]| conditions.iter().any(|c| self.holds(c, context));
        let matches = |policy: &&RbacPolicy| holds(&policy.permissions) && holds(&policy.principals);
        let policy = rules.policies.iter().find(matches).map(|policy| &*policy.name);
        let allowed = match rules.action {
            RbacAction::Allow => policy.is_some(),
            RbacAction::Deny => policy.is_none(),
            RbacAction::Log => true,
        };
        Verdict { allowed, policy }
    }

    fn holds(&self, condition: &RbacCondition, context: &FilterContext<'_>) -> bool {
        let connection = context.connection;
        let ip = |address: IpAddr| address.to_canonical();
        match condition {
            RbacCondition::Any => true,
            RbacCondition::All(inner) => inner.iter().all(|c| self.holds(c, context)),
            RbacCondition::OneOf(inner) => inner.iter().any(|c| self.holds(c, context)),
            RbacCondition::Not(inner) => !self.holds(inner, context),
            RbacCondition::Header(header) => header.is_match_of_any(&view(context.request, 0)),
            RbacCondition::Path(path) => path.is_match(context.request.path.path().as_bytes()),
            RbacCondition::DestinationIp(range) => range.contains(&ip(connection.local.ip())),
            RbacCondition::DestinationPort(ports) => ports.contains(&connection.local.port()),
            RbacCondition::ServerName(name) => {
                let told = connection.tls.as_ref().and_then(|tls| tls.server_name.as_deref());
                name.is_match(told.unwrap_or_default().as_bytes())
            }
            RbacCondition::DirectRemoteIp(range) => range.contains(&ip(connection.direct_remote.ip())),
            RbacCondition::RemoteIp(range) => range.contains(&ip(self.client)),
            RbacCondition::Authenticated(name) => self.authenticated(name.as_ref(), context),
            RbacCondition::Metadata(matcher) => has(context.metadata, matcher),
        }
    }

    fn authenticated(&self, name: Option<&StringMatcher>, context: &FilterContext<'_>) -> bool {
        let peer = context.connection.tls.as_ref().and_then(|tls| tls.peer.as_deref());
        match (peer, name) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(peer), Some(name)) => peer.principals().any(|text| name.is_match(text.as_bytes())),
        }
    }
}

impl HttpFilter for Check {
    fn on_request_headers(&mut self, context: &mut FilterContext<'_>, _end_of_stream: bool) -> Outcome {
        let rbac = Arc::clone(&self.rbac);
        if let Some(shadow) = &rbac.shadow {
            let verdict = self.judge(shadow, context);
            let counter =
                if verdict.allowed { &self.counters.shadow_allowed } else { &self.counters.shadow_denied };
            counter.increment();
            keep(context.metadata, "shadow", &verdict);
        }
        let Some(rules) = &rbac.rules else { return Outcome::Continue };
        let verdict = self.judge(rules, context);
        if rules.action == RbacAction::Log {
            context.metadata.set("envoy.common", "access_log_hint", verdict.policy.is_some().into());
            return Outcome::Continue;
        }
        keep(context.metadata, "enforced", &verdict);
        if verdict.allowed {
            self.counters.allowed.increment();
            return Outcome::Continue;
        }
        self.counters.denied.increment();
        let policy = verdict.policy.unwrap_or("none").replace(char::is_whitespace, "_");
        Outcome::Respond(Box::new(LocalResponse {
            body: Bytes::from_static(b"RBAC: access denied"),
            ..LocalResponse::new(
                StatusCode::FORBIDDEN,
                format!("rbac_access_denied_matched_policy[{policy}]"),
            )
        }))
    }

    fn is_finished(&self) -> bool {
        true
    }
}

/// Leaves the verdict for later filters and the log.
fn keep(metadata: &mut Metadata, kind: &str, verdict: &Verdict<'_>) {
    if let Some(policy) = verdict.policy {
        metadata.set(NAMESPACE, format!("{kind}_effective_policy_id"), policy.into());
    }
    let result = if verdict.allowed { "allowed" } else { "denied" };
    metadata.set(NAMESPACE, format!("{kind}_engine_result"), result.into());
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
