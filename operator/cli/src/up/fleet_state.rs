// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What `up` shows: fleets and their members, read from the objects that the hub writes.

use comfy_table::{Table, presets};
use crds::{FleetCluster, FleetMember, GatewayFleet};
use futures::StreamExt;
use operator_runtime::objects::{ObjectEvent, Objects, Scope};
use std::collections::BTreeMap;
use tokio::sync::watch;

/// Fleets, clusters and members by name.
#[derive(Clone, Debug, Default)]
pub(super) struct FleetState {
    fleets: BTreeMap<String, GatewayFleet>,
    clusters: BTreeMap<String, FleetCluster>,
    members: BTreeMap<String, FleetMember>,
    routes: Vec<String>,
}

/// One row of the table.
pub(super) struct MemberRow {
    pub(super) cluster: String,
    pub(super) fleet: String,
    pub(super) ready: i32,
    pub(super) desired: i32,
    pub(super) acked: i32,
    pub(super) revision: String,
    pub(super) addresses: Vec<String>,
    pub(super) trouble: String,
}

/// Follows the objects; the receiver always holds the newest state.
pub(super) fn watch_state(objects: &Objects) -> watch::Receiver<FleetState> {
    let (sender, receiver) = watch::channel(FleetState::default());
    let mut fleets = objects.watch::<GatewayFleet>(Scope::all());
    let mut clusters = objects.watch::<FleetCluster>(Scope::all());
    let mut members = objects.watch::<FleetMember>(Scope::all());
    let mut routes = objects.watch::<crds::gateway_api::HttpRoute>(Scope::all());
    tokio::spawn(async move {
        loop {
            tokio::select! {
                Some(event) = fleets.next() => sender.send_modify(|s| take(&mut s.fleets, event)),
                Some(event) = clusters.next() => sender.send_modify(|s| take(&mut s.clusters, event)),
                Some(event) = members.next() => sender.send_modify(|s| take(&mut s.members, event)),
                Some(event) = routes.next() => sender.send_modify(|s| s.take_route(&event)),
                () = sender.closed() => break,
                else => break,
            }
        }
    });
    receiver
}

fn take<K: kube::ResourceExt + Clone>(into: &mut BTreeMap<String, K>, event: ObjectEvent<K>) {
    match event {
        ObjectEvent::Upsert(object) => {
            into.insert(object.name_any(), object.as_ref().clone());
        }
        ObjectEvent::Delete(object) => {
            into.remove(&object.name_any());
        }
        ObjectEvent::Listed | ObjectEvent::Failed(_) => {}
    }
}

impl FleetState {
    fn take_route(&mut self, event: &ObjectEvent<crds::gateway_api::HttpRoute>) {
        if let ObjectEvent::Upsert(route) = event {
            for host in route.spec.hostnames.iter().flatten() {
                if !host.starts_with('*') && !self.routes.contains(host) {
                    self.routes.push(host.clone());
                }
            }
        }
    }

    /// The members, in order.
    pub(super) fn rows(&self) -> Vec<MemberRow> {
        self.members.values().map(row).collect()
    }

    /// Whether every fleet is Ready as it was last written.
    pub(super) fn serves(&self) -> bool {
        !self.fleets.is_empty()
            && self.fleets.values().all(|fleet| {
                let generation = fleet.metadata.generation.unwrap_or_default();
                fleet.status.as_ref().is_some_and(|status| {
                    status.observed_generation == generation
                        && status.conditions.iter().any(|c| {
                            c.type_ == "Ready"
                                && c.status == "True"
                                && c.observed_generation == Some(generation)
                        })
                })
            })
    }

    /// What is missing, in words.
    pub(super) fn waiting_for(&self) -> String {
        if self.fleets.is_empty() {
            return "the folder holds no GatewayFleet".into();
        }
        let conditions =
            self.fleets.values().flat_map(|fleet| fleet.status.iter()).flat_map(|s| s.conditions.iter());
        let fleets =
            conditions.filter(|c| c.type_ == "Ready" && c.status != "True").map(|c| c.message.clone());
        let members = self.rows().into_iter().filter(|r| r.ready < r.desired || !r.trouble.is_empty());
        let members = members
            .map(|r| format!("{} has {} of {} gateways ready {}", r.cluster, r.ready, r.desired, r.trouble));
        let all: Vec<_> = fleets.chain(members).collect();
        if all.is_empty() { "the hub has not looked at the fleet yet".into() } else { all.join("; ") }
    }

    /// Clusters, gateways, revision, ACKs, addresses.
    pub(super) fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["CLUSTER", "FLEET", "GATEWAYS", "REVISION", "ACKED", "ADDRESS"]);
        for row in self.rows() {
            table.add_row([
                row.cluster,
                row.fleet,
                format!("{}/{}", row.ready, row.desired),
                row.revision,
                format!("{}/{}", row.acked, row.desired),
                row.addresses.join(", "),
            ]);
        }
        table.to_string()
    }

    /// Every cluster with an address of each HTTP listener.
    pub(super) fn endpoints(&self) -> Vec<(String, String)> {
        let rows = self.rows().into_iter();
        rows.flat_map(|row| {
            row.addresses.iter().map(|a| (row.cluster.clone(), a.clone())).collect::<Vec<_>>()
        })
        .collect()
    }

    /// Commands that show something.
    pub(super) fn to_try(&self) -> Vec<String> {
        let hosts: Vec<_> = self.routes.iter().take(2).cloned().collect();
        let mut lines = Vec::new();
        for (_, address) in self.endpoints() {
            lines.extend(hosts.iter().map(|host| format!("curl -H 'Host: {host}' http://{address}/")));
            if hosts.is_empty() {
                lines.push(format!("curl http://{address}/"));
            }
        }
        lines
    }

    /// Hostnames that routes serve.
    pub(super) fn hosts(&self) -> &[String] {
        &self.routes
    }
}

fn row(member: &FleetMember) -> MemberRow {
    let status = member.status.clone().unwrap_or_default();
    let replicas = status.replicas.unwrap_or_default();
    let bad = status.conditions.iter().find(|c| c.status == "False").map(|c| format!("({})", c.message));
    MemberRow {
        cluster: member.spec.cluster.clone(),
        fleet: member.spec.fleet.clone(),
        ready: replicas.ready,
        desired: replicas.desired,
        acked: status.config.map_or(0, |c| c.acked),
        revision: status.observed_revision.unwrap_or_default(),
        addresses: status.addresses,
        trouble: bad.unwrap_or_default(),
    }
}
