// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Rules of an HTTPRoute: what happens to a request, with everything that is wrong about it.

use super::filters::{self, Filters};
use super::modifiers::header_mutation;
use super::{GROUP, Referrer, duration, matches};
use crate::backends::{BackendReference, ReferenceProblem, resolve_backend};
use crate::checks::unusable;
use crate::route::RankedRule;
use crate::status::Reason;
use crate::view::View;
use crds::gateway_api::{
    HttpRouteRules, HttpRouteRulesBackendRefs, HttpRouteRulesBackendRefsFilters,
    HttpRouteRulesBackendRefsFiltersType, HttpRouteRulesRetry, HttpRouteRulesTimeouts,
};
use operator_ir::{
    Action, Destination, DirectResponse, Forward, HeaderMutation, ObjectRef, Origin, RequestMatch, Retry,
    Rule, RuleFilters, Timeouts,
};

/// Highest weight of a backend (Gateway API, `BackendRef.weight`).
const MOST_WEIGHT: u32 = 1_000_000;

/// All rules of a route.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// In the route's order, one for each match.
    pub(super) ranked: Vec<RankedRule>,
    /// References that lead nowhere.
    pub(super) unresolved: Vec<ReferenceProblem>,
    /// Rules that cannot be served, by index; they answer 500.
    pub(super) invalid: Vec<(usize, Reason, String)>,
    /// How many rules the route has.
    pub(super) count: usize,
}

/// Why a rule cannot be served.
type RuleProblem = (Reason, String);

/// Reads the rules of the route `object`. A route without rules has one that takes everything, to no backend.
pub(super) fn translate(rules: &[HttpRouteRules], object: &ObjectRef, view: &mut View<'_>) -> Rules {
    let mut result = Rules { count: rules.len(), ..Rules::default() };
    if rules.is_empty() {
        result.ranked.push(ranked(
            object,
            (0, 0),
            matches::everything(),
            (respond_500(), RuleFilters::default()),
        ));
    }
    for (index, rule) in rules.iter().enumerate() {
        let (matches, action, changes) = match read(rule, &object.namespace, view, &mut result.unresolved) {
            Ok(parts) => parts,
            Err((matches, (reason, message))) => {
                result.invalid.push((index, reason, message));
                (matches, respond_500(), RuleFilters::default())
            }
        };
        for (number, matches) in matches.into_iter().enumerate() {
            let ranked = ranked(object, (index, number), matches, (action.clone(), changes.clone()));
            result.ranked.push(ranked);
        }
    }
    result
}

/// One match of one rule; `position` counts rules and matches from 0.
fn ranked(
    object: &ObjectRef,
    position: (usize, usize),
    matches: RequestMatch,
    (action, filters): (Action, RuleFilters),
) -> RankedRule {
    let (index, number) = position;
    let name = format!("httproute/{}/{}/{index}/{number}", object.namespace, object.name);
    let origin = Origin { object: object.clone(), rule: u32::try_from(index).ok() };
    RankedRule { rank: matches::rank(&matches), rule: Rule { name, origin, matches, action, filters } }
}

type Parts = (Vec<RequestMatch>, Action, RuleFilters);

/// The error holds those matches that can be served all the same: the rule still wins them.
fn read(
    rule: &HttpRouteRules,
    namespace: &str,
    view: &mut View<'_>,
    unresolved: &mut Vec<ReferenceProblem>,
) -> Result<Parts, (Vec<RequestMatch>, RuleProblem)> {
    let mut read = Vec::new();
    let mut problem = None;
    for condition in rule.matches.iter().flatten() {
        match matches::translate(condition) {
            Ok(condition) => read.push(condition),
            Err(message) => problem = problem.or(Some((Reason::UnsupportedValue, message))),
        }
    }
    if rule.matches.as_ref().is_none_or(Vec::is_empty) {
        read.push(matches::everything());
    }
    if let Some(problem) = problem {
        return Err((read, problem));
    }
    match action(rule, &read, namespace, view, unresolved) {
        Ok((action, changes)) => match unusable(&action, &changes) {
            None => Ok((read, action, changes)),
            Some(message) => Err((read, (Reason::UnsupportedValue, message))),
        },
        Err(problem) => Err((read, problem)),
    }
}

