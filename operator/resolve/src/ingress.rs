// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Front end for Ingress v1. Ingresses attach to the own gateway of a fleet (`template.listeners`).
//!
//! Difference from the specification of Ingress: a wildcard host `*.foo.com` matches any number of labels before
//! `.foo.com`, as in Gateway API, not exactly one.

mod class;
mod rules;
mod tls;

use crate::gateway_api::hosts;
use crate::route::{Contribution, RouteOutcome, RouteRules};
use crate::status::{IngressVerdict, Problem, Reason, StatusValue};
use crate::target::Target;
use crate::view::View;
use k8s_openapi::api::networking::v1::Ingress;
use operator_ir::{HostPattern, ObjectKind, ObjectRef, Origin, VirtualHostId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Resolves an Ingress. Its outcome is empty where no fleet takes it.
pub(crate) fn resolve_ingress(ingress: &Ingress, view: &mut View<'_>) -> RouteOutcome {
    let fleets = class::fleets(ingress, view);
    if fleets.is_empty() {
        return RouteOutcome::default();
    }
    let namespace = ingress.metadata.namespace.clone().unwrap_or_default();
    let object =
        ObjectRef::new(ObjectKind::Ingress, namespace, ingress.metadata.name.clone().unwrap_or_default());
    let created = ingress.metadata.creation_timestamp.as_ref();
    let age = created.map_or(i64::MAX, |created| created.0.as_second());
    let mut problems = Problems { object: object.clone(), found: BTreeSet::new() };
    let by_host = rules::translate(ingress, &object, view, &mut problems);
    let by_host: BTreeMap<_, _> = by_host
        .into_iter()
        .map(|(host, rules)| {
            let rules = rules.into_boxed_slice();
            (host, Arc::new(RouteRules { age, object: object.clone(), rules }))
        })
        .collect();
    let mut outcome = RouteOutcome::default();
    let mut gateways = BTreeSet::new();
    let targets: Vec<_> = fleets.iter().filter_map(|fleet| view.target(fleet).cloned()).collect();
    if targets.iter().all(|target| !target.active) {
        let names: Vec<_> = fleets.iter().map(ToString::to_string).collect();
        let message = format!("{} has no listeners to attach to; set template.listeners", names.join(", "));
        problems.add(None, Reason::NoMatchingParent, message);
    }
    for target in targets.into_iter().filter(|target| target.active) {
        if attach(&target, &by_host, &mut outcome, &mut problems) {
            gateways.insert(target.gateway.as_ref().clone());
        }
        let certificates = tls::certificates(ingress, &target, age, view, &mut problems);
        if !certificates.is_empty() {
            outcome.certificates.insert(target.gateway.clone(), certificates);
        }
    }
    let generation = ingress.metadata.generation.unwrap_or_default();
    let problems = problems.found.into_iter().collect();
    let verdict = IngressVerdict { gateways: gateways.into_iter().collect(), problems };
    outcome.status = Some((generation, StatusValue::Ingress(verdict)));
    outcome
}

/// Adds the rules to all listeners that have a host in common; whether there is one.
fn attach(
    target: &Target,
    by_host: &BTreeMap<HostPattern, Arc<RouteRules>>,
    outcome: &mut RouteOutcome,
    problems: &mut Problems,
) -> bool {
    let mut attached = false;
    for (own_host, rules) in by_host {
        let mut served = false;
        for listener in target.listeners.iter().filter(|listener| listener.serving) {
            for (host, own_host) in hosts(listener, std::slice::from_ref(own_host)) {
                served = true;
                outcome.attached.insert((target.object.clone(), listener.name.clone()));
                if target.reaches(listener, &host) {
                    let id = Arc::new(VirtualHostId { route_table: Target::route_table(listener), host });
                    let contribution = Contribution { own_host, rules: rules.clone() };
                    let merged =
                        outcome.hosts.entry((target.gateway.clone(), id)).or_insert(contribution.clone());
                    // Two hosts of one Ingress meet in the host of a listener: the more specific one is written first.
                    if merged.own_host != contribution.own_host {
                        let rules =
                            merged.rules.rules.iter().chain(&contribution.rules.rules).cloned().collect();
                        let RouteRules { age, object, .. } = contribution.rules.as_ref();
                        merged.rules = Arc::new(RouteRules { age: *age, object: object.clone(), rules });
                    }
                }
            }
        }
        attached |= served;
        if !served {
            let message = format!("no listener of {} serves host {own_host}", target.object);
            problems.add(None, Reason::NoMatchingListenerHostname, message);
        }
    }
    attached
}

/// What is wrong with an Ingress, collected.
#[derive(Debug)]
struct Problems {
    object: ObjectRef,
    found: BTreeSet<Problem>,
}

impl Problems {
    fn add(&mut self, rule: Option<usize>, reason: Reason, message: String) {
        let rule = rule.and_then(|rule| u32::try_from(rule).ok());
        let origin = Origin { object: self.object.clone(), rule };
        self.found.insert(Problem { origin, reason, message });
    }
}
