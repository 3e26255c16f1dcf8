// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The template of one cluster: overrides merged and validated again.

use crate::ManifestError;
use crds::gateway_fleet::{ObjectPatch, Template};
use crds::selection::{self, Labels};
use crds::validation::{Checker, Violation};
use crds::{GatewayFleet, merge_named};
use serde_json::Value;

/// A fleet's template for one cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// The merged template.
    pub template: Template,
    /// The patches of matching overrides, each with the override's name, in order.
    pub patches: Vec<(String, ObjectPatch)>,
    /// Names of the matching overrides.
    pub overrides: Vec<String>,
}

/// Merges the overrides that match a cluster by name or labels, in order, and checks the result after each of them with
/// the rules of the kind, so that an error names the override that brings it in.
pub fn resolve_template(
    fleet: &GatewayFleet,
    cluster: &str,
    labels: &Labels,
) -> Result<Resolved, ManifestError> {
    let template = fleet.spec.template.clone();
    let mut resolved = Resolved { template, patches: Vec::new(), overrides: Vec::new() };
    let mut checker = None;
    for item in &fleet.spec.overrides {
        if !selection::takes(item.selector.as_ref(), &item.names, cluster, labels) {
            continue;
        }
        resolved.overrides.push(item.name.clone());
        resolved.patches.extend(item.patches.iter().map(|patch| (item.name.clone(), patch.clone())));
        if !item.template.is_empty() {
            let checker = checker.get_or_insert_with(Checker::gateway_fleet);
            resolved.template = merged(fleet, &resolved.template, &item.template.clone().into(), checker)
                .map_err(|violation| ManifestError::OverrideInvalid { name: item.name.clone(), violation })?;
        }
    }
    Ok(resolved)
}

fn merged(
    fleet: &GatewayFleet,
    base: &Template,
    patch: &Value,
    checker: &Checker,
) -> Result<Template, Violation> {
    let unfit = |error: serde_json::Error| Violation {
        field: "spec.template".to_owned(),
        message: error.to_string(),
    };
    let mut template = serde_json::to_value(base).map_err(unfit)?;
    merge_named(&mut template, patch);
    let mut whole = serde_json::to_value(fleet).map_err(unfit)?;
    whole["spec"]["template"] = template.clone();
    // Only the template is in question here: other faults of the fleet are not this override's.
    if let Some(spec) = whole["spec"].as_object_mut() {
        spec.remove("overrides");
    }
    match checker.check(&whole, None).into_iter().next() {
        Some(violation) => Err(violation),
        None => serde_json::from_value(template).map_err(unfit),
    }
}
