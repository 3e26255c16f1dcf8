// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A resolver's state as text for people: the model as YAML, verdicts one condition to a line.

use operator_ir::{GatewayConfig, GatewayId, ObjectRef};
use operator_resolve::status::{Condition, ListenerVerdict, Problem};
use operator_resolve::{Resolver, StatusValue};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One gateway of a `.ir.yaml` file.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct GatewayEntry {
    pub(crate) gateway: GatewayId,
    pub(crate) config: GatewayConfig,
}

pub(crate) fn model(resolver: &Resolver) -> Vec<GatewayEntry> {
    resolver
        .gateways()
        .map(|(gateway, _, config)| GatewayEntry { gateway: gateway.clone(), config: config.clone() })
        .collect()
}

/// Verdicts by object.
pub(crate) fn verdicts(resolver: &Resolver) -> BTreeMap<String, Vec<String>> {
    resolver.statuses().map(|(object, generation, status)| entry(object, generation, status)).collect()
}

fn entry(object: &ObjectRef, generation: i64, status: &StatusValue) -> (String, Vec<String>) {
    let mut lines = Vec::new();
    match status {
        StatusValue::GatewayClass(class) => {
            conditions("", &class.conditions, generation, &mut lines);
            lines.push(format!("supportedFeatures: {}", class.supported_features.len()));
        }
        StatusValue::Gateway(gateway) => {
            lines.extend(gateway.gateway.iter().map(|gateway| format!("becomes {gateway}")));
            conditions("", &gateway.conditions, generation, &mut lines);
            listeners(&gateway.listeners, generation, &mut lines);
        }
        StatusValue::HttpRoute(route) => {
            for parent in &route.parents {
                let parent_ref = serde_json::to_string(&parent.parent_ref).expect("plain data");
                lines.push(format!("parent {parent_ref}"));
                conditions("  ", &parent.conditions, generation, &mut lines);
            }
        }
        StatusValue::Ingress(ingress) => {
            lines.extend(ingress.gateways.iter().map(|gateway| format!("served by {gateway}")));
            problems(&ingress.problems, &mut lines);
        }
        StatusValue::Fleet(fleet) => {
            listeners(&fleet.listeners, generation, &mut lines);
            problems(&fleet.problems, &mut lines);
        }
    }
    (format!("{object} generation {generation}"), lines)
}

fn listeners(listeners: &[ListenerVerdict], generation: i64, lines: &mut Vec<String>) {
    for listener in listeners {
        let kinds = listener.supported_kinds.join(",");
        lines.push(format!("listener {} kinds [{kinds}] routes {}", listener.name, listener.attached_routes));
        conditions("  ", &listener.conditions, generation, lines);
    }
}

fn conditions(indent: &str, conditions: &[Condition], generation: i64, lines: &mut Vec<String>) {
    for condition in conditions {
        assert_eq!(condition.observed_generation, generation, "{condition:?}");
        let (kind, status, reason) =
            (condition.kind.as_str(), condition.status.as_str(), condition.reason.as_str());
        let message =
            if condition.message.is_empty() { String::new() } else { format!(" - {}", condition.message) };
        lines.push(format!("{indent}{kind} {status} {reason}{message}"));
    }
}

fn problems(problems: &[Problem], lines: &mut Vec<String>) {
    lines.extend(problems.iter().map(|problem| {
        format!("problem {} at {}: {}", problem.reason.as_str(), problem.origin, problem.message)
    }));
}
