// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Reports as evidence and as status.

use super::{MemberView, addresses, evidence, gateway_facts, member_status};
use crate::hub::member::{ConfigReport, MemberReport};
use crds::conditions::{ConditionType, Reason, find};
use crds::{ClusterMode, FleetMemberStatus, HostSpec, Nack};
use jiff::Timestamp;
use multicluster_apply::{Observed, ProblemReason, WorkloadProblem, WorkloadState};
use multicluster_clusters::{Facts, Reach, UnreachableReason};
use multicluster_manifests::{GatewayPort, GatewayWorkload, PortProtocol, WorkloadId, WorkloadOwner};
use operator_ir::GatewayId;
use operator_resolve::status::Programmed;
use std::collections::BTreeMap;

fn workload() -> GatewayWorkload {
    GatewayWorkload {
        id: WorkloadId { namespace: "n".into(), name: "edge".into() },
        owner: WorkloadOwner::Fleet,
        ports: vec![GatewayPort { port: 80, protocol: PortProtocol::Tcp }],
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        addresses: Vec::new(),
    }
}

fn report(about: &str, ready: i32, acked: usize) -> MemberReport {
    let state = WorkloadState { desired: 2, ready, updated: 2, current: true };
    let mut observed = Observed::default();
    observed.gateways.insert(("n".into(), "edge".into()), state);
    observed.addresses.insert(("n".into(), "edge".into()), ["192.0.2.1".to_owned()].into());
    let mut config = ConfigReport { hash: about.into(), ..ConfigReport::default() };
    config.counts.connected = 2;
    config.counts.acked = acked;
    MemberReport {
        observed: Some(observed),
        config: vec![config],
        pinned: Some("edge-r2".into()),
        ..MemberReport::default()
    }
}

fn view<'a>(report: &'a MemberReport, facts: &'a Facts, workloads: &'a [GatewayWorkload]) -> MemberView<'a> {
    MemberView {
        mode: ClusterMode::Push,
        host: None,
        cluster: Some(facts),
        report,
        desired: None,
        workloads: Some(workloads),
        revision: Some("edge-r2"),
        config_version: Some("r2.1-abc"),
        config_hash: Some("hash-2"),
        wave: None,
        phase: None,
        passed: None,
        last_good: None,
        pinned_since: None,
        last_ack: None,
        obstacle: None,
    }
}

fn reachable() -> Facts {
    Facts { reach: Reach::Reachable { since: Timestamp::UNIX_EPOCH }, ..Facts::default() }
}

fn condition(status: &FleetMemberStatus, kind: ConditionType) -> (String, String, String) {
    let found = find(&status.conditions, kind).unwrap();
    (found.status.clone(), found.reason.clone(), found.message.clone())
}

#[test]
fn acks_of_another_revision_are_no_evidence() {
    let (facts, workloads) = (reachable(), [workload()]);
    for (about, acked) in [("hash-2", 2), ("hash-1", 0), ("", 0)] {
        let report = report(about, 2, 2);
        let found = evidence(&view(&report, &facts, &workloads), Timestamp::now());
        assert_eq!(found.gateways.acked, acked, "{about}");
        assert_eq!(found.gateways.desired, Some(2));
    }
}

#[test]
fn a_gateway_that_is_not_seen_makes_the_number_unknown() {
    let (facts, report) = (reachable(), report("hash-2", 2, 2));
    let mut other = workload();
    other.id.name = "another".into();
    let workloads = [workload(), other];
    assert_eq!(evidence(&view(&report, &facts, &workloads), Timestamp::now()).gateways.desired, None);
}

