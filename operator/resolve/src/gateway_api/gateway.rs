// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Gateway: whose it is, its listeners, and the verdict on the whole.

use super::listeners::{declare, refuse_client_validation};
use crate::fleet::FleetFacts;
use crate::status::{Condition, ConditionStatus, ConditionType, ListenerVerdict, Reason, Verdict};
use crate::target::{GatewayInfo, Target, TargetOutcome, judge, ports};
use crate::view::View;
use crds::gateway_api::Gateway;
use operator_ir::{GatewayId, ObjectKind, ObjectRef};
use std::sync::Arc;

/// None: the Gateway's class is another controller's, or no config source of the fleet selects it.
pub(crate) fn resolve_gateway(gateway: &Gateway, view: &mut View<'_>) -> Option<TargetOutcome> {
    let namespace = gateway.metadata.namespace.as_deref().unwrap_or_default();
    let name = gateway.metadata.name.as_deref().unwrap_or_default();
    let object = ObjectRef::new(ObjectKind::Gateway, namespace, name);
    let id = GatewayId::for_object(namespace, name);
    let class = view.class(&gateway.spec.gateway_class_name)?;
    let fleet = match &class.fleet {
        Ok(fleet) => Ok(view.fleet(fleet)?),
        Err(problem) => Err(format!("GatewayClass {}: {problem}", gateway.spec.gateway_class_name)),
    };
    if let Ok(fleet) = &fleet
        && !selected(fleet, &gateway.spec.gateway_class_name, namespace, view)
    {
        return None;
    }
    let generation = gateway.metadata.generation.unwrap_or_default();
    let mut declared: Vec<_> =
        gateway.spec.listeners.iter().map(|listener| declare(listener, namespace, view)).collect();
    refuse_client_validation(gateway, &mut declared);
    let (listeners, mut verdicts) = judge(declared, generation);
    let refused = refusal(gateway, &id, fleet.as_ref().err().cloned(), view);
    let active = refused.is_none();
    if !active {
        verdicts.iter_mut().for_each(hold_back);
    }
    let mut conditions = conditions(refused, &verdicts, generation);
    conditions.extend(client_certificate(gateway, generation));
    let ports = ports(&listeners);
    let info = info(gateway, &object, fleet.as_ref().ok().map(|fleet| &fleet.object), ports);
    let plugins = fleet.map(|fleet| fleet.plugins.clone()).unwrap_or_default();
    let target = Arc::new(Target { object: Arc::new(object), gateway: Arc::new(id), active, listeners });
    Some(TargetOutcome {
        target,
        generation,
        conditions,
        listeners: verdicts,
        problems: Vec::new(),
        plugins,
        info,
    })
}

fn selected(fleet: &FleetFacts, class: &str, namespace: &str, view: &mut View<'_>) -> bool {
    if fleet.gateways == crate::fleet::ClassSelection::Ours {
        return true;
    }
    match fleet.gateways.named(class) {
        Some(Some(selector)) => selector.selects(&view.namespace_labels(namespace)),
        Some(None) => true,
        None => false,
    }
}

