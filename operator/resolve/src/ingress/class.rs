// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Which fleets take an Ingress.

use crate::facts::IngressClassFacts;
use crate::fleet::{ClassSelection, FleetFacts};
use crate::view::View;
use k8s_openapi::api::networking::v1::Ingress;
use operator_ir::ObjectRef;

/// How class names were written before `spec.ingressClassName`.
const ANNOTATION: &str = "kubernetes.io/ingress.class";

/// The fleets that take an Ingress, by its class: those whose config sources name the class (the empty name stands for
/// Ingresses that have none); without config sources those of our own classes.
pub(super) fn fleets(ingress: &Ingress, view: &mut View<'_>) -> Vec<ObjectRef> {
    let annotations = ingress.metadata.annotations.as_ref();
    let written = ingress
        .spec
        .as_ref()
        .and_then(|spec| spec.ingress_class_name.as_deref())
        .or_else(|| annotations.and_then(|annotations| annotations.get(ANNOTATION)).map(String::as_str))
        .filter(|name| !name.is_empty());
    let (name, class) = match written {
        Some(name) => (name, view.ingress_class(name)),
        None => view.default_ingress_class().map_or(("", None), |(name, class)| (name, Some(class))),
    };
    let namespace = ingress.metadata.namespace.as_deref().unwrap_or_default();
    let fleets: Vec<_> = view.fleets().cloned().collect();
    let takes = |fleet: &&std::sync::Arc<FleetFacts>| {
        let named =
            fleet.ingresses.named(name).or_else(|| fleet.ingresses.named(written.unwrap_or_default()));
        match (named, class.and_then(|class| class.fleet.as_ref())) {
            (_, Some(only)) if *only != fleet.object => false,
            (Some(Some(selector)), _) => selector.selects(&view.namespace_labels(namespace)),
            (Some(None), _) => true,
            (None, only) => {
                let open = fleet.ingresses == ClassSelection::Ours || only.is_some();
                open && is_ours(name, class, view)
            }
        }
    };
    let mut takes = takes;
    fleets.iter().filter(|fleet| takes(fleet)).map(|fleet| fleet.object.clone()).collect()
}

/// Whether a class belongs to us without being named by a fleet.
fn is_ours(name: &str, class: Option<&IngressClassFacts>, view: &View<'_>) -> bool {
    match class {
        Some(class) => class.controller == view.options.ingress_controller_name,
        None => name == view.options.ingress_class_name,
    }
}