#[test]
fn trouble_is_named_by_its_own_reason() {
    let (facts, workloads) = (reachable(), [workload()]);
    let mut pulling = report("hash-2", 0, 0);
    pulling.observed.as_mut().unwrap().problems.insert(WorkloadProblem {
        reason: ProblemReason::ImagePullFailed,
        message: "Pod n/p, container gateway, field image: x cannot be pulled".into(),
    });
    let status = member_status(&view(&pulling, &facts, &workloads), None, 1, Timestamp::now());
    let mut rejected = report("hash-2", 2, 0);
    let config = &mut rejected.config[0];
    config.counts.nacked = 1;
    config.nacks = vec![Nack {
        source: "HTTPRoute shop/cart rule 3".into(),
        message: "unclosed group".into(),
        ..Nack::default()
    }];
    let (truth, reason, message) = condition(&status, ConditionType::Ready);
    assert_eq!((truth.as_str(), reason.as_str()), ("False", "ImagePullFailed"));
    assert!(message.contains("0 of 2 gateways ready") && message.contains("field image: x"), "{message}");
    let status = member_status(&view(&rejected, &facts, &workloads), None, 1, Timestamp::now());
    let (truth, reason, message) = condition(&status, ConditionType::ConfigAcked);
    assert_eq!((truth.as_str(), reason.as_str()), ("False", "ConfigRejected"));
    assert!(
        message.contains("HTTPRoute shop/cart rule 3") && message.contains("unclosed group"),
        "{message}"
    );
}

#[test]
fn an_obstacle_is_told_in_applied() {
    let (facts, workloads, report) = (reachable(), [workload()], MemberReport::default());
    let obstacle = (Reason::OverrideInvalid, "override eu: broken".to_owned());
    let view = MemberView { obstacle: Some(&obstacle), ..view(&report, &facts, &workloads) };
    let status = member_status(&view, None, 1, Timestamp::now());
    assert_eq!(condition(&status, ConditionType::Applied).1, "OverrideInvalid");
    assert_eq!(condition(&status, ConditionType::Ready).0, "False");
}

#[test]
fn an_unreachable_cluster_is_unknown_not_bad() {
    let reach = Reach::Unreachable {
        since: Timestamp::UNIX_EPOCH,
        reason: UnreachableReason::TimedOut,
        message: "no answer".into(),
    };
    let (facts, workloads, report) =
        (Facts { reach, ..Facts::default() }, [workload()], report("hash-2", 2, 2));
    let view = view(&report, &facts, &workloads);
    let status = member_status(&view, None, 1, Timestamp::now());
    assert_eq!(condition(&status, ConditionType::Reachable).0, "False");
    assert_eq!(condition(&status, ConditionType::ConfigAcked).0, "Unknown");
    let id = GatewayId { namespace: "n".into(), name: "edge".into() };
    let found = gateway_facts(&id, [("a", view)].into_iter());
    assert!(matches!(found.programmed, Programmed::NoResources(_)));
    assert_eq!(found.addresses, ["192.0.2.1"], "its address is still the last known one");
}

#[test]
fn a_gateway_is_programmed_once_a_proxy_serves_it_in_every_reached_cluster() {
    let id = GatewayId { namespace: "n".into(), name: "edge".into() };
    let (facts, workloads) = (reachable(), [workload()]);
    let (good, bad) = (report("hash-2", 2, 2), report("hash-2", 0, 0));
    let found = gateway_facts(&id, [("a", view(&good, &facts, &workloads))].into_iter());
    assert_eq!(found.programmed, Programmed::Yes);
    let both = [("a", view(&good, &facts, &workloads)), ("b", view(&bad, &facts, &workloads))];
    let Programmed::Pending(text) = gateway_facts(&id, both.into_iter()).programmed else {
        panic!("pending")
    };
    assert!(text.contains("cluster b"));
}

#[test]
fn host_addresses_carry_the_port() {
    let host = HostSpec { address: "127.0.0.2".into(), port_offset: 8000, ..HostSpec::default() };
    let (facts, workloads, report) = (reachable(), [workload()], report("hash-2", 2, 2));
    let view = MemberView { mode: ClusterMode::Host, host: Some(&host), ..view(&report, &facts, &workloads) };
    assert_eq!(addresses(&view), ["127.0.0.2:8080"]);
}

#[test]
fn a_status_without_news_is_the_same() {
    let (facts, workloads, report) = (reachable(), [workload()], report("hash-2", 2, 2));
    let view = view(&report, &facts, &workloads);
    let first = member_status(&view, None, 1, Timestamp::from_second(100).unwrap());
    let second = member_status(&view, Some(&first), 1, Timestamp::from_second(130).unwrap());
    assert_eq!(first, second);
}
