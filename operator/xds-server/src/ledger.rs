// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What every connected proxy was sent, took and refused.

use crate::{Form, Group, Nack, Snapshot};
use gateway_xds_api::ResourceType;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

/// Events that a slow reader may lag behind before it loses some.
const EVENT_BACKLOG: usize = 4096;

/// Identifies one stream for as long as the process lives.
pub(crate) type StreamId = u64;

/// One type's state on one proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TypeStatus {
    /// Nonce of the response sent last.
    pub nonce: String,
    /// Set version that it belonged to.
    pub sent: Arc<str>,
    /// Set version of the response that was taken last.
    pub acked: Option<Arc<str>>,
    /// The refusal that still stands.
    pub nack: Option<Nack>,
}

/// One connected proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// `<cluster>/<ns>/<pod>`.
    pub node: Arc<str>,
    /// The form that it is served in.
    pub form: Form,
    /// Since when.
    pub connected: SystemTime,
    /// The set version that it took as a whole, and that version's sequence.
    pub acked: Option<(u64, Arc<str>)>,
    /// By type.
    pub types: BTreeMap<ResourceType, TypeStatus>,
}

impl NodeStatus {
    /// The refusals that stand.
    pub fn nacks(&self) -> impl Iterator<Item = &Nack> {
        self.types.values().filter_map(|t| t.nack.as_ref())
    }
}

/// All connected proxies of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupSummary {
    /// By node; the newest stream of each.
    pub nodes: Vec<NodeStatus>,
}

impl GroupSummary {
    /// How many proxies are connected.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.nodes.len()
    }

    /// How many serve `version` as a whole.
    #[must_use]
    pub fn acked(&self, version: &str) -> usize {
        self.nodes.iter().filter(|n| n.acked.as_ref().is_some_and(|(_, v)| &**v == version)).count()
    }

    /// How many took a set of this sequence or a later one as a whole.
    #[must_use]
    pub fn acked_since(&self, sequence: u64) -> usize {
        self.nodes.iter().filter(|n| n.acked.as_ref().is_some_and(|(s, _)| *s >= sequence)).count()
    }

    /// The refusals that stand, with the node that refused.
    pub fn nacks(&self) -> impl Iterator<Item = (&str, &Nack)> {
        self.nodes.iter().flat_map(|n| n.nacks().map(|nack| (&*n.node, nack)))
    }
}

/// A transition, for whoever follows along.
#[derive(Clone, Debug)]
pub enum LedgerEvent {
    /// A proxy opened its stream.
    Connected {
        /// Its group.
        group: Group,
        /// The proxy.
        node: Arc<str>,
    },
    /// A proxy serves a set version as a whole.
    Acked {
        /// Its group.
        group: Group,
        /// The proxy.
        node: Arc<str>,
        /// The set's version.
        version: Arc<str>,
        /// The set's sequence.
        sequence: u64,
        /// When, for differences.
        at: Instant,
        /// When, for people.
        time: SystemTime,
    },
    /// A proxy refused a response.
    Nacked {
        /// Its group.
        group: Group,
        /// The proxy.
        node: Arc<str>,
        /// What it said.
        nack: Nack,
    },
    /// A proxy's stream ended.
    Disconnected {
        /// Its group.
        group: Group,
        /// The proxy.
        node: Arc<str>,
    },
}

/// The record of all streams; clones share it.
#[derive(Clone, Debug)]
pub struct Ledger {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    groups: Mutex<BTreeMap<Group, BTreeMap<StreamId, Entry>>>,
    changes: watch::Sender<u64>,
    events: broadcast::Sender<LedgerEvent>,
}

#[derive(Debug)]
struct Entry {
    status: NodeStatus,
    /// The set that every response was answered for, refused ones included.
    settled: Option<u64>,
}

impl Default for Ledger {
    fn default() -> Self {
        let shared = Shared {
            groups: Mutex::default(),
            changes: watch::Sender::new(0),
            events: broadcast::Sender::new(EVENT_BACKLOG),
        };
        Self { shared: Arc::new(shared) }
    }
}

impl Ledger {
    /// An empty ledger.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The connected proxies of a group.
    #[must_use]
    pub fn summary(&self, group: &Group) -> GroupSummary {
        let groups = self.shared.groups.lock();
        let mut newest: BTreeMap<&Arc<str>, &Entry> = BTreeMap::new();
        for entry in groups.get(group).into_iter().flat_map(BTreeMap::values) {
            newest.insert(&entry.status.node, entry);
        }
        GroupSummary { nodes: newest.into_values().map(|e| e.status.clone()).collect() }
    }

