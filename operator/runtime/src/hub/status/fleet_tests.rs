// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The fleet's summary and its conditions, as kstatus and `kubectl wait` read them.

use super::{FleetView, fleet_status};
use crate::hub::time;
use crds::conditions::{self, ConditionType, Reason, Statement, find};
use crds::gateway_fleet::RolloutPhase;
use crds::{ConfigStatus, FleetMemberStatus, GatewayFleet, GatewayFleetStatus, ReplicaStatus};
use jiff::Timestamp;
use multicluster_rollout::Plan;
use std::collections::BTreeMap;

fn fleet() -> GatewayFleet {
    serde_json::from_value(serde_json::json!({"apiVersion": "gatefleet.dev/v1alpha1", "kind": "GatewayFleet",
        "metadata": {"name": "edge", "namespace": "n", "generation": 7}, "spec": {"clusters": {"names": ["a"]}}}))
    .unwrap()
}

fn plan(complete: bool, phase: RolloutPhase) -> Plan {
    Plan {
        pins: BTreeMap::new(),
        target: Some("edge-r2".into()),
        complete,
        within_unreachable_budget: true,
        phase,
        wave: None,
        waves: Vec::new(),
        message: "in words".into(),
        pause: None,
        quarantine: Vec::new(),
        requeue_after: None,
        events: Vec::new(),
    }
}

fn member(ready: bool, reachable: bool) -> FleetMemberStatus {
    let mut status = FleetMemberStatus {
        passed_revision: Some("edge-r2".into()),
        replicas: Some(ReplicaStatus { desired: 2, ready: 2, updated: 2 }),
        config: Some(ConfigStatus { connected: 2, acked: 2, ..ConfigStatus::default() }),
        ..FleetMemberStatus::default()
    };
    let now = time(Timestamp::UNIX_EPOCH);
    let reach = if reachable { Reason::Connected } else { Reason::Unreachable };
    conditions::set(
        &mut status.conditions,
        Statement::new(ConditionType::Reachable, reachable, reach, "x"),
        1,
        &now,
    );
    let reason = if ready { Reason::Healthy } else { Reason::ImagePullFailed };
    conditions::set(
        &mut status.conditions,
        Statement::new(ConditionType::Ready, ready, reason, "image x"),
        1,
        &now,
    );
    status
}

fn status(
    members: &[(&str, FleetMemberStatus)],
    plan: &Plan,
    problems: &[(Reason, String)],
) -> GatewayFleetStatus {
    let members = members.iter().map(|(name, status)| ((*name).to_owned(), status.clone())).collect();
    let view = FleetView {
        members: &members,
        plan,
        active: None,
        quarantined: &[],
        orphaned: 0,
        problems,
        overrides: None,
    };
    fleet_status(&fleet(), &view, Timestamp::now())
}

fn truth(status: &GatewayFleetStatus, kind: ConditionType) -> Option<(String, String)> {
    find(&status.conditions, kind).map(|c| {
        assert_eq!(c.observed_generation, Some(7));
        (c.status.clone(), c.reason.clone())
    })
}

fn pair(a: &str, b: &str) -> Option<(String, String)> {
    Some((a.to_owned(), b.to_owned()))
}

#[test]
fn complete_is_ready_and_neither_reconciling_nor_stalled() {
    let status = status(&[("a", member(true, true))], &plan(true, RolloutPhase::Complete), &[]);
    assert_eq!(status.observed_generation, 7);
    assert_eq!(truth(&status, ConditionType::Ready), pair("True", "RolledOut"));
    assert_eq!(truth(&status, ConditionType::Available), pair("True", "Serving"));
    assert_eq!(truth(&status, ConditionType::Reconciling), None);
    assert_eq!(truth(&status, ConditionType::Stalled), None);
    let display = status.display.unwrap();
    assert_eq!((display.updated.as_str(), display.acked.as_str()), ("1/1", "2/2"));
}

#[test]
fn an_unreachable_cluster_within_budget_leaves_it_ready_and_is_counted_apart() {
    let members = [("a", member(true, true)), ("b", member(false, false))];
    let status = status(&members, &plan(true, RolloutPhase::Complete), &[]);
    assert_eq!(truth(&status, ConditionType::Ready), pair("True", "RolledOutExceptUnreachable"));
    assert_eq!(status.clusters.unwrap().unreachable, 1);
    assert_eq!(status.gateways.unwrap().unknown, 2);
    assert_eq!(status.attention[0].cluster, "b");
}

#[test]
fn progress_names_the_trouble_of_a_member() {
    let status = status(&[("a", member(false, true))], &plan(false, RolloutPhase::Progressing), &[]);
    assert_eq!(truth(&status, ConditionType::Ready), pair("False", "Progressing"));
    assert!(find(&status.conditions, ConditionType::Ready).unwrap().message.contains("image x"));
    assert_eq!(truth(&status, ConditionType::Reconciling), pair("True", "Progressing"));
}

#[test]
fn a_rollback_is_stalled_but_available() {
    let status = status(&[("a", member(true, true))], &plan(false, RolloutPhase::RolledBack), &[]);
    assert_eq!(truth(&status, ConditionType::Ready), pair("False", "RolledBack"));
    assert_eq!(truth(&status, ConditionType::Stalled), pair("True", "RolledBack"));
    assert_eq!(truth(&status, ConditionType::Available), pair("True", "Serving"));
    assert_eq!(truth(&status, ConditionType::Reconciling), None);
}

#[test]
fn what_is_wrong_with_the_spec_is_told_and_goes_away() {
    let problems = [(Reason::UnknownCluster, "no FleetCluster b".to_owned())];
    let bad = status(&[("a", member(true, true))], &plan(true, RolloutPhase::Complete), &problems);
    assert_eq!(truth(&bad, ConditionType::Ready), pair("False", "UnknownCluster"));
    assert_eq!(truth(&bad, ConditionType::Stalled), pair("True", "UnknownCluster"));
    let mut fleet = fleet();
    fleet.status = Some(bad);
    let members = BTreeMap::from([("a".to_owned(), member(true, true))]);
    let plan = plan(true, RolloutPhase::Complete);
    let view = FleetView {
        members: &members,
        plan: &plan,
        active: None,
        quarantined: &[],
        orphaned: 0,
        problems: &[],
        overrides: None,
    };
    let good = fleet_status(&fleet, &view, Timestamp::now());
    assert_eq!(truth(&good, ConditionType::Ready), pair("True", "RolledOut"));
    assert_eq!(truth(&good, ConditionType::Stalled), None);
}
