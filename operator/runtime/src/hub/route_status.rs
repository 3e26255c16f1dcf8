// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Writes what routing objects' owners are told: GatewayClass, Gateway, HTTPRoute, Ingress.

use super::routing::{Routing, Seen};
use super::time;
use super::writer::Writer;
use crds::gateway_api::{Gateway, GatewayClass, HttpRoute};
use jiff::Timestamp;
use k8s_openapi::api::networking::v1::{
    Ingress, IngressLoadBalancerIngress, IngressLoadBalancerStatus, IngressStatus,
};
use operator_ir::{GatewayId, ObjectKind, ObjectRef};
use operator_resolve::status::{
    GatewayFacts, IngressVerdict, Programmed, RouteVerdict, gateway_class_status, gateway_status,
    http_route_status,
};
use operator_resolve::{StatusChange, StatusValue};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What is known of each gateway's workloads, over all clusters.
pub(super) type Facts = BTreeMap<GatewayId, GatewayFacts>;

/// Writes these verdicts, each where it differs from what is there.
pub(super) fn write(changes: &[StatusChange], routing: &Routing, facts: &Facts, writer: &Writer) {
    let now = Timestamp::now();
    for change in changes {
        match &change.status {
            Some(StatusValue::GatewayClass(verdict)) => {
                if let Some(class) = routing.seen.classes.get(&change.object.name) {
                    let status = gateway_class_status(verdict, class.status.as_ref(), &time(now));
                    if class.status.as_ref() != Some(&status) {
                        let spec = GatewayClass { status: Some(status), ..class.as_ref().clone() };
                        writer.status(spec);
                    }
                }
            }
            Some(StatusValue::Gateway(verdict)) => {
                let pending = || GatewayFacts {
                    programmed: Programmed::Pending("no cluster runs it yet".to_owned()),
                    addresses: Vec::new(),
                };
                let facts =
                    verdict.gateway.as_ref().and_then(|id| facts.get(id)).cloned().unwrap_or_else(pending);
                if let Some(gateway) = routing.seen.gateways.get(&key(&change.object)) {
                    let status = gateway_status(verdict, &facts, gateway.status.as_ref(), &time(now));
                    if gateway.status.as_ref() != Some(&status) {
                        writer.status(Gateway { status: Some(status), ..gateway.as_ref().clone() });
                    }
                }
            }
            Some(StatusValue::HttpRoute(verdict)) => {
                route(&change.object, Some(verdict), &routing.seen, writer)
            }
            Some(StatusValue::Ingress(verdict)) => {
                ingress(&change.object, verdict, &routing.seen, facts, writer)
            }
            // Part of the fleet's own status.
            Some(StatusValue::Fleet(_)) => {}
            None if change.object.kind == ObjectKind::HTTPRoute => {
                route(&change.object, None, &routing.seen, writer)
            }
            None => {}
        }
    }
}

/// Parents of other controllers stay: the newest object is read, and only our entries change.
fn route(object: &ObjectRef, verdict: Option<&RouteVerdict>, seen: &Seen, writer: &Writer) {
    let Some(live) = seen.routes.get(&key(object)) else { return };
    let verdict = verdict.cloned();
    let wanted = http_route_status(
        verdict.as_ref(),
        crds::CONTROLLER_NAME,
        live.status.as_ref(),
        &time(Timestamp::now()),
    );
    if live.status.as_ref() == Some(&wanted) || (live.status.is_none() && wanted.parents.is_empty()) {
        return;
    }
    let wanted = HttpRoute { status: Some(wanted), ..live.as_ref().clone() };
    writer.merge_status(&wanted, move |newest: &mut HttpRoute| {
        let now = time(Timestamp::now());
        let status = http_route_status(verdict.as_ref(), crds::CONTROLLER_NAME, newest.status.as_ref(), &now);
        let differs = newest.status.as_ref() != Some(&status);
        newest.status = Some(status);
        differs
    });
}

/// The addresses of the gateways that serve it.
fn ingress(object: &ObjectRef, verdict: &IngressVerdict, seen: &Seen, facts: &Facts, writer: &Writer) {
    let Some(live) = seen.ingresses.get(&key(object)) else { return };
    let addresses =
        verdict.gateways.iter().filter_map(|gateway| facts.get(gateway)).flat_map(|facts| &facts.addresses);
    let ingress: Vec<_> = addresses
        .map(|address| {
            let is_ip = address.parse::<IpAddr>().is_ok();
            IngressLoadBalancerIngress {
                ip: is_ip.then(|| address.clone()),
                hostname: (!is_ip).then(|| address.clone()),
                ports: None,
            }
        })
        .collect();
    let before = live.status.as_ref().and_then(|s| s.load_balancer.as_ref()).and_then(|l| l.ingress.clone());
    if before.unwrap_or_default() == ingress {
        return;
    }
    let status = IngressStatus { load_balancer: Some(IngressLoadBalancerStatus { ingress: Some(ingress) }) };
    writer.status(Ingress { status: Some(status), ..live.as_ref().clone() });
}

fn key(object: &ObjectRef) -> (String, String) {
    (object.namespace.clone(), object.name.clone())
}
