// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Fields that are set and have no effect yet are told.

use crds::{GatewayFleet, pending_fields};
use std::path::PathBuf;

fn fleet(name: &str) -> GatewayFleet {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/accepted").join(name);
    serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn a_minimal_fleet_has_none() {
    assert_eq!(pending_fields(&fleet("minimal.yaml").spec), Vec::<String>::new());
}

#[test]
fn a_fleet_with_every_field() {
    let expected = [
        "spec.plugins[waf].ref",
        "spec.plugins[stats].oci.verify",
        "spec.configSources[base].oci",
        "spec.rollout.withinCluster",
        "spec.rollout.preflight",
        "spec.rollout.gates.metrics",
        "spec.rollout.lanes.routes",
        "spec.template.metrics.monitor",
        "spec.failover",
    ];
    let pending = pending_fields(&fleet("every-field.yaml").spec);
    assert_eq!(pending, expected);
}
