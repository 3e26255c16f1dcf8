// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Rules of an Ingress by host, with its default backend behind them.

use super::Problems;
use crate::backends::{BackendReference, resolve_backend};
use crate::checks::is_host;
use crate::facts::Lookup;
use crate::gateway_api::{Referrer, path_rank, segment_prefix};
use crate::route::{PathRank, Rank, RankedRule};
use crate::status::Reason;
use crate::view::View;
use k8s_openapi::api::networking::v1::{HTTPIngressPath, Ingress, IngressBackend};
use operator_ir::{
    Action, BackendId, Destination, Forward, HeaderMutation, HostPattern, ObjectRef, Origin, PathMatch,
    RequestMatch, Rule, RuleFilters, Timeouts,
};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// The rules of each host, in the order of the Ingress.
pub(super) fn translate(
    ingress: &Ingress,
    object: &ObjectRef,
    view: &mut View<'_>,
    problems: &mut Problems,
) -> BTreeMap<HostPattern, Vec<RankedRule>> {
    let mut hosts: BTreeMap<HostPattern, Vec<RankedRule>> = BTreeMap::new();
    let Some(spec) = &ingress.spec else { return hosts };
    for (index, rule) in spec.rules.iter().flatten().enumerate() {
        let host = HostPattern::parse(rule.host.as_deref().unwrap_or_default());
        if !is_host(&host) {
            problems.add(Some(index), Reason::UnsupportedValue, format!("host {host} is no hostname"));
            continue;
        }
        let rules = hosts.entry(host).or_default();
        let paths = rule.http.as_ref().map(|http| http.paths.as_slice()).unwrap_or_default();
        for (number, path) in paths.iter().enumerate() {
            let matched = match path_match(path) {
                Ok(matched) => matched,
                Err(message) => {
                    problems.add(Some(index), Reason::UnsupportedValue, message);
                    continue;
                }
            };
            let backend = backend(&path.backend, object, Some(index), view, problems);
            let name = format!("ingress/{}/{}/{index}/{number}", object.namespace, object.name);
            let rank = path_rank(&matched);
            rules.push(ranked(
                name,
                Origin { object: object.clone(), rule: u32::try_from(index).ok() },
                rank,
                matched,
                backend,
            ));
        }
    }
    if let Some(default) = &spec.default_backend {
        let backend = backend(default, object, None, view, problems);
        // Whatever no path takes, on the Ingress's own hosts and on hosts that nobody serves.
        hosts.entry(HostPattern::Any).or_default();
        for rules in hosts.values_mut() {
            let name = format!("ingress/{}/{}/default/0", object.namespace, object.name);
            let everything = PathMatch::Prefix("/".to_owned());
            let origin = Origin { object: object.clone(), rule: None };
            rules.push(ranked(name, origin, PathRank::Last, everything, backend.clone()));
        }
    }
    hosts.retain(|_, rules| !rules.is_empty());
    hosts
}

fn ranked(
    name: String,
    origin: Origin,
    path: PathRank,
    matched: PathMatch,
    backend: Option<BackendId>,
) -> RankedRule {
    let destination = Destination {
        backend,
        weight: 1,
        request_headers: HeaderMutation::default(),
        response_headers: HeaderMutation::default(),
    };
    let forward = Forward {
        destinations: vec![destination],
        timeouts: Timeouts::default(),
        retry: None,
        rewrite: None,
        mirrors: Vec::new(),
    };
    let matches = RequestMatch { path: matched, method: None, headers: Vec::new(), query: Vec::new() };
    let rank = Rank { path, method: Reverse(false), headers: Reverse(0), query: Reverse(0) };
    let filters = RuleFilters::default();
    RankedRule { rank, rule: Rule { name, origin, matches, action: Action::Forward(forward), filters } }
}

/// `ImplementationSpecific` is `Prefix`.
fn path_match(path: &HTTPIngressPath) -> Result<PathMatch, String> {
    let text = path.path.as_deref().filter(|text| !text.is_empty()).unwrap_or("/");
    if !text.starts_with('/') {
        return Err(format!("path {text} does not begin with a slash"));
    }
    match path.path_type.as_str() {
        "Exact" => Ok(PathMatch::Exact(text.to_owned())),
        "Prefix" | "ImplementationSpecific" | "" => Ok(segment_prefix(text)),
        other => Err(format!("pathType {other} is none of Exact, Prefix, ImplementationSpecific")),
    }
}

/// The backend, or none with a problem: its requests are answered with 500.
fn backend(
    backend: &IngressBackend,
    object: &ObjectRef,
    rule: Option<usize>,
    view: &mut View<'_>,
    problems: &mut Problems,
) -> Option<BackendId> {
    match find(backend, object, view) {
        Ok(backend) => Some(backend),
        Err((reason, message)) => {
            problems.add(rule, reason, message);
            None
        }
    }
}

fn find(
    backend: &IngressBackend,
    object: &ObjectRef,
    view: &mut View<'_>,
) -> Result<BackendId, crate::backends::ReferenceProblem> {
    let namespace = object.namespace.as_str();
    let Some(service) = &backend.service else {
        let resource = backend.resource.as_ref().map(|resource| resource.kind.as_str()).unwrap_or("nothing");
        return Err((Reason::InvalidKind, format!("backend names {resource}; name a service")));
    };
    let written = service.port.as_ref();
    let port = match written.and_then(|port| port.name.as_deref()) {
        Some(name) => Some(port_named(namespace, &service.name, name, view)?),
        None => written.and_then(|port| port.number),
    };
    let reference = BackendReference { group: "", kind: "Service", namespace, name: &service.name, port };
    let referrer = Referrer { group: "networking.k8s.io", kind: "Ingress", namespace };
    resolve_backend(reference, referrer, view)
}

fn port_named(
    namespace: &str,
    service: &str,
    port: &str,
    view: &mut View<'_>,
) -> Result<i32, crate::backends::ReferenceProblem> {
    let problem = match view.service(namespace, service) {
        Lookup::Present(facts) => match facts.port_named(port) {
            Some(port) => return Ok(i32::from(port.port)),
            None => format!("Service {namespace}/{service} has no TCP port named {port}"),
        },
        Lookup::Absent => format!("Service {namespace}/{service} does not exist"),
        Lookup::Unknown => {
            format!(
                "port {port} of Service {namespace}/{service} is given by name and Services are not seen here; give its number"
            )
        }
    };
    Err((Reason::BackendNotFound, problem))
}
