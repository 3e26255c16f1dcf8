// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Writes to the hub's own objects: one at a time for each object, the newest first, only what differs, tried again.

use crate::objects::{Kind, Objects, ObjectsError};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};

const RETRY_BASE: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(15);
/// Tries for an object that is not there.
const NOT_THERE_TRIES: u32 = 4;
/// Writes at the same time.
const PARALLEL: usize = 16;

/// Names what is written: what, kind, namespace, name.
type Target = (&'static str, String, String, String);
/// SHA-256 of what is written.
type Digest = [u8; 32];
type Attempt = Arc<dyn Fn(Objects) -> BoxFuture<'static, Result<(), ObjectsError>> + Send + Sync>;

/// The writer. Cheap to clone.
#[derive(Clone)]
pub(super) struct Writer {
    objects: Objects,
    slots: Arc<Mutex<HashMap<Target, Slot>>>,
    permits: Arc<Semaphore>,
    stop: CancellationToken,
    _guard: Arc<DropGuard>,
}

/// What is known of one target.
#[derive(Default)]
struct Slot {
    /// Digest of what was last asked for, to leave out what is the same; none where the next write goes out in any case.
    wanted: Option<Digest>,
    /// What waits to be written.
    pending: Option<Attempt>,
    /// A task is at it.
    busy: bool,
}

impl Writer {
    pub(super) fn new(objects: Objects) -> Self {
        let stop = CancellationToken::new();
        Self {
            objects,
            slots: Arc::default(),
            permits: Arc::new(Semaphore::new(PARALLEL)),
            _guard: Arc::new(stop.clone().drop_guard()),
            stop,
        }
    }

    /// Applies metadata and spec.
    pub(super) fn apply<K: Kind>(&self, object: K) {
        self.enqueue("object", &object, move |objects, object: K| {
            Box::pin(async move { objects.apply(crds::FIELD_MANAGER, &object).await.map(|_| ()) })
        });
    }

    /// Applies the status, which is all that `object` carries beside its identity and spec.
    pub(super) fn status<K: Kind>(&self, object: K) {
        self.enqueue("status", &object, move |objects, object: K| {
            Box::pin(async move { objects.apply_status(crds::FIELD_MANAGER, &object).await })
        });
    }

    /// Writes the status by reading the newest object and changing it; `change` says whether there is anything to write.
    pub(super) fn merge_status<K: Kind>(
        &self,
        wanted: &K,
        change: impl Fn(&mut K) -> bool + Send + Sync + 'static,
    ) {
        let change = Arc::new(change);
        self.enqueue("status", wanted, move |objects, wanted: K| {
            let change = Arc::clone(&change);
            Box::pin(async move {
                let metadata = wanted.meta();
                let (namespace, name) = (metadata.namespace.clone(), metadata.name.clone());
                let found =
                    objects.get::<K>(&namespace.unwrap_or_default(), &name.unwrap_or_default()).await?;
                match found {
                    Some(mut object) => {
                        if change(&mut object) {
                            objects.replace_status(&object).await
                        } else {
                            Ok(())
                        }
                    }
                    None => Ok(()),
                }
            })
        });
    }

    /// Deletes an object.
    pub(super) fn delete<K: Kind>(&self, namespace: &str, name: &str) {
        // A status that still waits has no object any more.
        let status = ("status", K::kind(&()).into_owned(), namespace.to_owned(), name.to_owned());
        if let Some(slot) = self.slots.lock().get_mut(&status) {
            slot.pending = None;
            slot.wanted = None;
        }
        self.forget::<K>("status", namespace, name);
        let target = ("object", K::kind(&()).into_owned(), namespace.to_owned(), name.to_owned());
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        let attempt: Attempt = Arc::new(move |objects| {
            let (namespace, name) = (namespace.clone(), name.clone());
            Box::pin(async move { objects.delete::<K>(&namespace, &name).await })
        });
        self.put(target, None, attempt);
    }

    /// The target differs from what we last wrote, or may, or is gone: the next write goes out whatever it says.
    pub(super) fn forget<K: Kind>(&self, what: &'static str, namespace: &str, name: &str) {
        let target = (what, K::kind(&()).into_owned(), namespace.to_owned(), name.to_owned());
        let mut slots = self.slots.lock();
        if slots.get(&target).is_some_and(|slot| !slot.busy && slot.pending.is_none()) {
            slots.remove(&target);
        }
    }

    fn enqueue<K: Kind>(
        &self,
        what: &'static str,
        object: &K,
        write: impl Fn(Objects, K) -> BoxFuture<'static, Result<(), ObjectsError>> + Send + Sync + 'static,
    ) {
        let metadata = object.meta();
        let target = (
            what,
            K::kind(&()).into_owned(),
            metadata.namespace.clone().unwrap_or_default(),
            metadata.name.clone().unwrap_or_default(),
        );
        let mut wanted = serde_json::to_value(object).unwrap_or_default();
        if let Some(metadata) = wanted.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.retain(|key, _| matches!(key.as_str(), "labels" | "annotations" | "finalizers"));
        }
        let object = object.clone();
        let attempt: Attempt = Arc::new(move |objects| write(objects, object.clone()));
        self.put(target, digest(&wanted), attempt);
    }

    fn put(&self, target: Target, wanted: Option<Digest>, attempt: Attempt) {
        let mut slots = self.slots.lock();
        let slot = slots.entry(target.clone()).or_default();
        if wanted.is_some() && slot.wanted == wanted {
            return;
        }
        slot.wanted = wanted;
        slot.pending = Some(attempt);
        if !slot.busy {
            slot.busy = true;
            let writer = self.clone_for_task();
            tokio::spawn(self.stop.clone().run_until_cancelled_owned(writer.work(target)));
        }
    }

    fn clone_for_task(&self) -> Worker {
        Worker {
            objects: self.objects.clone(),
            slots: Arc::clone(&self.slots),
            permits: Arc::clone(&self.permits),
        }
    }
}