fn action(
    rule: &HttpRouteRules,
    matches: &[RequestMatch],
    namespace: &str,
    view: &mut View<'_>,
    unresolved: &mut Vec<ReferenceProblem>,
) -> Result<(Action, RuleFilters), RuleProblem> {
    let filters = rule.filters.as_deref().unwrap_or_default();
    let Filters { changes, rewrite, redirect, mirrors } =
        filters::translate(filters, matches, namespace, view, unresolved)?;
    if let Some(redirect) = redirect {
        return Ok((Action::Redirect(redirect), changes));
    }
    let mut destinations = Vec::new();
    for reference in rule.backend_refs.iter().flatten() {
        let weight = reference.weight.map_or(1, |weight| u32::try_from(weight).unwrap_or_default());
        let weight = weight.min(MOST_WEIGHT);
        let destination = destination(reference, weight, namespace, view, unresolved)?;
        destinations.extend((weight > 0).then_some(destination));
    }
    destinations.shrink_to_fit();
    if destinations.is_empty() {
        return Ok((respond_500(), changes));
    }
    let timeouts = rule.timeouts.as_ref().map(timeouts).transpose()?.unwrap_or_default();
    let retry = rule.retry.as_ref().map(retry).transpose()?.flatten();
    Ok((Action::Forward(Forward { destinations, timeouts, retry, rewrite, mirrors }), changes))
}

fn respond_500() -> Action {
    Action::Respond(DirectResponse { status: 500, body: String::new() })
}

fn destination(
    reference: &HttpRouteRulesBackendRefs,
    weight: u32,
    own_namespace: &str,
    view: &mut View<'_>,
    unresolved: &mut Vec<ReferenceProblem>,
) -> Result<Destination, RuleProblem> {
    let (request_headers, response_headers) =
        destination_headers(reference.filters.as_deref().unwrap_or_default())?;
    let referrer = Referrer { group: GROUP, kind: "HTTPRoute", namespace: own_namespace };
    let reference = BackendReference {
        group: reference.group.as_deref().unwrap_or_default(),
        kind: reference.kind.as_deref().unwrap_or("Service"),
        namespace: reference.namespace.as_deref().unwrap_or(own_namespace),
        name: &reference.name,
        port: reference.port,
    };
    let backend = match resolve_backend(reference, referrer, view) {
        Ok(backend) => Some(backend),
        Err(problem) => {
            unresolved.push(problem);
            None
        }
    };
    Ok(Destination { backend, weight, request_headers, response_headers })
}

fn destination_headers(
    filters: &[HttpRouteRulesBackendRefsFilters],
) -> Result<(HeaderMutation, HeaderMutation), RuleProblem> {
    let (mut request, mut response) = (HeaderMutation::default(), HeaderMutation::default());
    for filter in filters {
        match (&filter.r#type, &filter.request_header_modifier, &filter.response_header_modifier) {
            (HttpRouteRulesBackendRefsFiltersType::RequestHeaderModifier, Some(modifier), _) => {
                request = header_mutation!(modifier);
            }
            (HttpRouteRulesBackendRefsFiltersType::ResponseHeaderModifier, _, Some(modifier)) => {
                response = header_mutation!(modifier);
            }
            (kind, ..) => {
                let message = format!("filter {kind:?} on a backendRef is not supported; put it on the rule");
                return Err((Reason::UnsupportedValue, message));
            }
        }
    }
    Ok((request, response))
}

fn timeouts(timeouts: &HttpRouteRulesTimeouts) -> Result<Timeouts, RuleProblem> {
    Ok(Timeouts {
        request_ms: time("timeouts.request", timeouts.request.as_deref())?,
        backend_request_ms: time("timeouts.backendRequest", timeouts.backend_request.as_deref())?,
    })
}

/// Further tries; none where they are switched off.
fn retry(retry: &HttpRouteRulesRetry) -> Result<Option<Retry>, RuleProblem> {
    let attempts = u32::try_from(retry.attempts.unwrap_or(1)).unwrap_or_default();
    let codes = retry.codes.iter().flatten().filter_map(|code| u16::try_from(*code).ok());
    let backoff_ms = time("retry.backoff", retry.backoff.as_deref())?;
    Ok((attempts > 0).then(|| Retry { attempts, status_codes: codes.collect(), backoff_ms }))
}

fn time(field: &str, text: Option<&str>) -> Result<Option<u64>, RuleProblem> {
    let Some(text) = text else { return Ok(None) };
    match duration::milliseconds(text) {
        Some(milliseconds) => Ok(Some(milliseconds)),
        None => Err((
            Reason::UnsupportedValue,
            format!("{field} {text} is no duration such as 500ms, 10s or 1h30m"),
        )),
    }
}
