// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The hub: decides. It compiles routes into revisions, plans rollouts, orders members about, and aggregates status.
//!
//! ```text
//! sources ──► controller ──► routing (objects -> configuration of each fleet)
//!                │      └──► revision ──► rollout::plan ──► orders ──► member workers ──► clusters
//!                │                                                          │
//!                └── status ◄── reports ◄───────────────────────────────────┘
//! ```
//!
//! Invariants:
//! - The controller never waits for a cluster: workers do, one for each member.
//! - A change of routes reaches relays of this process before anything is written, and touches no workload.
//! - What was not listed is unknown: nothing is compiled or removed for lack of it.
//! - Only the leader runs; its epoch is in every remote write.

mod authority;
mod bodies;
mod controller;
mod events;
mod fleet;
mod lease;
mod member;
mod options;
mod registry;
mod route_status;
mod routing;
mod selection;
mod sources;
mod status;
mod writer;

pub use bodies::{ANNOTATION_CONFIG_HASH, CHUNK_KEY, CHUNK_TYPE, chunk_secret_name};
pub use options::{HostPrograms, HubOptions, RelayEndpoint, RelayHost, RelayRequest};

use controller::Controller;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::fmt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Name of the Lease that hubs compete for.
const LEASE: &str = "gatefleet-hub";

/// Names a GatewayFleet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct FleetKey {
    namespace: String,
    name: String,
}

impl fmt::Display for FleetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Names a FleetCluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct ClusterKey {
    namespace: String,
    name: String,
}

fn time(at: Timestamp) -> Time {
    // Statuses carry whole seconds.
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

/// Runs the hub until `stop`: waits to lead, leads, and waits again when it no longer does. Host processes have ended when it
/// returns.
pub async fn run(options: HubOptions, stop: CancellationToken) {
    let Some(client) = options.objects.client().cloned() else {
        // A folder has one reader.
        return lead(&options, "local".to_owned(), 1, stop).await;
    };
    let (epoch, election) = lease::elect(client.clone(), &options.namespace, LEASE, &options.identity);
    lead_in_turn(&options, &client, epoch, stop).await;
    if let Err(error) = election.await {
        tracing::error!(%error, "the election ended badly");
    }
}

/// Leads whenever the election says so, until `stop`.
async fn lead_in_turn(
    options: &HubOptions,
    client: &kube::Client,
    mut epoch: tokio::sync::watch::Receiver<Option<i64>>,
    stop: CancellationToken,
) {
    loop {
        let now = *epoch.borrow_and_update();
        match now {
            Some(now) => {
                let Some(hub) = stop.run_until_cancelled(hub_id(client)).await else { return };
                let reign = stop.child_token();
                let leading = lead(options, hub, now, reign.clone());
                tokio::pin!(leading);
                tokio::select! {
                    () = &mut leading => return,
                    () = deposed(&mut epoch, now) => {
                        reign.cancel();
                        leading.await;
                    }
                }
            }
            None => tokio::select! {
                () = stop.cancelled() => return,
                changed = epoch.changed() => if changed.is_err() { return },
            },
        }
    }
}

/// Resolves when we no longer lead with this epoch.
async fn deposed(epoch: &mut tokio::sync::watch::Receiver<Option<i64>>, now: i64) {
    let gone = epoch.wait_for(|epoch| *epoch != Some(now)).await;
    drop(gone);
}

async fn lead(options: &HubOptions, hub: String, epoch: i64, stop: CancellationToken) {
    let tasks = TaskTracker::new();
    let controller = Controller::new(options.clone(), hub, epoch, tasks.clone());
    stop.run_until_cancelled(controller.run()).await;
    tasks.close();
    tasks.wait().await;
}

/// The same for all replicas and lives of this hub: the uid of its kube-system.
async fn hub_id(client: &kube::Client) -> String {
    let api: kube::Api<Namespace> = kube::Api::all(client.clone());
    loop {
        match tokio::time::timeout(member::CALL_LIMIT, api.get_metadata("kube-system")).await {
            Ok(Ok(namespace)) => return namespace.metadata.uid.unwrap_or_default(),
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot read namespace kube-system, which identifies this hub")
            }
            Err(_) => tracing::warn!("no answer for namespace kube-system, which identifies this hub"),
        }
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
}
