// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A whole fleet in one process and its children, from a folder: hub, relays and gateway processes without Kubernetes.

use crate::hub::{self, HostPrograms, HubOptions};
use crate::local_relays::{LocalObjects, LocalRelayOptions, LocalRelays};
use crate::objects::{FolderProblem, FolderSource, Objects};
use multicluster_apply::HostTokens;
use notify::{RecursiveMode, Watcher};
use operator_xds_server::Metrics;
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Editors write a file in several steps; what they mean is there this long after the last one.
const SETTLE: Duration = Duration::from_millis(20);
/// The folder is read again so often, in case its file system tells nothing.
const POLL: Duration = Duration::from_secs(2);

/// What to run, and where.
#[derive(Clone, Debug)]
pub struct EmbeddedOptions {
    /// The folder with the fleet's YAML.
    pub folder: PathBuf,
    /// Folder for logs, keys and last good configurations.
    pub state: PathBuf,
    /// Program of the gateway.
    pub gateway: PathBuf,
}

/// Why nothing could be started.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// The folder cannot be read.
    #[error("cannot read the folder {0}")]
    Folder(PathBuf, #[source] std::io::Error),
    /// The state folder cannot be made.
    #[error("cannot make the state folder {0}; name another with --state")]
    State(PathBuf, #[source] std::io::Error),
    /// The folder cannot be followed.
    #[error("cannot follow changes of the folder {0}")]
    Watch(PathBuf, #[source] notify::Error),
}

/// A running fleet.
#[derive(Debug)]
pub struct Embedded {
    objects: Objects,
    problems: watch::Receiver<Vec<FolderProblem>>,
    state: PathBuf,
    stop: CancellationToken,
    hub: JoinHandle<()>,
    reader: JoinHandle<()>,
}

impl Embedded {
    /// Reads the folder and starts everything that it declares.
    ///
    /// # Errors
    /// Where the folder cannot be read or followed, or the state folder cannot be made.
    pub async fn start(options: EmbeddedOptions) -> Result<Self, EmbeddedError> {
        let EmbeddedOptions { folder, state, gateway } = options;
        std::fs::create_dir_all(&state).map_err(|e| EmbeddedError::State(state.clone(), e))?;
        let stop = CancellationToken::new();
        let mut source = FolderSource::new(folder.clone(), definitions());
        let problems = source.reload().map_err(|e| EmbeddedError::Folder(folder.clone(), e))?;
        let stores: Arc<Mutex<BTreeMap<String, Objects>>> = Arc::default();
        share_members(&mut source, &stores);
        let objects = Objects::Folder(source.hub());

        let tokens = HostTokens::default();
        let relays = LocalRelays::new(
            LocalRelayOptions {
                state_dir: state.join("relay"),
                plain_http_registries: Vec::new(),
                cluster_sockets: (
                    SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
                    SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
                ),
                service: "localhost".to_owned(),
            },
            LocalObjects::Hosts(stores.clone()),
            tokens.clone(),
            Metrics::default(),
            stop.clone(),
        );
        let programs = HostPrograms {
            gateway,
            own: std::env::current_exe().unwrap_or_else(|_| PathBuf::from("gatefleet")),
            state_dir: state.join("clusters"),
            tokens,
        };
        let hub_options = HubOptions {
            objects: objects.clone(),
            namespace: "gatefleet-system".to_owned(),
            identity: "up".to_owned(),
            operator_image: String::new(),
            gateway_image: String::new(),
            relay_arguments: Vec::new(),
            relays: Some(Arc::new(relays)),
            host: Some(programs),
        };
        let (sender, problems) = watch::channel(problems);
        let reader = tokio::spawn(follow(source, stores, sender, watcher(&folder)?, stop.clone()));
        let hub = tokio::spawn(hub::run(hub_options, stop.clone()));
        Ok(Self { objects, problems, state, stop, hub, reader })
    }

    /// The hub's objects with their statuses.
    #[must_use]
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// What stands in the folder that a user must mend.
    #[must_use]
    pub fn problems(&self) -> watch::Receiver<Vec<FolderProblem>> {
        self.problems.clone()
    }

    /// The state folder.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Ends everything that was started; returns when it is gone.
    pub async fn shutdown(self) {
        self.stop.cancel();
        for task in [self.hub, self.reader] {
            // A task that broke has told so already.
            let _ = task.await;
        }
    }
}

/// A watcher of the folder and the events that it sends.
type Changes = (notify::RecommendedWatcher, mpsc::UnboundedReceiver<()>);

fn watcher(folder: &Path) -> Result<Changes, EmbeddedError> {
    let failed = |error| EmbeddedError::Watch(folder.to_path_buf(), error);
    let (sender, receiver) = mpsc::unbounded_channel();
    let tell = move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !event.kind.is_access()) {
            // The reader is gone only when everything ends.
            let _ = sender.send(());
        }
    };
    let mut watcher = notify::recommended_watcher(tell).map_err(failed)?;
    watcher.watch(folder, RecursiveMode::Recursive).map_err(failed)?;
    Ok((watcher, receiver))
}

async fn follow(
    mut source: FolderSource,
    stores: Arc<Mutex<BTreeMap<String, Objects>>>,
    problems: watch::Sender<Vec<FolderProblem>>,
    (_watcher, mut events): Changes,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(()) = events.recv() => tokio::time::sleep(SETTLE).await,
            () = tokio::time::sleep(POLL) => {}
        }
        while events.try_recv().is_ok() {}
        match source.reload() {
            Ok(found) => {
                share_members(&mut source, &stores);
                problems.send_if_modified(|held| {
                    let differs = *held != found;
                    *held = found;
                    differs
                });
            }
            Err(error) => tracing::warn!(%error, "folder cannot be read; the last state goes on"),
        }
    }
}

/// Gives every FleetCluster a store, also one whose folder does not exist yet.
fn share_members(source: &mut FolderSource, stores: &Mutex<BTreeMap<String, Objects>>) {
    let names = source.cluster_names();
    let mut stores = stores.lock();
    for name in names {
        let store = source.member(&name);
        stores.entry(name).or_insert(Objects::Folder(store));
    }
}

/// The kinds that a folder may hold, beside Kubernetes' own.
fn definitions() -> Vec<Value> {
    let ours = crds::definitions::all().into_iter().filter_map(|d| serde_json::to_value(d.resource).ok());
    let texts = [
        include_str!("../../../crds/gateway-api/gateway.networking.k8s.io_gatewayclasses.yaml"),
        include_str!("../../../crds/gateway-api/gateway.networking.k8s.io_gateways.yaml"),
        include_str!("../../../crds/gateway-api/gateway.networking.k8s.io_httproutes.yaml"),
        include_str!("../../../crds/gateway-api/gateway.networking.k8s.io_referencegrants.yaml"),
    ];
    let theirs = texts.into_iter().filter_map(|text| serde_saphyr::from_str::<Value>(text).ok());
    ours.chain(theirs).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_definition_is_read() {
        assert_eq!(super::definitions().len(), 8);
    }
}
