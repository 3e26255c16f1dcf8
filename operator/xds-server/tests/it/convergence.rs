// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A proxy converges to the snapshot whatever changes, in whatever order messages arrive, over reconnects; and at no
//! moment does a virtual host that it holds refer to a cluster that it lacks.

use crate::snapshots::{ack, resource, subscribe, unsubscribe};
use gateway_xds_api::ResourceType::{self, Cluster, ClusterLoadAssignment, Listener, VirtualHost};
use gateway_xds_api::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use gateway_xds_api::{PackedResource, ResourceSet};
use operator_xds_server::{DeltaResponse, DeltaState, Form, Limits, Snapshot};
use proptest::prelude::{Strategy, any, prop, proptest};
use proptest::prop_oneof;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

#[derive(Clone, Debug)]
enum Step {
    /// Clusters with versions, virtual hosts with versions and the clusters that they refer to.
    Publish {
        clusters: BTreeMap<u8, u8>,
        hosts: BTreeMap<u8, (u8, BTreeSet<u8>)>,
    },
    ServerReads,
    ClientReads,
    Reconnect,
}

fn step() -> impl Strategy<Value = Step> {
    let clusters = prop::collection::btree_map(0..8_u8, 0..3_u8, 0..8);
    let hosts =
        prop::collection::btree_map(0..6_u8, (0..3_u8, prop::collection::btree_set(0..8_u8, 0..4)), 0..6);
    prop_oneof![
        3 => (clusters, hosts).prop_map(|(clusters, hosts)| Step::Publish { clusters, hosts }),
        8 => any::<bool>().prop_map(|_| Step::ServerReads),
        8 => any::<bool>().prop_map(|_| Step::ClientReads),
        1 => any::<bool>().prop_map(|_| Step::Reconnect),
    ]
}

fn resources(clusters: &BTreeMap<u8, u8>, hosts: &BTreeMap<u8, (u8, BTreeSet<u8>)>) -> ResourceSet {
    let mut set = ResourceSet::default();
    for (n, version) in clusters {
        let name = format!("c{n}");
        set.insert(Cluster, resource(&name, &version.to_string(), ""));
        set.insert(ClusterLoadAssignment, resource(&name, &version.to_string(), ""));
    }
    for (n, (version, refers)) in hosts {
        // A snapshot never refers to what it lacks.
        let refers: Vec<String> =
            refers.iter().filter(|c| clusters.contains_key(c)).map(|c| format!("c{c}")).collect();
        let refers = refers.join(",");
        set.insert(VirtualHost, resource(&format!("h{n}"), &format!("{version}:{refers}"), &refers));
    }
    set.insert(Listener, resource("l", "1", ""));
    set
}

type Held = BTreeMap<ResourceType, BTreeMap<String, Arc<PackedResource>>>;

/// A proxy that takes everything.
#[derive(Default)]
struct Client {
    held: Held,
    outbox: VecDeque<(ResourceType, DeltaDiscoveryRequest)>,
}

impl Client {
    fn connect(&mut self) {
        self.outbox.clear();
        for kind in [Cluster, Listener, VirtualHost] {
            self.outbox.push_back((kind, self.first(kind, &["*"])));
        }
        let names: Vec<String> =
            self.held.get(&Cluster).into_iter().flat_map(BTreeMap::keys).cloned().collect();
        if !names.is_empty() {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            self.outbox.push_back((ClusterLoadAssignment, self.first(ClusterLoadAssignment, &names)));
        }
    }

    fn first(&self, kind: ResourceType, names: &[&str]) -> DeltaDiscoveryRequest {
        let held = self.held.get(&kind).into_iter().flat_map(BTreeMap::values);
        DeltaDiscoveryRequest {
            initial_resource_versions: held.map(|r| (r.name.clone(), r.version.clone())).collect(),
            ..subscribe(names)
        }
    }

