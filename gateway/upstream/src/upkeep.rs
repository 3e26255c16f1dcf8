// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What clusters need apart from requests, on a thread of its own: addresses of names, active health checks, outlier detection at
//! intervals.

use crate::health_check::Checks;
use crate::registry::{ClusterState, UpstreamRegistry};
use crate::resolve::{self, Resolving};
use crate::view::ClusterView;
use gateway_config::{Cluster, RateDetection, Snapshot};
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, LocalSet};

/// Waiting for the first look at new clusters ends after this time: one slow host does not hold back the configuration of all others.
const FIRST_LOOK: Duration = Duration::from_secs(1);

/// Hosts are not judged more often than this.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

/// A snapshot to follow, and whom to tell once new clusters were looked at.
type Order = (Arc<Snapshot>, oneshot::Sender<()>);

/// The way to the thread.
#[derive(Debug, Default)]
pub(crate) struct Upkeep(parking_lot::Mutex<Option<mpsc::UnboundedSender<Order>>>);

impl Upkeep {
    /// Follows a snapshot; the thread begins with the first cluster that needs it.
    pub(crate) async fn follow(&self, registry: &Arc<UpstreamRegistry>, snapshot: &Arc<Snapshot>) {
        let (done, seen) = oneshot::channel();
        {
            let mut sender = self.0.lock();
            if sender.is_none() {
                if !snapshot.clusters.iter().any(|(_, cluster)| needs(cluster)) {
                    return;
                }
                match begin(Arc::downgrade(registry)) {
                    Ok(made) => *sender = Some(made),
                    Err(error) => {
                        tracing::error!(%error, "health checks and names of hosts cannot be looked after: no thread for them");
                        return;
                    }
                }
            }
            if let Some(sender) = &*sender {
                // It only ends with the registry.
                let _ = sender.send((Arc::clone(snapshot), done));
            }
        }
        // Given up where it takes too long.
        let _ = tokio::time::timeout(FIRST_LOOK, seen).await;
    }
}

fn needs(cluster: &Cluster) -> bool {
    !cluster.health_checks.is_empty() || resolve::needs(cluster) || has_rates(cluster)
}

fn has_rates(cluster: &Cluster) -> bool {
    cluster.outlier_detection.is_some_and(|policy| policy.rates != RateDetection::default())
}

fn begin(registry: Weak<UpstreamRegistry>) -> std::io::Result<mpsc::UnboundedSender<Order>> {
    let (sender, orders) = mpsc::unbounded_channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new()
        .name("upkeep".to_owned())
        .spawn(move || LocalSet::new().block_on(&runtime, run(registry, orders)))?;
    Ok(sender)
}

/// Follows snapshots until the registry is gone.
async fn run(registry: Weak<UpstreamRegistry>, mut orders: mpsc::UnboundedReceiver<Order>) {
    let (changed, mut changes) = mpsc::unbounded_channel();
    let mut keeper = Keeper { registry, snapshot: Arc::default(), kept: HashMap::new(), changed };
    loop {
        tokio::select! {
            order = orders.recv() => {
                let Some((snapshot, done)) = order else { return };
                keeper.snapshot = snapshot;
                let rounds = keeper.all();
                tokio::task::spawn_local(async move {
                    for mut round in rounds {
                        // An error is a cluster that is gone again.
                        let _ = round.wait_for(|waiting| *waiting == 0).await;
                    }
                    let _ = done.send(());
                });
            }
            Some(name) = changes.recv() => drop(keeper.one(&name)),
        }
    }
}

/// Tells how many looks are still to be waited for.
type Round = watch::Receiver<usize>;

/// All clusters that are kept up.
struct Keeper {
    registry: Weak<UpstreamRegistry>,
    snapshot: Arc<Snapshot>,
    kept: HashMap<Box<str>, Kept>,
    /// Names of clusters with new addresses.
    changed: mpsc::UnboundedSender<Box<str>>,
}

/// Outlier detection of one cluster at intervals; ends when it is dropped.
struct Intervals(AbortHandle);

impl Intervals {
    fn begin(state: &Arc<ClusterState>, cluster: &Arc<Cluster>) -> Self {
        let (state, cluster) = (Arc::clone(state), Arc::clone(cluster));
        let job = async move {
            while let Some(policy) = &cluster.outlier_detection {
                tokio::time::sleep(policy.interval.max(SHORTEST_INTERVAL)).await;
                state.judge_interval(policy);
            }
        };
        Self(tokio::task::spawn_local(job).abort_handle())
    }
}

impl Drop for Intervals {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A cluster that is kept up.
struct Kept {
    state: Arc<ClusterState>,
    cluster: Arc<Cluster>,
    resolving: Option<Resolving>,
    intervals: Option<Intervals>,
    view: Option<Arc<ClusterView>>,
    checks: Option<Checks>,
}

impl Keeper {
    fn all(&mut self) -> Vec<Round> {
        let snapshot = Arc::clone(&self.snapshot);
        self.kept.retain(|name, _| snapshot.clusters.get(name).is_some_and(|cluster| needs(cluster)));
        let clusters = snapshot.clusters.iter().filter(|(_, cluster)| needs(cluster));
        clusters.flat_map(|(name, _)| self.one(name)).collect()
    }

    /// Brings one cluster up to date.
    fn one(&mut self, name: &str) -> Vec<Round> {
        let snapshot = Arc::clone(&self.snapshot);
        let Some((cluster, written)) = snapshot.cluster(name) else { return Vec::new() };
        let Some(registry) = self.registry.upgrade() else { return Vec::new() };
        let state = registry.cluster(name);
        let before = self.kept.remove(name).filter(|before| Arc::ptr_eq(&before.state, &state));
        let mut rounds = Vec::new();
        let same = before.as_ref().is_some_and(|before| Arc::ptr_eq(&before.cluster, cluster));
        let (mut resolving, mut intervals, mut view, mut checks) = match before {
            Some(before) => (before.resolving, before.intervals, before.view, before.checks),
            None => (None, None, None, None),
        };
        if !same {
            intervals = has_rates(cluster).then(|| Intervals::begin(&state, cluster));
            resolving = Resolving::begin(&state, cluster, &self.changed);
            rounds.extend(resolving.as_ref().map(Resolving::first_round));
        }
        let resolved = state.resolved();
        let endpoints = if resolving.is_some() { resolved.as_ref() } else { written };
        let current = view.as_ref().is_some_and(|view| view.is_current(&snapshot, cluster, endpoints));
        if cluster.health_checks.is_empty() {
            (view, checks) = (None, None);
        } else if !current {
            let next = ClusterView::obtain(&state, &snapshot, cluster, endpoints);
            checks = Checks::follow(checks, &state, &next);
            rounds.extend(checks.as_ref().map(Checks::first_round));
            view = Some(next);
        }
        drop(resolved);
        let kept = Kept { state, cluster: Arc::clone(cluster), resolving, intervals, view, checks };
        self.kept.insert(name.into(), kept);
        rounds
    }
}
