// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What admin pages tell about resources beside their content: versions, when they came, what was rejected or has no effect.

use bytes::Bytes;
use gateway_config::{Applied, ConfigStore};
use gateway_xds_api::ResourceType;
use gateway_xds_client::{Rejection, Update, Upsert};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::SystemTime;

/// Rejected resources remembered.
const REJECTED: usize = 1000;
/// Larger rejected resources are told without their content, bytes.
const REJECTED_SIZE: usize = 64 * 1024;
/// Resources whose warnings are remembered, of all types.
const WARNED: usize = 10_000;

type Key = (ResourceType, Box<str>);

/// One for the process.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// The version of all resources of a type that the control plane named last.
    versions: HashMap<ResourceType, String>,
    taken: HashMap<Key, Taken>,
    /// Versions of listeners that serve while a newer one waits.
    serving: HashMap<Box<str>, Serving>,
    rejected: BTreeMap<Key, Rejected>,
    warnings: BTreeMap<Key, Vec<String>>,
    counts: HashMap<ResourceType, Counts>,
}

/// What happened to the resources of a type since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) added: u64,
    pub(crate) modified: u64,
    pub(crate) removed: u64,
}

/// A resource that was taken.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    /// The version that the control plane gave it.
    pub(crate) version: Box<str>,
    /// When it came; of what was kept on disk, when it was read.
    pub(crate) when: SystemTime,
}

/// A version of a listener that serves though a newer one was taken.
#[derive(Clone, Debug)]
pub(crate) struct Serving {
    pub(crate) taken: Taken,
    pub(crate) value: Bytes,
}

/// A resource whose last version was not taken.
#[derive(Clone, Debug)]
pub(crate) struct Rejected {
    /// Its version.
    pub(crate) version: Box<str>,
    pub(crate) when: SystemTime,
    /// Why.
    pub(crate) message: String,
    /// What was rejected; never of secrets.
    pub(crate) value: Option<Bytes>,
}

/// An update as far as the ledger keeps it.
#[derive(Debug)]
pub(crate) struct Noted {
    kind: ResourceType,
    version: String,
    upserts: Vec<NotedUpsert>,
    removals: Vec<String>,
}

#[derive(Debug)]
struct NotedUpsert {
    name: String,
    version: String,
    value: Option<Bytes>,
}

impl Noted {
    /// What is kept of an update. Large resources are not shared, so that they can be taken over without a copy.
    pub(crate) fn of(update: &Update) -> Self {
        Self {
            kind: update.kind,
            version: update.version.clone(),
            upserts: update.upserts.iter().map(|upsert| NotedUpsert::of(update.kind, upsert)).collect(),
            removals: update.removals.clone(),
        }
    }
}

impl NotedUpsert {
    fn of(kind: ResourceType, upsert: &Upsert) -> Self {
        let shown = kind != ResourceType::Secret && upsert.value.len() <= REJECTED_SIZE;
        let value = shown.then(|| upsert.value.clone());
        Self { name: upsert.name.clone(), version: upsert.version.clone(), value }
    }
}

