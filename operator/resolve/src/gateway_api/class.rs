// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! GatewayClass: whether it is ours, and whose fleet its Gateways belong to.

use super::features::SUPPORTED_FEATURES;
use crate::status::{Condition, ConditionType, GatewayClassVerdict, Reason, Verdict};
use crate::view::View;
use crds::gateway_api::GatewayClass;
use operator_ir::{ObjectKind, ObjectRef};

/// A GatewayClass of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClassOutcome {
    /// The fleet that its Gateways belong to, or why there is none.
    pub(crate) fleet: Result<ObjectRef, String>,
}

/// None: the class belongs to another controller, or to a fleet that is not this resolver's.
pub(crate) fn resolve_class(
    class: &GatewayClass,
    view: &mut View<'_>,
) -> Option<(ClassOutcome, GatewayClassVerdict)> {
    if class.spec.controller_name != view.options.controller_name {
        return None;
    }
    let named = named_fleet(class);
    if let (Some(Ok(named)), Some(only)) = (&named, &view.options.fleet)
        && named != only
    {
        return None;
    }
    let fleet = match named {
        Some(Ok(named)) => match view.fleet(&named) {
            Some(_) => Ok(named),
            None => Err(format!("spec.parametersRef: there is no {named}")),
        },
        Some(Err(problem)) => Err(problem),
        None => only_fleet(view),
    };
    let accepted = match &fleet {
        Ok(_) => Verdict::yes(Reason::Accepted),
        Err(problem) => Verdict::no(Reason::InvalidParameters, problem.clone()),
    };
    let supported_features = if fleet.is_ok() { SUPPORTED_FEATURES.to_vec() } else { Vec::new() };
    let generation = class.metadata.generation.unwrap_or_default();
    let conditions = vec![Condition::new(ConditionType::Accepted, generation, accepted)];
    Some((ClassOutcome { fleet }, GatewayClassVerdict { conditions, supported_features }))
}

fn named_fleet(class: &GatewayClass) -> Option<Result<ObjectRef, String>> {
    let parameters = class.spec.parameters_ref.as_ref()?;
    if parameters.group != "gatefleet.dev" || parameters.kind != "GatewayFleet" {
        let found = format!("{} of group \"{}\"", parameters.kind, parameters.group);
        return Some(Err(format!(
            "spec.parametersRef must name a GatewayFleet of gatefleet.dev, not a {found}"
        )));
    }
    let Some(namespace) = parameters.namespace.clone().filter(|namespace| !namespace.is_empty()) else {
        return Some(Err("spec.parametersRef.namespace must be the GatewayFleet's namespace".to_owned()));
    };
    Some(Ok(ObjectRef::new(ObjectKind::GatewayFleet, namespace, parameters.name.clone())))
}

/// A class that names no fleet means the only one.
fn only_fleet(view: &mut View<'_>) -> Result<ObjectRef, String> {
    let mut fleets = view.fleets();
    match (fleets.next(), fleets.next()) {
        (Some(fleet), None) => Ok(fleet.object.clone()),
        (None, _) => Err("there is no GatewayFleet; make one and name it in spec.parametersRef".to_owned()),
        _ => Err("there are several GatewayFleets; name one in spec.parametersRef".to_owned()),
    }
}
