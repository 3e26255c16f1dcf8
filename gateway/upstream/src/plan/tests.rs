// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Tables of plans: loads of priorities, panic, weights of localities, subsets, slow start; picks by worker.

use super::Plan;
use crate::balancer::Balancer;
use crate::registry::{ClusterState, UpstreamRegistry};
use crate::upstreams::PickContext;
use crate::view::ClusterView;
use gateway_config::{
    Balancing, Cluster, Discovery, Endpoint, EndpointAddress, EndpointHealth, Endpoints, HashFunction,
    Hashing, LbMetadata, LoadBalancing, LocalZone, Locality, LocalityBalancing, Place, SlowStart, Snapshot,
    SubsetFallback, SubsetSelector, Subsets, ZoneAware,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const HEALTHY: EndpointHealth = EndpointHealth::Healthy;
const DEGRADED: EndpointHealth = EndpointHealth::Degraded;
const DOWN: EndpointHealth = EndpointHealth::Unhealthy;

/// One locality: priority, weight, endpoints by last octet with health, weight and version.
struct Group(u32, Option<u32>, Vec<(u8, EndpointHealth, u32, &'static str)>);

fn version(value: &str) -> LbMetadata {
    let pair = [("version", value)];
    LbMetadata::from_strings(if value.is_empty() { &[] } else { &pair })
}

fn endpoints(groups: &[Group]) -> Endpoints {
    let endpoint = |(octet, health, weight, kind): &(u8, EndpointHealth, u32, &str)| Endpoint {
        health: *health,
        weight: *weight,
        metadata: version(kind),
        ..Endpoint::new(EndpointAddress::Socket(([10, 0, 0, *octet], 80).into()))
    };
    let localities = groups.iter().enumerate().map(|(at, Group(priority, weight, list))| Locality {
        place: Place { zone: at.to_string().into(), ..Place::default() },
        priority: *priority,
        weight: *weight,
        socket_metadata: LbMetadata::default(),
        endpoints: list.iter().map(endpoint).collect(),
    });
    Endpoints { cluster: "c".into(), localities: localities.collect(), overprovisioning: 140 }
}

fn made(balancing: LoadBalancing, groups: &[Group]) -> (Arc<ClusterState>, Arc<ClusterView>) {
    let cluster = Cluster { balancing, ..Cluster::new("c", Discovery::Eds { service_name: None }) };
    let state = UpstreamRegistry::new().cluster("c");
    let endpoints = Arc::new(endpoints(groups));
    let view = ClusterView::obtain(&state, &Snapshot::default(), &Arc::new(cluster), Some(&endpoints));
    (state, view)
}

/// How often each host is picked, by last octet.
fn picks(balancing: LoadBalancing, groups: &[Group], context: &PickContext<'_>) -> BTreeMap<String, usize> {
    let (state, view) = made(balancing, groups);
    let mut balancer = Balancer::new(state.plan(&view, 0));
    let mut seen = BTreeMap::new();
    for _ in 0..10_000 {
        let Some(choice) = balancer.pick(&view, &state, context, |_| false) else { continue };
        let address = view.hosts[choice.host].state.address().to_string();
        let octet = address.trim_start_matches("10.0.0.").trim_end_matches(":80").to_owned();
        *seen.entry(octet).or_default() += 1;
    }
    seen
}

fn near(found: &BTreeMap<String, usize>, wanted: &[(&str, usize)]) {
    assert_eq!(found.len(), wanted.len(), "{found:?} for {wanted:?}");
    for (octet, count) in wanted {
        let got = found.get(*octet).copied().unwrap_or_default();
        assert!(got.abs_diff(*count) <= 300, "{found:?} for {wanted:?}");
    }
}

fn group(priority: u32, healths: &[EndpointHealth]) -> Group {
    let first = u8::try_from(priority).unwrap() * 10;
    let list = (first..).zip(healths).map(|(octet, health)| (octet, *health, 1, "")).collect();
    Group(priority, None, list)
}

#[test]
fn priorities_take_their_loads() {
    let loads = |groups: &[Group]| -> Vec<(u32, bool)> {
        let (_, view) = made(LoadBalancing::default(), groups);
        Plan::new(&view, 0).sets[0].shares.iter().map(|share| (share.load, share.panic)).collect()
    };
    for (groups, expected) in [
        (vec![group(0, &[HEALTHY; 4])], vec![(100, false)]),
        // Three of four are enough with overprovisioning.
        (vec![group(0, &[HEALTHY, HEALTHY, HEALTHY, DOWN]), group(1, &[HEALTHY])], vec![(100, false)]),
        (
            vec![group(0, &[HEALTHY, HEALTHY, DOWN, DOWN]), group(1, &[HEALTHY, HEALTHY])],
            vec![(70, false), (30, false)],
        ),
        // Degraded hosts of any priority come after healthy ones of all.
        (
            vec![group(0, &[HEALTHY, DEGRADED, DOWN, DOWN]), group(1, &[HEALTHY, HEALTHY, DOWN, DOWN])],
            vec![(35, false), (65, false)],
        ),
        (vec![group(0, &[DEGRADED, DEGRADED])], vec![(100, false)]),
        // One priority in a panic, the other not.
        (
            vec![group(0, &[HEALTHY, DOWN, DOWN, DOWN, DOWN]), group(1, &[HEALTHY, DOWN])],
            vec![(29, true), (71, false)],
        ),
        // All in a panic: by number of hosts.
        (vec![group(0, &[DOWN]), group(1, &[DOWN, DOWN, DOWN])], vec![(25, true), (75, true)]),
        (vec![], vec![]),
    ] {
        assert_eq!(loads(&groups), expected, "{:?}", groups.iter().map(|g| &g.2).collect::<Vec<_>>());
    }
}

#[test]
fn localities_share_by_weight() {
    let balancing = LoadBalancing { localities: LocalityBalancing::Weighted, ..LoadBalancing::default() };
    let groups = |second: EndpointHealth| {
        [
            Group(0, Some(1), vec![(1, HEALTHY, 1, "")]),
            Group(0, Some(3), vec![(2, HEALTHY, 1, ""), (3, second, 1, "")]),
        ]
    };
    let none = PickContext::default();
    near(&picks(balancing.clone(), &groups(HEALTHY), &none), &[("1", 2500), ("2", 3750), ("3", 3750)]);
    // 3 * min(1, 1.4 / 2) of 3.1.
    near(&picks(balancing.clone(), &groups(DOWN), &none), &[("1", 3226), ("2", 6774)]);
    let together = LoadBalancing::default();
    near(&picks(together, &groups(HEALTHY), &none), &[("1", 3333), ("2", 3333), ("3", 3333)]);
    // Consistent hashing has the weights in its table.
    let hashing = Hashing::default();
    let maglev = Balancing::Maglev { table_size: 65_537, hashing };
    let ring = Balancing::RingHash { min_size: 8192, max_size: 1 << 20, function: HashFunction::Xx, hashing };
    for policy in [maglev, ring] {
        let hashed = LoadBalancing { policy, ..balancing.clone() };
        near(&picks(hashed, &groups(HEALTHY), &none), &[("1", 2500), ("2", 3750), ("3", 3750)]);
    }
}

#[test]
fn a_hash_keeps_its_host() {
    let policy = Balancing::Maglev { table_size: 251, hashing: Hashing::default() };
    let balancing = LoadBalancing { policy, ..LoadBalancing::default() };
    for hash in 0..50 {
        let context = PickContext { hash: Some(hash), ..PickContext::default() };
        let groups = [group(0, &[HEALTHY, HEALTHY, DOWN, DOWN]), group(1, &[HEALTHY; 5])];
        assert_eq!(picks(balancing.clone(), &groups, &context).len(), 1);
    }
}

#[test]
fn weights_hold_for_all_policies() {
    let groups = [Group(0, None, vec![(1, HEALTHY, 1, ""), (2, HEALTHY, 4, "")])];
    for policy in [
        Balancing::RoundRobin,
        Balancing::Random,
        Balancing::LeastRequest { choices: 2, bias: 1.0, full_scan: false },
    ] {
        let balancing = LoadBalancing { policy, ..LoadBalancing::default() };
        near(&picks(balancing, &groups, &PickContext::default()), &[("1", 2000), ("2", 8000)]);
    }
}

#[test]
fn the_less_busy_host_is_picked() {
    for full_scan in [false, true] {
        let policy = Balancing::LeastRequest { choices: 32, bias: 1.0, full_scan };
        let (state, view) =
            made(LoadBalancing { policy, ..LoadBalancing::default() }, &[group(0, &[HEALTHY, HEALTHY])]);
        view.hosts[0].state.begin();
        let mut balancer = Balancer::new(state.plan(&view, 0));
        for _ in 0..20 {
            let choice = balancer.pick(&view, &state, &PickContext::default(), |_| false);
            assert_eq!(choice.unwrap().host, 1);
        }
    }
}

#[test]
fn busy_hosts_weigh_less() {
    let policy = Balancing::LeastRequest { choices: 2, bias: 1.0, full_scan: false };
    let groups = [Group(0, None, vec![(1, HEALTHY, 2, ""), (2, HEALTHY, 4, "")])];
    let (state, view) = made(LoadBalancing { policy, ..LoadBalancing::default() }, &groups);
    (0..3).for_each(|_| view.hosts[1].state.begin());
    let mut balancer = Balancer::new(state.plan(&view, 0));
    let mut seen = [0_usize; 2];
    for _ in 0..3000 {
        seen[balancer.pick(&view, &state, &PickContext::default(), |_| false).unwrap().host] += 1;
    }
    // 2 against 4 / (3 + 1).
    assert!(seen[0].abs_diff(2000) < 20, "{seen:?}");
}

#[test]
fn a_new_host_gets_less() {
    let slow = SlowStart { window: Duration::from_millis(10), aggression: 1.0, min_percent: 25.0 };
    let balancing = LoadBalancing { slow_start: Some(slow), ..LoadBalancing::default() };
    let (state, view) = made(balancing, &[group(0, &[HEALTHY, HEALTHY])]);
    let picks = |epoch| {
        let mut balancer = Balancer::new(state.plan(&view, epoch));
        let mut seen = [0_usize; 2];
        for _ in 0..1000 {
            seen[balancer.pick(&view, &state, &PickContext::default(), |_| false).unwrap().host] += 1;
        }
        seen
    };
    while state.now() < 12 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let both_old = picks(0);
    assert!(both_old[0].abs_diff(both_old[1]) <= 1, "{both_old:?}");
    // Far in the future: it stays at the least share.
    view.hosts[0].state.begin_service(0);
    view.hosts[1].state.begin_service(u64::MAX / 2);
    let one_new = picks(1);
    assert!(one_new[1].abs_diff(200) <= 5, "{one_new:?}");
}

#[test]
fn subsets_follow_metadata() {
    let groups = [Group(
        0,
        None,
        vec![(1, HEALTHY, 1, "a"), (2, HEALTHY, 1, "a"), (3, HEALTHY, 1, "b"), (4, HEALTHY, 1, "")],
    )];
    let subsets = |fallback: SubsetFallback, single_host: bool| LoadBalancing {
        subsets: Some(Subsets {
            fallback,
            default: version("b"),
            selectors: [SubsetSelector { keys: ["version".into()].into(), fallback: None, single_host }]
                .into(),
            ..Subsets::default()
        }),
        ..LoadBalancing::default()
    };
    for (wanted, fallback, single, expected) in [
        ("a", SubsetFallback::None, false, vec![("1", 5000), ("2", 5000)]),
        ("a", SubsetFallback::None, true, vec![("1", 10_000)]),
        ("b", SubsetFallback::None, false, vec![("3", 10_000)]),
        ("x", SubsetFallback::None, false, vec![]),
        ("", SubsetFallback::None, false, vec![]),
        ("x", SubsetFallback::Default, false, vec![("3", 10_000)]),
        ("", SubsetFallback::Any, false, vec![("1", 2500), ("2", 2500), ("3", 2500), ("4", 2500)]),
    ] {
        let metadata = version(wanted);
        let context = PickContext { metadata: Some(&metadata), ..PickContext::default() };
        near(&picks(subsets(fallback, single), &groups, &context), &expected);
    }
}

#[test]
fn requests_stay_in_their_zone_as_far_as_the_load_stays_even() {
    let zone = |name: &str| Place { zone: name.into(), ..Place::default() };
    let peers = |counts: &[usize]| {
        let groups: Vec<Group> = counts.iter().map(|count| group(0, &vec![HEALTHY; *count])).collect();
        Arc::new(endpoints(&groups))
    };
    // Healthy hosts of the cluster and gateways in zones "0", "1", ...; this gateway is in zone "0".
    for (hosts, gateways, zones, expected) in [
        // Even: all stays.
        (vec![2, 2], vec![1, 1], ZONES, vec![("0", 10_000)]),
        // A quarter of the hosts for half of the gateways: half of the requests stay.
        (vec![1, 3], vec![1, 1], ZONES, vec![("0", 5000), ("1", 5000)]),
        (vec![1, 1, 2], vec![2, 1, 1], ZONES, vec![("0", 5000), ("2", 5000)]),
        // No host here, no gateway known here, too few hosts: zones do not matter.
        (vec![0, 4], vec![1, 1], ZONES, vec![("1", 10_000)]),
        (vec![2, 2], vec![0, 1], ZONES, vec![("0", 5000), ("1", 5000)]),
        (vec![2, 2], vec![1, 1], ZoneAware { min_size: 5, ..ZONES }, vec![("0", 5000), ("1", 5000)]),
        (vec![2, 2], vec![1, 1], ZoneAware { routing: 0, ..ZONES }, vec![("0", 5000), ("1", 5000)]),
        (vec![1, 3], vec![1, 1], ZoneAware { force_local: Some(1), ..ZONES }, vec![("0", 10_000)]),
        (vec![1, 3], vec![1, 1], ZoneAware { force_local: Some(2), ..ZONES }, vec![("0", 5000), ("1", 5000)]),
    ] {
        let mut snapshot = Snapshot::default();
        let local = LocalZone { place: zone("0"), cluster: Some("peers".into()) };
        snapshot.local = Some(Arc::new(local));
        let discovery = Discovery::Static(peers(&gateways));
        snapshot.clusters.insert("peers", Arc::new(Cluster::new("peers", discovery)));
        let localities = LocalityBalancing::ZoneAware(zones);
        let balancing = LoadBalancing { policy: Balancing::Random, localities, ..LoadBalancing::default() };
        let settings = Cluster { balancing, ..Cluster::new("c", Discovery::Eds { service_name: None }) };
        let state = UpstreamRegistry::new().cluster("c");
        let view = ClusterView::obtain(&state, &snapshot, &Arc::new(settings), Some(&peers(&hosts)));
        let mut balancer = Balancer::new(state.plan(&view, 0));
        let mut seen = BTreeMap::new();
        for _ in 0..10_000 {
            let host = balancer.pick(&view, &state, &PickContext::default(), |_| false).unwrap().host;
            *seen.entry(view.hosts[host].locality.to_string()).or_default() += 1;
        }
        near(&seen, &expected);
    }
}

const ZONES: ZoneAware = ZoneAware { routing: 100, min_size: 1, fail_on_panic: false, force_local: None };

#[test]
fn a_priority_in_panic_may_take_nothing() {
    for fail_on_panic in [false, true] {
        let localities = LocalityBalancing::ZoneAware(ZoneAware { fail_on_panic, ..ZONES });
        let balancing = LoadBalancing { localities, ..LoadBalancing::default() };
        let seen = picks(balancing, &[group(0, &[HEALTHY, DOWN, DOWN])], &PickContext::default());
        assert_eq!(seen.is_empty(), fail_on_panic, "{seen:?}");
    }
}
