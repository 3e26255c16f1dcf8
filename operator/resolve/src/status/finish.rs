// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The last step of a Gateway's verdict: what the proxies report joins what the specification decides.

use super::{Condition, ConditionStatus, ConditionType, GatewayVerdict, Reason};

/// What is known of a gateway's workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayFacts {
    /// Whether proxies serve it.
    pub programmed: Programmed,
    /// Where it is reached: IP addresses and hostnames.
    pub addresses: Vec<String>,
}

/// Whether proxies serve a gateway's current configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Programmed {
    /// At least one does in every cluster that is reached.
    Yes,
    /// It is on its way; what is waited for.
    Pending(String),
    /// No proxy is there; why.
    NoResources(String),
}

/// Completes a verdict: a Gateway is `Programmed` once its specification is, proxies serve it and it has an address; its
/// listeners are as soon as proxies serve them.
#[must_use]
pub fn finish_gateway(verdict: &GatewayVerdict, facts: &GatewayFacts) -> GatewayVerdict {
    let mut finished = verdict.clone();
    let obstacle = match &facts.programmed {
        Programmed::Yes => None,
        Programmed::Pending(message) => Some((Reason::Pending, message.clone())),
        Programmed::NoResources(message) => Some((Reason::NoResources, message.clone())),
    };
    let no_address = || {
        let message = "the gateway's Service has no address yet".to_owned();
        facts.addresses.is_empty().then_some((Reason::AddressNotAssigned, message))
    };
    hold_back(&mut finished.conditions, obstacle.clone().or_else(no_address));
    for listener in &mut finished.listeners {
        // Listeners have no reason of their own for missing proxies (Gateway API, `ListenerConditionProgrammed`).
        hold_back(&mut listener.conditions, obstacle.clone().map(|(_, message)| (Reason::Pending, message)));
    }
    finished
}

fn hold_back(conditions: &mut [Condition], obstacle: Option<(Reason, String)>) {
    let Some((reason, message)) = obstacle else { return };
    for condition in conditions {
        if condition.kind == ConditionType::Programmed && condition.status == ConditionStatus::True {
            condition.status = ConditionStatus::False;
            condition.reason = reason;
            condition.message.clone_from(&message);
        }
    }
}
