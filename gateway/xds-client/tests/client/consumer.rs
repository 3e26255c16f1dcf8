// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A consumer that records what it applied and rejects what it is told to.

use gateway_xds_api::ResourceType;
use gateway_xds_client::{Applied, Consumer, Preparation, Rejection, Update, Upsert, Wanted};
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::{mpsc, oneshot};

/// Rejects versions that begin with `bad`, wants the endpoints of every cluster that it holds.
#[derive(Debug)]
pub struct Recorder {
    applied: mpsc::UnboundedSender<Update>,
    clusters: BTreeSet<String>,
    /// Taken by the first listener update: it waits for this, and rejects what it says.
    pub gate: Option<oneshot::Receiver<Vec<Rejection>>>,
}

impl Recorder {
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Update>) {
        let (applied, updates) = mpsc::unbounded_channel();
        (Self { applied, clusters: BTreeSet::new(), gate: None }, updates)
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

    async fn apply(&mut self, mut update: Update) -> Applied {
        let (good, bad): (Vec<_>, Vec<_>) =
            update.upserts.into_iter().partition(|upsert| !upsert.version.starts_with("bad"));
        update.upserts = good;
        let mut applied = Applied::default();
        if update.kind == ResourceType::Cluster {
            let endpoints = |name: &String| (ResourceType::ClusterLoadAssignment, name.clone());
            let upserted = update.upserts.iter().map(|upsert| &upsert.name);
            applied.wanted =
                upserted.filter(|name| self.clusters.insert((*name).clone())).map(endpoints).collect();
            let removed = update.removals.iter();
            applied.unwanted = removed.filter(|name| self.clusters.remove(*name)).map(endpoints).collect();
        }
        self.applied.send(update).unwrap();
        let reject = |upsert: Upsert| Rejection::new(upsert.name, "it is bad");
        applied.rejections = bad.into_iter().map(reject).collect();
        applied
    }

    fn wanted(&self) -> Wanted {
        BTreeMap::from([(ResourceType::ClusterLoadAssignment, self.clusters.clone())])
    }
}
