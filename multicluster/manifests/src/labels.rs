// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Labels of a member's objects.

use crate::{GatewayWorkload, MemberInput, WorkloadOwner};
use std::collections::BTreeMap;

/// Labels by key.
pub(crate) type Labels = BTreeMap<String, String>;

/// The labels that every object of a fleet in a cluster carries.
#[must_use]
pub fn member_labels(input: &MemberInput) -> BTreeMap<String, String> {
    [
        ("app.kubernetes.io/part-of", "gatefleet"),
        (crds::LABEL_MANAGED_BY, crds::MANAGED_BY),
        (crds::LABEL_FLEET, &input.fleet.name),
        (crds::LABEL_FLEET_NAMESPACE, &input.fleet.namespace),
        (crds::LABEL_FLEET_UID, &input.fleet.uid),
        (crds::LABEL_CLUSTER, &input.cluster),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect()
}

/// Label selector for everything of one fleet in a cluster, also for an administrator who cleans up without a hub.
#[must_use]
pub fn inventory_selector(fleet_namespace: &str, fleet: &str) -> String {
    format!(
        "{}={},{}={fleet_namespace},{}={fleet}",
        crds::LABEL_MANAGED_BY,
        crds::MANAGED_BY,
        crds::LABEL_FLEET_NAMESPACE,
        crds::LABEL_FLEET
    )
}

/// Labels of one component's objects.
pub(crate) fn component(input: &MemberInput, component: &str, instance: &str) -> Labels {
    let mut labels = member_labels(input);
    labels.insert("app.kubernetes.io/name".to_owned(), format!("gatefleet-{component}"));
    labels.insert("app.kubernetes.io/instance".to_owned(), instance.to_owned());
    labels.insert(crds::LABEL_COMPONENT.to_owned(), component.to_owned());
    labels
}

/// Labels of a gateway's objects. The user's come first: ours win, since selectors rest on them.
pub(crate) fn gateway(input: &MemberInput, workload: &GatewayWorkload) -> Labels {
    let mut labels = workload.labels.clone();
    labels.extend(component(input, "gateway", &workload.id.name));
    labels.insert(crds::LABEL_GATEWAY.to_owned(), workload.id.name.clone());
    labels.insert(crds::LABEL_GATEWAY_NAME.to_owned(), gateway_name(workload));
    labels
}

/// What selects the pods of a gateway; never changes during its life.
pub(crate) fn gateway_selector(input: &MemberInput, workload: &GatewayWorkload) -> Labels {
    Labels::from([
        (crds::LABEL_FLEET.to_owned(), input.fleet.name.clone()),
        (crds::LABEL_FLEET_NAMESPACE.to_owned(), input.fleet.namespace.clone()),
        (crds::LABEL_GATEWAY.to_owned(), workload.id.name.clone()),
    ])
}

/// What selects the pods of the relay.
pub(crate) fn relay_selector(input: &MemberInput) -> Labels {
    Labels::from([
        (crds::LABEL_FLEET.to_owned(), input.fleet.name.clone()),
        (crds::LABEL_FLEET_NAMESPACE.to_owned(), input.fleet.namespace.clone()),
        (crds::LABEL_COMPONENT.to_owned(), "relay".to_owned()),
    ])
}

fn gateway_name(workload: &GatewayWorkload) -> String {
    match &workload.owner {
        WorkloadOwner::Fleet => workload.id.name.clone(),
        WorkloadOwner::Gateway { name } => crate::shortened(name),
    }
}
