// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Access rules: who may do what, as Envoy's RBAC filter decides it.

use super::{Counter, Site};
use crate::access_rules::{Facts, Verdict, judge};
use crate::routing::Routing;
use bytes::Bytes;
use gateway_config::{Rbac, RbacAction, RbacRules};
use gateway_filter_api::{FilterContext, HttpFilter, LocalResponse, Metadata, Outcome};
use http::StatusCode;
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

impl Check {
    /// The check of one request.
    pub(crate) fn new(rbac: &Arc<Rbac>, counters: &Counters, routing: &Routing<'_>) -> Self {
        Self { rbac: Arc::clone(rbac), counters: counters.clone(), client: routing.client.address }
    }

    fn judge<'r>(&self, rules: &'r RbacRules, context: &FilterContext<'_>) -> Verdict<'r> {
        let connection = context.connection;
        let facts = Facts {
            connection,
            client: self.client,
            server_name: connection.tls.as_ref().and_then(|tls| tls.server_name.as_deref()),
            request: Some((context.request, context.metadata)),
        };
        judge(rules, facts)
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
