// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The backend that runs gateways as processes of this machine.

mod bootstrap;
mod leftovers;
mod plan;
mod process;
mod readiness;
mod tokens;

pub use tokens::{HostIdentity, HostTokens};

use crate::{
    Applied, ApplyError, Backend, Change, Desired, Fence, Inventory, MemberKey, ObjectKey, Observed, Outcome,
    ProblemReason, WorkloadProblem, WorkloadState,
};
use async_trait::async_trait;
use crds::HostSpec;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use parking_lot::Mutex;
use plan::{Program, programs};
use process::Supervised;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// What the backend needs to know of this machine and of the fleet.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// The fleet and the cluster.
    pub member: MemberKey,
    /// Address, replicas and extra programs.
    pub host: HostSpec,
    /// Program of the gateway.
    pub gateway_program: PathBuf,
    /// Program that extra processes mean when they say `gatefleet`.
    pub own_program: PathBuf,
    /// Folder for this backend alone: bootstraps, last good configurations, logs, pid files.
    pub state_dir: PathBuf,
    /// ADS address of the cluster's relay, `host:port`.
    pub relay: String,
    /// Certificate issuer of the cluster's relay, `host:port`.
    pub issuer: String,
    /// Name in the relay's certificate.
    pub server_name: String,
    /// Roots of the fleet, PEM.
    pub trust_bundle: String,
    /// Tokens that the relay accepts.
    pub tokens: HostTokens,
    /// How long a gateway drains.
    pub drain: Duration,
}

/// One fleet in one cluster of mode Host.
#[derive(Debug)]
pub struct HostBackend {
    options: HostOptions,
    running: Mutex<BTreeMap<String, Supervised>>,
    changed: watch::Sender<u64>,
}

impl HostBackend {
    /// Ends what an earlier life of this folder left behind, and starts with nothing.
    ///
    /// # Errors
    /// When the folder cannot be made or read.
    pub async fn open(options: HostOptions) -> Result<Self, ApplyError> {
        make_folder(&options.state_dir)?;
        leftovers::end(&options.state_dir).await?;
        Ok(Self { options, running: Mutex::new(BTreeMap::new()), changed: watch::channel(0).0 })
    }

    /// Ends all processes: SIGTERM, the drain, SIGKILL. Returns when they are gone.
    pub async fn shutdown(&self) {
        let all = std::mem::take(&mut *self.running.lock());
        futures::future::join_all(all.into_values().map(Supervised::stop)).await;
    }

    /// Process id and log file of each process, by name.
    #[must_use]
    pub fn processes(&self) -> BTreeMap<String, (Option<u32>, PathBuf)> {
        let running = self.running.lock();
        running.iter().map(|(name, process)| (name.clone(), (process.pid(), process.log()))).collect()
    }

    /// Starts, replaces and ends processes so that `wanted` run. Returns what became of each.
    fn reconcile(&self, wanted: BTreeMap<String, Program>) -> Vec<(String, Outcome)> {
        let mut outcomes = Vec::new();
        let mut running = self.running.lock();
        let surplus: Vec<_> = running.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect();
        for name in surplus {
            if let Some(process) = running.remove(&name) {
                tokio::spawn(process.stop());
            }
        }
        for (name, program) in wanted {
            let outcome = match running.get(&name) {
                Some(process) if process.program() == &program => Outcome::Unchanged,
                Some(_) => {
                    if let Some(process) = running.remove(&name) {
                        // The next one starts once this one is gone: its state folder is its own.
                        running.insert(name.clone(), process.replace(program, self.changed.clone()));
                    }
                    Outcome::Updated
                }
                None => {
                    running.insert(name.clone(), Supervised::start(program, self.changed.clone()));
                    Outcome::Created
                }
            };
            outcomes.push((name, outcome));
        }
        outcomes
    }
}

impl Drop for HostBackend {
    fn drop(&mut self) {
        // Without a chance to wait: at least tell them. The pid files let the next start finish it.
        for process in self.running.lock().values() {
            process.signal_now();
        }
    }
}

#[async_trait]
impl Backend for HostBackend {
    async fn apply(&self, desired: &Desired) -> Result<Applied, ApplyError> {
        let wanted = programs(&self.options, &desired.resources);
        let mut applied = Applied::default();
        let before: BTreeSet<String> = self.running.lock().keys().cloned().collect();
        let names: BTreeSet<String> = wanted.keys().cloned().collect();
        for (name, outcome) in self.reconcile(wanted) {
            applied.objects.push((process_key(&self.options.member.cluster, &name), outcome));
        }
        let gone = before.difference(&names);
        applied.pruned = gone.map(|name| process_key(&self.options.member.cluster, name)).collect();
        applied.inventory = Inventory(applied.objects.iter().map(|(key, _)| key.clone()).collect());
        Ok(applied)
    }

    async fn observe(&self) -> Result<Observed, ApplyError> {
        let mut observed = Observed::default();
        for (name, process) in self.running.lock().iter() {
            let program = process.program();
            let state = process.state();
            if let Some(gateway) = &program.gateway {
                let workload = observed
                    .gateways
                    .entry(gateway.clone())
                    .or_insert_with(|| WorkloadState { current: true, ..WorkloadState::default() });
                workload.desired += 1;
                workload.updated += 1;
                workload.ready += i32::from(state.ready);
                observed
                    .addresses
                    .entry(gateway.clone())
                    .or_default()
                    .insert(self.options.host.address.clone());
            }
            if let Some(problem) = &state.problem {
                observed.problems.insert(WorkloadProblem {
                    reason: ProblemReason::PodsNotReady,
                    message: format!("process {name}: {problem}; see {}", process.log().display()),
                });
            }
        }
        Ok(observed)
    }

    async fn delete_all(&self, _: &Fence) -> Result<bool, ApplyError> {
        self.shutdown().await;
        Ok(true)
    }

    fn changes(&self) -> BoxStream<'static, Change> {
        let changed = self.changed.subscribe();
        stream::unfold(changed, |mut changed| async move {
            changed.changed().await.ok().map(|()| (Change::Observe, changed))
        })
        .boxed()
    }
}

fn process_key(cluster: &str, name: &str) -> ObjectKey {
    ObjectKey {
        api_version: "host".to_owned(),
        kind: "Process".to_owned(),
        namespace: cluster.to_owned(),
        name: name.to_owned(),
    }
}

fn make_folder(path: &Path) -> Result<(), ApplyError> {
    std::fs::create_dir_all(path)
        .map_err(|source| ApplyError::Host { what: format!("make {}", path.display()), source })
}

/// Tells that something about a process changed.
fn note(changed: &watch::Sender<u64>) {
    changed.send_modify(|count| *count = count.wrapping_add(1));
}

/// Shared by a supervisor and those who look at it.
type Shared<T> = Arc<Mutex<T>>;

#[cfg(test)]
#[path = "host_tests.rs"]
mod tests;
