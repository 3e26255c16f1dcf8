// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A consumer that records what it applied and rejects what it is told to.

use gateway_xds_api::ResourceType;
use gateway_xds_client::{Consumer, Preparation, Rejection, Update, Wanted};
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::{mpsc, oneshot};

/// Rejects versions that begin with `bad`, wants the endpoints of every cluster that it holds.
#[derive(Debug)]
pub struct Recorder {
    applied: mpsc::UnboundedSender<Update>,
    clusters: BTreeSet<String>,
    changed: bool,
    /// Taken by the first listener update: it waits for this, and rejects what it says.
    pub gate: Option<oneshot::Receiver<Vec<Rejection>>>,
}

impl Recorder {
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Update>) {
        let (applied, updates) = mpsc::unbounded_channel();
        (Self { applied, clusters: BTreeSet::new(), changed: true, gate: None }, updates)
    }
}

impl Consumer for Recorder {
    fn prepare(&mut self, update: &Update) -> Option<Preparation> {
        if update.kind != ResourceType::Listener {
            return None;
        }
        let gate = self.gate.take()?;
        Some(Box::pin(async move { gate.await.unwrap_or_default() }))
    }

    fn apply(&mut self, mut update: Update) -> Vec<Rejection> {
        let (good, bad): (Vec<_>, Vec<_>) =
            update.upserts.into_iter().partition(|upsert| !upsert.version.starts_with("bad"));
        update.upserts = good;
        if update.kind == ResourceType::Cluster {
            self.clusters.extend(update.upserts.iter().map(|upsert| upsert.name.clone()));
            self.clusters.retain(|name| !update.removals.contains(name));
            self.changed = true;
        }
        self.applied.send(update).unwrap();
        bad.into_iter().map(|upsert| Rejection { name: upsert.name, message: "it is bad".into() }).collect()
    }

    fn wanted(&mut self) -> Option<Wanted> {
        let changed = std::mem::take(&mut self.changed);
        changed.then(|| BTreeMap::from([(ResourceType::ClusterLoadAssignment, self.clusters.clone())]))
    }
}
