// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! HTTPRoute: its parents, its verdict, and its rules for every host that it serves.

use super::attach::{Request, attach, hosts};
use super::rules::{self, Rules};
use super::{GROUP, status};
use crate::checks::is_host;
use crate::route::{Contribution, RankedRule, RouteOutcome, RouteRules};
use crate::status::{ParentRef, ParentVerdict, Reason, RouteVerdict, StatusValue, Verdict};
use crate::target::{Protocol, Target, TargetListener};
use crate::view::View;
use crds::gateway_api::{HttpRoute, HttpRouteParentRefs};
use operator_ir::{Action, HostPattern, ObjectKind, ObjectRef, Redirect, VirtualHostId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Resolves a route. Its outcome is empty where none of its parents is ours.
pub(crate) fn resolve_http_route(route: &HttpRoute, view: &mut View<'_>) -> RouteOutcome {
    let namespace = route.metadata.namespace.clone().unwrap_or_default();
    let object =
        ObjectRef::new(ObjectKind::HTTPRoute, namespace, route.metadata.name.clone().unwrap_or_default());
    let parents: Vec<_> = route
        .spec
        .parent_refs
        .iter()
        .flatten()
        .filter_map(|parent| Some((parent, view.target(&parent_object(parent, &object.namespace)?)?.clone())))
        .collect();
    if parents.is_empty() {
        return RouteOutcome::default();
    }
    let rules = rules::translate(route.spec.rules.as_deref().unwrap_or_default(), &object, view);
    let mut edges = Edges::new(route, &object, &rules);
    let mut hostnames: Vec<_> =
        route.spec.hostnames.iter().flatten().map(|hostname| HostPattern::parse(hostname)).collect();
    if hostnames.is_empty() {
        hostnames.push(HostPattern::Any);
    }
    let generation = route.metadata.generation.unwrap_or_default();
    let mut outcome = RouteOutcome::default();
    let mut verdicts = Vec::with_capacity(parents.len());
    for (parent, target) in parents {
        let section = parent.section_name.as_deref();
        let request =
            Request { namespace: &object.namespace, section, port: parent.port, hostnames: &hostnames };
        let accepted = match invalid_host(&hostnames).map_or_else(|| attach(&target, request, view), Err) {
            Ok(listeners) => accept(&target, &listeners, &hostnames, &rules, &mut edges, &mut outcome),
            Err(refused) => refused,
        };
        verdicts.push(ParentVerdict {
            parent_ref: parent_ref(parent),
            conditions: status::conditions(accepted, &rules, generation),
        });
    }
    outcome.status = Some((generation, StatusValue::HttpRoute(RouteVerdict { parents: verdicts })));
    outcome
}

fn invalid_host(hostnames: &[HostPattern]) -> Option<Verdict> {
    let host = hostnames.iter().find(|host| !is_host(host))?;
    Some(Verdict::no(Reason::UnsupportedValue, format!("hostnames: {host} is no hostname")))
}

/// The Gateway or fleet that a parent reference names; none for other kinds.
fn parent_object(parent: &HttpRouteParentRefs, own_namespace: &str) -> Option<ObjectRef> {
    let kind = match (parent.group.as_deref().unwrap_or(GROUP), parent.kind.as_deref().unwrap_or("Gateway")) {
        (GROUP, "Gateway") => ObjectKind::Gateway,
        ("gatefleet.dev", "GatewayFleet") => ObjectKind::GatewayFleet,
        _ => return None,
    };
    Some(ObjectRef::new(kind, parent.namespace.as_deref().unwrap_or(own_namespace), &parent.name))
}

fn parent_ref(parent: &HttpRouteParentRefs) -> ParentRef {
    ParentRef {
        group: parent.group.clone().unwrap_or_else(|| GROUP.to_owned()),
        kind: parent.kind.clone().unwrap_or_else(|| "Gateway".to_owned()),
        namespace: parent.namespace.clone(),
        name: parent.name.clone(),
        section_name: parent.section_name.clone(),
        port: parent.port,
    }
}

/// Attaches the route to listeners, unless nothing of it can be served.
fn accept(
    target: &Target,
    listeners: &[&TargetListener],
    hostnames: &[HostPattern],
    rules: &Rules,
    edges: &mut Edges<'_>,
    outcome: &mut RouteOutcome,
) -> Verdict {
    if let Some(refused) = status::wholly_invalid(rules) {
        return refused;
    }
    for listener in listeners {
        outcome.attached.insert((target.object.clone(), listener.name.clone()));
        if !listener.serving {
            continue;
        }
        let route_table = Target::route_table(listener);
        for (host, own_host) in hosts(listener, hostnames) {
            if target.reaches(listener, &host) {
                let id = Arc::new(VirtualHostId { route_table: route_table.clone(), host });
                let contribution = Contribution { own_host, rules: edges.rules(listener) };
                outcome.hosts.insert((target.gateway.clone(), id), contribution);
            }
        }
    }
    Verdict::yes(Reason::Accepted)
}

/// The rules as they are on each port: redirects show the port of the listener where they name none.
struct Edges<'a> {
    rules: &'a Rules,
    shared: Arc<RouteRules>,
    redirects: bool,
    by_port: BTreeMap<(u16, bool), Arc<RouteRules>>,
}

impl<'a> Edges<'a> {
    fn new(route: &HttpRoute, object: &ObjectRef, rules: &'a Rules) -> Self {
        let created = route.metadata.creation_timestamp.as_ref();
        let shared = Arc::new(RouteRules {
            age: created.map_or(i64::MAX, |created| created.0.as_second()),
            object: object.clone(),
            rules: rules.ranked.as_slice().into(),
        });
        let redirects = rules.ranked.iter().any(|ranked| matches!(ranked.rule.action, Action::Redirect(_)));
        Self { rules, shared, redirects, by_port: BTreeMap::new() }
    }

    fn rules(&mut self, listener: &TargetListener) -> Arc<RouteRules> {
        if !self.redirects {
            return self.shared.clone();
        }
        let https = listener.protocol == Protocol::Https;
        let (shared, ranked) = (&self.shared, &self.rules.ranked);
        let made = self.by_port.entry((listener.port, https)).or_insert_with(|| {
            let on_port = |ranked: &RankedRule| {
                let mut ranked = ranked.clone();
                if let Action::Redirect(redirect) = &mut ranked.rule.action {
                    redirect.port = shown_port(redirect, listener.port, https);
                }
                ranked
            };
            let rules = ranked.iter().map(on_port).collect();
            Arc::new(RouteRules { age: shared.age, object: shared.object.clone(), rules })
        });
        made.clone()
    }
}

/// The port to show in `Location`: the one that is written, else the well-known one of a scheme that is written, else the
/// listener's; never the one that the scheme implies (Gateway API, `HTTPRequestRedirectFilter.port`).
fn shown_port(redirect: &Redirect, listener_port: u16, https: bool) -> Option<u16> {
    let well_known = |https: bool| if https { 443 } else { 80 };
    let (fallback, implied) = match redirect.scheme.as_deref() {
        Some(scheme) => (well_known(scheme == "https"), well_known(scheme == "https")),
        None => (listener_port, well_known(https)),
    };
    Some(redirect.port.unwrap_or(fallback)).filter(|port| *port != implied)
}