/// A task's share of the writer: without the guard, so that tasks end with the last user.
struct Worker {
    objects: Objects,
    slots: Arc<Mutex<HashMap<Target, Slot>>>,
    permits: Arc<Semaphore>,
}

impl Worker {
    async fn work(self, target: Target) {
        let mut failures = 0u32;
        loop {
            let attempt = {
                let mut slots = self.slots.lock();
                let Some(slot) = slots.get_mut(&target) else { return };
                match slot.pending.clone() {
                    Some(attempt) => attempt,
                    None => {
                        slot.busy = false;
                        // Nothing to compare with: deleted, or failed for good.
                        if slot.wanted.is_none() {
                            slots.remove(&target);
                        }
                        return;
                    }
                }
            };
            let done = {
                let _permit = self.permits.acquire().await;
                attempt(self.objects.clone()).await
            };
            let again = done.as_ref().is_err_and(|error| is_worth_more(error, failures));
            if let Err(error) = &done {
                let (what, kind, namespace, name) = &target;
                let error = crate::objects::chain(error);
                if again && failures == 0 {
                    tracing::debug!(what, kind, namespace, name, %error, "write is tried again");
                } else {
                    tracing::warn!(what, kind, namespace, name, %error, again, "write failed");
                }
            }
            {
                let mut slots = self.slots.lock();
                if let Some(slot) = slots.get_mut(&target)
                    && !again
                    && slot.pending.as_ref().is_some_and(|pending| Arc::ptr_eq(pending, &attempt))
                {
                    slot.pending = None;
                    if done.is_err() {
                        slot.wanted = None;
                    }
                }
            }
            if again {
                failures = failures.saturating_add(1);
                tokio::time::sleep(RETRY_BASE.saturating_mul(1 << (failures - 1).min(8)).min(RETRY_MAX))
                    .await;
            } else {
                failures = 0;
            }
        }
    }
}

/// Of ten thousand objects only digests are kept, as the objects themselves are in the watch's cache already.
fn digest(wanted: &Value) -> Option<Digest> {
    serde_json::to_vec(wanted).ok().map(|bytes| Sha256::digest(bytes).into())
}

/// Whether trying the same again may help: not where the object is refused as it is. One that is not there may be on its way:
/// its status was ready before itself was written.
fn is_worth_more(error: &ObjectsError, failures: u32) -> bool {
    match error {
        ObjectsError::Api { source, .. } => match source.as_ref() {
            kube::Error::Api(status) if status.code == 404 => failures < NOT_THERE_TRIES,
            kube::Error::Api(status) => !matches!(status.code, 400 | 422),
            _ => true,
        },
        ObjectsError::Shape { .. } => false,
        ObjectsError::Conflict { .. } => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::Store;
    use crds::{FleetCluster, FleetClusterSpec};

    #[tokio::test]
    async fn writes_what_differs_and_the_newest_wins() {
        let objects = Objects::Folder(Store::new());
        let writer = Writer::new(objects.clone());
        let cluster = |paused| {
            let mut cluster =
                FleetCluster::new("a", FleetClusterSpec { paused, ..FleetClusterSpec::default() });
            cluster.metadata.namespace = Some("n".into());
            cluster
        };
        writer.apply(cluster(true));
        writer.apply(cluster(false));
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(found) = objects.get::<FleetCluster>("n", "a").await.unwrap()
                && !found.spec.paused
            {
                break;
            }
            assert!(tokio::time::Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let version = objects.get::<FleetCluster>("n", "a").await.unwrap().unwrap().metadata.resource_version;
        writer.apply(cluster(false));
        tokio::task::yield_now().await;
        assert!(!writer.slots.lock().values().any(|slot| slot.busy), "the same was written again");
        assert_eq!(
            objects.get::<FleetCluster>("n", "a").await.unwrap().unwrap().metadata.resource_version,
            version
        );
        writer.status(cluster(false));
        writer.delete::<FleetCluster>("n", "a");
        while !writer.slots.lock().keys().all(|(what, ..)| *what == "status") {
            assert!(tokio::time::Instant::now() < deadline, "a deleted object is remembered");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
