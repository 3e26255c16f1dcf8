// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What clusters need apart from requests, on a thread of its own: active health checks.

use crate::health_check::Checks;
use crate::registry::{ClusterState, UpstreamRegistry};
use crate::view::ClusterView;
use gateway_config::{Cluster, Snapshot};
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

/// Waiting for the first look at new clusters ends after this time: one slow host does not hold back the configuration of all others.
const FIRST_LOOK: Duration = Duration::from_secs(1);

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
                        tracing::error!(%error, "health checks cannot run: no thread for them");
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
    !cluster.health_checks.is_empty()
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
    let mut kept: HashMap<Box<str>, Kept> = HashMap::new();
    while let Some((snapshot, done)) = orders.recv().await {
        let Some(registry) = registry.upgrade() else { return };
        kept.retain(|name, _| snapshot.clusters.get(name).is_some_and(|cluster| needs(cluster)));
        let mut rounds = Vec::new();
        for (name, cluster) in snapshot.clusters.iter().filter(|(_, cluster)| needs(cluster)) {
            let Some((_, endpoints)) = snapshot.cluster(name) else { continue };
            if kept.get(name).is_some_and(|known| known.view.is_current(&snapshot, cluster, endpoints)) {
                continue;
            }
            let state = registry.cluster(name);
            let view = ClusterView::obtain(&state, &snapshot, cluster, endpoints);
            let next = Kept::follow(kept.remove(name), state, view);
            rounds.extend(next.checks.as_ref().map(Checks::first_round));
            kept.insert(name.into(), next);
        }
        tokio::task::spawn_local(async move {
            for mut round in rounds {
                // An error is a cluster that is gone again.
                let _ = round.wait_for(|waiting| *waiting == 0).await;
            }
            let _ = done.send(());
        });
    }
}

/// A cluster that is kept up.
struct Kept {
    state: Arc<ClusterState>,
    view: Arc<ClusterView>,
    checks: Option<Checks>,
}

impl Kept {
    fn follow(before: Option<Self>, state: Arc<ClusterState>, view: Arc<ClusterView>) -> Self {
        let before = before.filter(|before| Arc::ptr_eq(&before.state, &state));
        let checks = Checks::follow(before.and_then(|before| before.checks), &state, &view);
        Self { state, view, checks }
    }
}