/// Why the Gateway as a whole is not served; none where it is.
fn refusal(
    gateway: &Gateway,
    id: &GatewayId,
    class_problem: Option<String>,
    view: &mut View<'_>,
) -> Option<Verdict> {
    if let Some(problem) = class_problem {
        return Some(Verdict::no(Reason::InvalidParameters, problem));
    }
    let infrastructure = gateway.spec.infrastructure.as_ref();
    if let Some(parameters) = infrastructure.and_then(|infrastructure| infrastructure.parameters_ref.as_ref())
    {
        let found = format!("{}/{} {}", parameters.group, parameters.kind, parameters.name);
        let message =
            format!("infrastructure.parametersRef: {found} is not supported; configure the GatewayFleet");
        return Some(Verdict::no(Reason::InvalidParameters, message));
    }
    let mut addresses = gateway.spec.addresses.iter().flatten();
    let unsupported = addresses.find(|address| {
        !matches!(address.r#type.as_deref().unwrap_or("IPAddress"), "IPAddress" | "Hostname")
    });
    if let Some(address) = unsupported {
        let found = address.r#type.as_deref().unwrap_or_default();
        let message = format!("addresses: type {found} is not supported; IPAddress and Hostname are");
        return Some(Verdict::no(Reason::UnsupportedAddress, message));
    }
    let namesake = view.fleets().find(|fleet| fleet.own_gateway().as_ref() == Some(id))?;
    let message = format!("{} has a gateway of its own with this name; rename the Gateway", namesake.object);
    Some(Verdict::no(Reason::Invalid, message))
}

/// The gateway's own certificate towards backends is not served; backends that ask for it refuse the connection.
fn client_certificate(gateway: &Gateway, generation: i64) -> Option<Condition> {
    gateway.spec.tls.as_ref()?.backend.as_ref()?.client_certificate_ref.as_ref()?;
    let message = "tls.backend.clientCertificateRef is not served yet";
    let verdict = Verdict::no(Reason::UnsupportedValue, message);
    Some(Condition::new(ConditionType::ResolvedRefs, generation, verdict))
}

fn conditions(refused: Option<Verdict>, listeners: &[ListenerVerdict], generation: i64) -> Vec<Condition> {
    let holds = |listener: &ListenerVerdict, kind: ConditionType| {
        let found = listener.conditions.iter().find(|condition| condition.kind == kind);
        found.is_some_and(|condition| condition.status == ConditionStatus::True)
    };
    let valid = listeners.iter().filter(|listener| holds(listener, ConditionType::Accepted)).count();
    let programmed = listeners.iter().any(|listener| holds(listener, ConditionType::Programmed));
    let accepted = match refused {
        Some(refused) => refused,
        None if valid == 0 => Verdict::no(Reason::ListenersNotValid, "no listener is valid, see listeners"),
        None if valid < listeners.len() => Verdict {
            holds: true,
            reason: Reason::ListenersNotValid,
            message: format!(
                "{} of {} listeners are not valid, see listeners",
                listeners.len() - valid,
                listeners.len()
            ),
        },
        None => Verdict::yes(Reason::Accepted),
    };
    let programmed = if accepted.holds && programmed {
        Verdict::yes(Reason::Programmed)
    } else {
        Verdict::no(Reason::Invalid, "nothing of it can be served, see Accepted and listeners")
    };
    vec![
        Condition::new(ConditionType::Accepted, generation, accepted),
        Condition::new(ConditionType::Programmed, generation, programmed),
    ]
}

/// A listener of a Gateway that is refused is not served either.
fn hold_back(listener: &mut ListenerVerdict) {
    for condition in &mut listener.conditions {
        if condition.kind == ConditionType::Programmed {
            let verdict = Verdict::no(Reason::Invalid, "the Gateway is not accepted, see its conditions");
            *condition = Condition::new(condition.kind, condition.observed_generation, verdict);
        }
    }
}

fn info(gateway: &Gateway, object: &ObjectRef, fleet: Option<&ObjectRef>, ports: Vec<u16>) -> GatewayInfo {
    let infrastructure = gateway.spec.infrastructure.clone();
    let (labels, annotations) = infrastructure
        .map(|infrastructure| (infrastructure.labels, infrastructure.annotations))
        .unwrap_or_default();
    let addresses = gateway.spec.addresses.iter().flatten();
    GatewayInfo {
        object: object.clone(),
        fleet: fleet.unwrap_or(object).clone(),
        ports,
        labels: labels.unwrap_or_default(),
        annotations: annotations.unwrap_or_default(),
        addresses: addresses
            .map(|address| {
                (address.r#type.clone().unwrap_or_else(|| "IPAddress".to_owned()), address.value.clone())
            })
            .collect(),
    }
}
