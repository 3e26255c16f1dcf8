// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Verdicts as they are written into objects: times, generations, and what belongs to others.

use crate::input;
use crds::gateway_api::{GatewayStatus, HttpRouteStatus, HttpRouteStatusParents};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use operator_ir::{ObjectKind, ObjectRef};
use operator_resolve::status::{
    GatewayFacts, GatewayVerdict, Programmed, RouteVerdict, gateway_status, http_route_status,
};
use operator_resolve::{Resolver, StatusValue};
use serde_json::json;

const OURS: &str = "gatefleet.dev/gateway-controller";

fn resolver(case: &str) -> Resolver {
    let (options, objects) = input::read(&format!("{}\n---\n{case}", include_str!("../data/base.yaml")));
    let mut resolver = Resolver::new(options);
    input::upserts(objects).for_each(|change| resolver.apply(change));
    resolver.settle();
    resolver
}

fn gateway_verdict() -> GatewayVerdict {
    let resolver = resolver("");
    match resolver.status(&ObjectRef::new(ObjectKind::Gateway, "shop", "web")) {
        Some((_, StatusValue::Gateway(verdict))) => verdict.clone(),
        other => panic!("{other:?}"),
    }
}

fn route_verdict() -> RouteVerdict {
    let resolver = resolver(include_str!("../data/simple.in.yaml"));
    match resolver.status(&ObjectRef::new(ObjectKind::HTTPRoute, "shop", "simple")) {
        Some((_, StatusValue::HttpRoute(verdict))) => verdict.clone(),
        other => panic!("{other:?}"),
    }
}

fn time(text: &str) -> Time {
    serde_json::from_value(json!(text)).expect("a time")
}

fn foreign_parent() -> HttpRouteStatusParents {
    let parent = json!({
        "parentRef": {"name": "other"}, "controllerName": "example.com/other",
        "conditions": [{"type": "Accepted", "status": "True", "reason": "Any", "message": "", "observedGeneration": 9,
            "lastTransitionTime": "2020-01-01T00:00:00Z"}],
    });
    serde_json::from_value(parent).expect("an entry")
}

fn find<'a>(conditions: &'a [Condition], kind: &str) -> &'a Condition {
    conditions.iter().find(|condition| condition.type_ == kind).expect("the condition is there")
}

#[test]
fn foreign_parents_and_transition_times_stay() {
    let previous = HttpRouteStatus { parents: vec![foreign_parent()] };
    let (first, later) = (time("2026-01-01T00:00:00Z"), time("2026-01-02T00:00:00Z"));
    let written = http_route_status(Some(&route_verdict()), OURS, Some(&previous), &first);
    assert_eq!(written.parents.len(), 2);
    assert_eq!(written.parents[0], foreign_parent());
    assert_eq!(written.parents[1].controller_name, OURS);
    assert_eq!(find(&written.parents[1].conditions, "Accepted").observed_generation, Some(3));
    let again = http_route_status(Some(&route_verdict()), OURS, Some(&written), &later);
    assert_eq!(again, written, "an unchanged verdict writes the same bytes");
    let gone = http_route_status(None, OURS, Some(&again), &later);
    assert_eq!(gone.parents, [foreign_parent()]);
}

#[test]
fn an_older_verdict_never_overwrites_a_newer_one() {
    let now = time("2026-01-01T00:00:00Z");
    let mut written = http_route_status(Some(&route_verdict()), OURS, None, &now);
    written.parents[0].conditions[0].observed_generation = Some(8);
    written.parents[0].conditions[0].status = "False".to_owned();
    let again = http_route_status(Some(&route_verdict()), OURS, Some(&written), &now);
    assert_eq!(again.parents[0].conditions[0], written.parents[0].conditions[0]);
}

#[test]
fn a_gateway_is_programmed_when_served_and_addressed() {
    let now = time("2026-01-01T00:00:00Z");
    let programmed = |facts: GatewayFacts, previous: Option<&GatewayStatus>| {
        let status = gateway_status(&gateway_verdict(), &facts, previous, &now);
        let of = |conditions: &[Condition]| {
            let found = find(conditions, "Programmed");
            format!("{} {}", found.status, found.reason)
        };
        let listeners = status.listeners.as_deref().expect("listeners");
        (of(status.conditions.as_deref().expect("conditions")), of(&listeners[0].conditions), status)
    };
    let addresses = vec!["192.0.2.1".to_owned(), "edge.example".to_owned()];
    let (gateway, listener, status) =
        programmed(GatewayFacts { programmed: Programmed::Yes, addresses: addresses.clone() }, None);
    assert_eq!((gateway.as_str(), listener.as_str()), ("True Programmed", "True Programmed"));
    let types: Vec<_> = status.addresses.iter().flatten().map(|address| address.r#type.as_deref()).collect();
    assert_eq!(types, [Some("IPAddress"), Some("Hostname")]);
    let (gateway, listener, _) =
        programmed(GatewayFacts { programmed: Programmed::Yes, addresses: Vec::new() }, Some(&status));
    assert_eq!((gateway.as_str(), listener.as_str()), ("False AddressNotAssigned", "True Programmed"));
    let waiting = Programmed::Pending("0 of 2 gateways have it".to_owned());
    let (gateway, listener, _) = programmed(GatewayFacts { programmed: waiting, addresses }, Some(&status));
    assert_eq!((gateway.as_str(), listener.as_str()), ("False Pending", "False Pending"));
}

#[test]
fn conditions_of_others_on_a_gateway_stay() {
    let now = time("2026-01-01T00:00:00Z");
    let facts = GatewayFacts { programmed: Programmed::Yes, addresses: Vec::new() };
    let mut previous = gateway_status(&gateway_verdict(), &facts, None, &now);
    let foreign =
        Condition { type_: "example.com/Audited".to_owned(), ..foreign_parent().conditions[0].clone() };
    previous.conditions.get_or_insert_default().push(foreign.clone());
    let written = gateway_status(&gateway_verdict(), &facts, Some(&previous), &now);
    assert_eq!(find(written.conditions.as_deref().expect("conditions"), "example.com/Audited"), &foreign);
}

#[test]
fn a_condition_that_no_longer_holds_goes() {
    let now = time("2026-01-01T00:00:00Z");
    let mut previous = http_route_status(Some(&route_verdict()), OURS, None, &now);
    let stale =
        Condition { type_: "PartiallyInvalid".to_owned(), ..previous.parents[0].conditions[0].clone() };
    previous.parents[0].conditions.push(stale);
    let written = http_route_status(Some(&route_verdict()), OURS, Some(&previous), &now);
    assert_eq!(written.parents[0].conditions.len(), 2, "{written:?}");
}