impl Ledger {
    /// Notes what was kept on disk. Virtual hosts are told with their table, not by themselves.
    pub(crate) fn note_kept<'a>(&mut self, kept: impl Iterator<Item = (ResourceType, &'a str, String)>) {
        let when = SystemTime::now();
        for (kind, name, version) in kept.filter(|(kind, ..)| *kind != ResourceType::VirtualHost) {
            self.taken.insert((kind, name.into()), Taken { version: version.into(), when });
        }
    }

    /// Before an update is applied: keeps the versions of listeners that serve and are about to be replaced.
    pub(crate) fn before(&mut self, update: &Update, store: &ConfigStore) {
        if update.kind != ResourceType::Listener {
            return;
        }
        let waiting = waiting(store);
        for upsert in update.upserts.iter().filter(|upsert| !waiting.contains(&upsert.name)) {
            let taken = self.taken.get(&(update.kind, upsert.name.as_str().into()));
            if let (Some(taken), Some(value)) = (taken, store.accepted_value(update.kind, &upsert.name)) {
                let serving = Serving { taken: taken.clone(), value: value.clone() };
                self.serving.insert(upsert.name.as_str().into(), serving);
            }
        }
    }

    /// After it was applied.
    pub(crate) fn after(
        &mut self,
        update: Noted,
        rejections: &[Rejection],
        applied: &Applied,
        store: &ConfigStore,
    ) {
        let when = SystemTime::now();
        let Noted { kind, version, upserts, removals } = update;
        self.versions.insert(kind, version);
        let messages: HashMap<&str, &str> =
            rejections.iter().map(|r| (r.name.as_str(), r.message.as_str())).collect();
        for upsert in upserts {
            let key = (kind, Box::from(upsert.name.as_str()));
            match messages.get(upsert.name.as_str()) {
                Some(message) => self.reject(key, upsert, message, when),
                None => {
                    self.rejected.remove(&key);
                    self.warnings.remove(&key);
                    if kind != ResourceType::VirtualHost {
                        let before = self.taken.insert(key, Taken { version: upsert.version.into(), when });
                        let counts = self.counts.entry(kind).or_default();
                        *(if before.is_some() { &mut counts.modified } else { &mut counts.added }) += 1;
                    }
                }
            }
        }
        let removed = removals.into_iter().map(|name| (kind, name));
        for (kind, name) in removed.chain(applied.unwanted.iter().cloned()) {
            if store.accepted_value(kind, &name).is_none() {
                self.forget(&(kind, name.into()));
            }
        }
        for warning in &applied.warnings {
            let key = (kind, Box::from(warning.name.as_str()));
            if self.warnings.len() < WARNED || self.warnings.contains_key(&key) {
                self.warnings.entry(key).or_default().push(warning.message.clone());
            }
        }
        if !self.serving.is_empty() {
            let waiting = waiting(store);
            self.serving.retain(|name, _| waiting.contains(&**name));
        }
    }

    /// Notes a resource that was rejected before it could be applied.
    pub(crate) fn note_rejected(&mut self, kind: ResourceType, upsert: &Upsert, message: &str) {
        let key = (kind, Box::from(upsert.name.as_str()));
        self.reject(key, NotedUpsert::of(kind, upsert), message, SystemTime::now());
    }

    fn forget(&mut self, key: &Key) {
        if self.taken.remove(key).is_some() {
            self.counts.entry(key.0).or_default().removed += 1;
        }
        self.rejected.remove(key);
        self.warnings.remove(key);
    }

    fn reject(&mut self, key: Key, upsert: NotedUpsert, message: &str, when: SystemTime) {
        let full = self.rejected.len() >= REJECTED && !self.rejected.contains_key(&key);
        if !full {
            let NotedUpsert { version, value, .. } = upsert;
            let rejected = Rejected { version: version.into(), when, message: message.to_owned(), value };
            self.rejected.insert(key, rejected);
        }
    }

    /// The version of a type.
    pub(crate) fn version(&self, kind: ResourceType) -> &str {
        self.versions.get(&kind).map_or("", String::as_str)
    }

    /// How a resource came.
    pub(crate) fn taken(&self, kind: ResourceType, name: &str) -> Option<&Taken> {
        self.taken.get(&(kind, name.into()))
    }

    /// The version of a waiting listener that serves meanwhile.
    pub(crate) fn serving(&self, listener: &str) -> Option<&Serving> {
        self.serving.get(listener)
    }

    /// How many resources of a type came, changed and went.
    pub(crate) fn counts(&self, kind: ResourceType) -> Counts {
        self.counts.get(&kind).copied().unwrap_or_default()
    }

    /// All rejections.
    pub(crate) fn rejections(&self) -> impl Iterator<Item = (ResourceType, &str, &Rejected)> {
        self.rejected.iter().map(|((kind, name), rejected)| (*kind, &**name, rejected))
    }

    /// Fields without effect in what was taken.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = (ResourceType, &str, &[String])> {
        self.warnings.iter().map(|((kind, name), messages)| (*kind, &**name, messages.as_slice()))
    }
}

/// Listeners whose last version does not serve yet.
fn waiting(store: &ConfigStore) -> HashSet<String> {
    store.waiting().into_iter().map(|waiting| waiting.listener).collect()
}