    fn take(&mut self, response: &DeltaResponse) {
        let held = self.held.entry(response.kind).or_default();
        for name in &response.removed {
            let was = held.remove(name).is_some();
            if response.kind == Cluster && was {
                self.outbox.push_back((ClusterLoadAssignment, unsubscribe(&[name])));
            }
        }
        for new in &response.resources {
            if response.kind == ClusterLoadAssignment && !self.wants(&new.name) {
                // On its way while the cluster went.
                continue;
            }
            let held = self.held.entry(response.kind).or_default();
            let was = held.insert(new.name.clone(), new.clone());
            if response.kind == Cluster && was.is_none() {
                self.outbox.push_back((ClusterLoadAssignment, subscribe(&[&new.name])));
            }
        }
        if response.kind == Cluster {
            let gone = &response.removed;
            self.held.entry(ClusterLoadAssignment).or_default().retain(|name, _| !gone.contains(name));
        }
        self.outbox.push_back((response.kind, ack(response)));
        self.check();
    }

    fn wants(&self, cluster: &str) -> bool {
        self.held.get(&Cluster).is_some_and(|clusters| clusters.contains_key(cluster))
    }

    /// Every virtual host's clusters are there.
    fn check(&self) {
        let empty = BTreeMap::new();
        let clusters = self.held.get(&Cluster).unwrap_or(&empty);
        for host in self.held.get(&VirtualHost).unwrap_or(&empty).values() {
            let refers = std::str::from_utf8(&host.value).unwrap();
            for cluster in refers.split(',').filter(|name| !name.is_empty()) {
                assert!(
                    clusters.contains_key(cluster),
                    "{} refers to {cluster}, which is not there",
                    host.name
                );
            }
        }
    }
}

struct World {
    server: DeltaState,
    client: Client,
    wire: VecDeque<DeltaResponse>,
    current: Option<Arc<Snapshot>>,
    limits: Limits,
}

impl World {
    fn run(&mut self, step: &Step) {
        match step {
            Step::Publish { clusters, hosts } => {
                let sequence = self.current.as_ref().map_or(1, |s| s.sequence + 1);
                let resources = Arc::new(resources(clusters, hosts));
                let snapshot =
                    Arc::new(Snapshot { version: sequence.to_string().into(), sequence, resources });
                self.current = Some(snapshot.clone());
                self.server.on_snapshot(snapshot);
            }
            Step::ServerReads => {
                if let Some((kind, request)) = self.client.outbox.pop_front() {
                    self.server.on_request(kind, &request).unwrap();
                }
            }
            Step::ClientReads => {
                if let Some(response) = self.wire.pop_front() {
                    self.client.take(&response);
                }
            }
            Step::Reconnect => {
                self.wire.clear();
                self.server = DeltaState::new(Form::Gateway, self.limits);
                self.current.iter().for_each(|s| self.server.on_snapshot(s.clone()));
                self.client.connect();
            }
        }
        while let Some(response) = self.server.next_response() {
            self.wire.push_back(response);
        }
        let mut kinds = BTreeSet::new();
        for response in &self.wire {
            assert!(kinds.insert(response.kind), "two {} responses in flight", response.kind);
        }
    }

    fn converge(&mut self) {
        for _ in 0..10_000 {
            if self.wire.is_empty() && self.client.outbox.is_empty() {
                return;
            }
            self.run(&Step::ServerReads);
            self.run(&Step::ClientReads);
        }
        panic!("never quiet");
    }
}

fn versions(held: &Held, kind: ResourceType) -> BTreeMap<String, String> {
    held.get(&kind).into_iter().flatten().map(|(name, r)| (name.clone(), r.version.clone())).collect()
}

proptest! {
    #[test]
    fn the_proxy_converges(steps in prop::collection::vec(step(), 1..120), bytes in 1_usize..64) {
        let limits = Limits { response_bytes: bytes, ..Limits::default() };
        let server = DeltaState::new(Form::Gateway, limits);
        let mut world = World { server, client: Client::default(), wire: VecDeque::new(), current: None, limits };
        world.client.connect();
        steps.iter().for_each(|step| world.run(step));
        world.run(&Step::Publish { clusters: [(1, 1)].into(), hosts: [(1, (1, [1].into()))].into() });
        world.converge();
        let current = world.current.clone().unwrap();
        for kind in [Cluster, ClusterLoadAssignment, Listener, VirtualHost] {
            let wanted: BTreeMap<String, String> =
                current.resources.of(kind).map(|r| (r.name.clone(), r.version.clone())).collect();
            assert_eq!(versions(&world.client.held, kind), wanted, "{kind}");
        }
        assert!(world.server.settled());
    }
}
