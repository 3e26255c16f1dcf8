// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What routes attach to: the listeners of a Gateway or of a fleet's own gateway, in one shape.

mod listeners;
mod pod_ports;

pub(crate) use listeners::{Declared, judge};

use crate::selector::Selector;
use crate::status::{Condition, ListenerVerdict, Problem};
use operator_ir::{
    Action, DirectResponse, GatewayId, HostPattern, ObjectRef, Origin, PathMatch, Plugin, RequestMatch,
    RouteTableId, Rule, RuleFilters, SecretId, VirtualHost, VirtualHostId,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is known of a Gateway or fleet once it is resolved.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TargetOutcome {
    /// What routes see of it. They are resolved anew only when this part changes.
    pub(crate) target: Arc<Target>,
    pub(crate) generation: i64,
    /// Of the object as a whole.
    pub(crate) conditions: Vec<Condition>,
    /// With no routes attached.
    pub(crate) listeners: Vec<ListenerVerdict>,
    pub(crate) problems: Vec<Problem>,
    /// On every request, in order.
    pub(crate) plugins: Vec<Plugin>,
    pub(crate) info: GatewayInfo,
}

/// What the workload of a gateway is to look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayInfo {
    /// The Gateway, or the GatewayFleet whose own gateway this is.
    pub object: ObjectRef,
    /// The fleet that it belongs to.
    pub fleet: ObjectRef,
    /// Ports of accepted listeners, each once, ascending. They stay while a certificate is missing. May be empty.
    pub ports: Vec<u16>,
    /// `spec.infrastructure.labels` of the Gateway.
    pub labels: BTreeMap<String, String>,
    /// `spec.infrastructure.annotations` of the Gateway.
    pub annotations: BTreeMap<String, String>,
    /// `spec.addresses` of the Gateway: type and value, where given.
    pub addresses: Vec<(String, Option<String>)>,
}

/// Listeners and who may use them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) object: Arc<ObjectRef>,
    pub(crate) gateway: Arc<GatewayId>,
    /// Whether it is served at all.
    pub(crate) active: bool,
    pub(crate) listeners: Vec<TargetListener>,
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TargetListener {
    pub(crate) name: Arc<str>,
    pub(crate) port: u16,
    pub(crate) protocol: Protocol,
    pub(crate) hostname: HostPattern,
    pub(crate) namespaces: AllowedNamespaces,
    /// Whether HTTPRoutes may attach.
    pub(crate) http_routes: bool,
    /// Whether it is valid by itself and beside the others.
    pub(crate) accepted: bool,
    /// Whether the proxies open it: accepted, with a certificate where one is needed.
    pub(crate) serving: bool,
    pub(crate) certificates: Vec<SecretId>,
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http,
    Https,
    /// One that is not served.
    Unsupported,
}

/// From which namespaces routes may attach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AllowedNamespaces {
    All,
    Only(String),
    Selected(Selector),
}

/// Ports of accepted listeners, each once, ascending.
pub(crate) fn ports(listeners: &[TargetListener]) -> Vec<u16> {
    let ports: BTreeSet<_> =
        listeners.iter().filter(|listener| listener.accepted).map(|listener| listener.port).collect();
    ports.into_iter().collect()
}

impl Target {
    /// The virtual hosts that serve a listener. Plain-text listeners of a port share a table, as only the Host header
    /// tells them apart; each HTTPS listener has its own, as SNI has already chosen it.
    pub(crate) fn route_table(listener: &TargetListener) -> RouteTableId {
        match listener.protocol {
            Protocol::Https => RouteTableId(format!("https-{}-{}", listener.port, listener.name)),
            Protocol::Http | Protocol::Unsupported => RouteTableId(format!("http-{}", listener.port)),
        }
    }

    /// Whether requests for `host` reach this listener, or a more specific one on the same port takes them all
    /// (Gateway API, listener isolation).
    pub(crate) fn reaches(&self, listener: &TargetListener, host: &HostPattern) -> bool {
        !self.listeners.iter().any(|other| {
            other.serving
                && other.port == listener.port
                && other.hostname != listener.hostname
                && listener.hostname.covers(&other.hostname)
                && other.hostname.covers(host)
        })
    }

    /// Virtual hosts that keep the listeners of a port apart, also where no route serves them: on a plain-text port a
    /// host of a narrower listener never falls through to a wider one (404); under TLS a host of another listener than
    /// the one that SNI chose is misdirected (421, RFC 9110 section 15.5.20).
    pub(crate) fn partitions(&self) -> Vec<VirtualHost> {
        let mut hosts = Vec::new();
        for listener in self.listeners.iter().filter(|listener| listener.serving) {
            let others = self.listeners.iter().filter(|other| {
                other.serving && other.port == listener.port && other.hostname != listener.hostname
            });
            let table = Self::route_table(listener);
            match listener.protocol {
                Protocol::Https => hosts.extend(others.map(|other| self.misdirected(&table, other))),
                Protocol::Http => {
                    let mut others = others;
                    if others.any(|other| other.hostname.covers(&listener.hostname)) {
                        let id = VirtualHostId { route_table: table, host: listener.hostname.clone() };
                        hosts.push(VirtualHost { id, rules: Vec::new() });
                    }
                }
                Protocol::Unsupported => {}
            }
        }
        hosts
    }

    fn misdirected(&self, table: &RouteTableId, other: &TargetListener) -> VirtualHost {
        let ObjectRef { kind, namespace, name } = self.object.as_ref();
        let rule = Rule {
            name: format!("{}/{namespace}/{name}/{}/misdirected", kind.as_str().to_lowercase(), other.name),
            origin: Origin { object: self.object.as_ref().clone(), rule: None },
            matches: RequestMatch {
                path: PathMatch::Prefix("/".to_owned()),
                method: None,
                headers: Vec::new(),
                query: Vec::new(),
            },
            action: Action::Respond(DirectResponse { status: 421, body: String::new() }),
            filters: RuleFilters::default(),
        };
        let id = VirtualHostId { route_table: table.clone(), host: other.hostname.clone() };
        VirtualHost { id, rules: vec![rule] }
    }
}