    /// Groups with connected proxies.
    #[must_use]
    pub fn groups(&self) -> Vec<Group> {
        self.shared.groups.lock().keys().cloned().collect()
    }

    /// Changes whenever a summary may have changed; the value only counts.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// Transitions from now on. A reader that lags by some thousand events loses the oldest.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<LedgerEvent> {
        self.shared.events.subscribe()
    }

    pub(crate) fn connect(&self, group: &Group, stream: StreamId, node: Arc<str>, form: Form) {
        let status = NodeStatus {
            node: node.clone(),
            form,
            connected: SystemTime::now(),
            acked: None,
            types: BTreeMap::new(),
        };
        let mut groups = self.shared.groups.lock();
        groups.entry(group.clone()).or_default().insert(stream, Entry { status, settled: None });
        self.tell(LedgerEvent::Connected { group: group.clone(), node });
    }

    pub(crate) fn disconnect(&self, group: &Group, stream: StreamId) {
        let mut groups = self.shared.groups.lock();
        let Some(streams) = groups.get_mut(group) else { return };
        let Some(entry) = streams.remove(&stream) else { return };
        if streams.is_empty() {
            groups.remove(group);
        }
        self.tell(LedgerEvent::Disconnected { group: group.clone(), node: entry.status.node });
    }

    pub(crate) fn sent(
        &self,
        group: &Group,
        stream: StreamId,
        kind: ResourceType,
        nonce: &str,
        version: &Arc<str>,
    ) {
        self.with(group, stream, |entry| {
            let status = entry.status.types.entry(kind).or_default();
            nonce.clone_into(&mut status.nonce);
            status.sent = version.clone();
        });
    }

    /// Records an answer to the response sent last.
    pub(crate) fn answered(&self, group: &Group, stream: StreamId, kind: ResourceType, nack: Option<Nack>) {
        self.with(group, stream, |entry| {
            let status = entry.status.types.entry(kind).or_default();
            if nack.is_none() {
                status.acked = Some(status.sent.clone());
            }
            status.nack.clone_from(&nack);
            if let Some(nack) = nack {
                self.tell(LedgerEvent::Nacked {
                    group: group.clone(),
                    node: entry.status.node.clone(),
                    nack,
                });
            } else {
                self.shared.changes.send_modify(|count| *count += 1);
            }
        });
    }

    /// Records that a stream has nothing left to send or to hear of a set.
    pub(crate) fn settled(&self, group: &Group, stream: StreamId, snapshot: &Snapshot) {
        self.with(group, stream, |entry| {
            settle(group, entry, snapshot).into_iter().for_each(|event| self.tell(event));
        });
    }

    /// Moves the streams on that a new set does not touch: they have all of it already.
    pub(crate) fn carry(
        &self,
        group: &Group,
        previous: u64,
        snapshot: &Snapshot,
        form: Form,
        touched: &BTreeSet<StreamId>,
    ) {
        let mut groups = self.shared.groups.lock();
        for (stream, entry) in groups.get_mut(group).into_iter().flatten() {
            if entry.status.form == form && entry.settled == Some(previous) && !touched.contains(stream) {
                settle(group, entry, snapshot).into_iter().for_each(|event| self.tell(event));
            }
        }
    }

    fn with(&self, group: &Group, stream: StreamId, change: impl FnOnce(&mut Entry)) {
        let mut groups = self.shared.groups.lock();
        if let Some(entry) = groups.get_mut(group).and_then(|streams| streams.get_mut(&stream)) {
            change(entry);
        }
    }

    /// Called under the lock, so that events come in the order of what they tell of.
    fn tell(&self, event: LedgerEvent) {
        self.shared.changes.send_modify(|count| *count += 1);
        // Without a listener there is nobody to tell.
        let _ = self.shared.events.send(event);
    }
}

fn settle(group: &Group, entry: &mut Entry, snapshot: &Snapshot) -> Option<LedgerEvent> {
    let clean = entry.status.nacks().next().is_none();
    let known = entry.status.acked.as_ref().is_some_and(|(sequence, _)| *sequence >= snapshot.sequence);
    entry.settled = entry.settled.max(Some(snapshot.sequence));
    if !clean || known {
        return None;
    }
    entry.status.acked = Some((snapshot.sequence, snapshot.version.clone()));
    Some(LedgerEvent::Acked {
        group: group.clone(),
        node: entry.status.node.clone(),
        version: snapshot.version.clone(),
        sequence: snapshot.sequence,
        at: Instant::now(),
        time: SystemTime::now(),
    })
}
