// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The current resources of every group, and the streams to wake when they change.

use crate::ledger::StreamId;
use crate::{Form, Group, Ledger};
use gateway_xds_api::{Difference, ResourceSet, ResourceType};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::{Notify, watch};

/// One version of a group's resources.
#[derive(Debug)]
pub struct Snapshot {
    /// The caller's name for it, such as the revision's hash and a count of live changes.
    pub version: Arc<str>,
    /// Grows by one with each publication in this process.
    pub sequence: u64,
    /// What it holds.
    pub resources: Arc<ResourceSet>,
}

/// Holds the current snapshots; clones share them.
#[derive(Clone, Debug)]
pub struct Publisher {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    demand: watch::Sender<BTreeSet<(Group, Form)>>,
    ledger: Ledger,
}

#[derive(Debug, Default)]
struct State {
    sequence: u64,
    next_stream: StreamId,
    slots: HashMap<(Group, Form), Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    snapshot: Option<Arc<Snapshot>>,
    streams: BTreeMap<StreamId, Arc<Watcher>>,
}

/// A stream as the publisher sees it.
#[derive(Debug, Default)]
pub(crate) struct Watcher {
    wake: Notify,
    interest: Mutex<BTreeMap<ResourceType, Interest>>,
}

/// What a stream wants of one type.
#[derive(Debug)]
pub(crate) enum Interest {
    /// Everything.
    All,
    /// These names.
    Names(HashSet<String>),
}

impl Watcher {
    /// Waits for the next wake-up; one that came before is not lost.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Replaces what the stream wants of a type.
    pub(crate) fn set_interest(&self, kind: ResourceType, interest: Interest) {
        self.interest.lock().insert(kind, interest);
    }

    fn touched(&self, kind: ResourceType, changes: &[Difference<'_>]) -> bool {
        match self.interest.lock().get(&kind) {
            None => false,
            Some(Interest::All) => true,
            Some(Interest::Names(names)) => changes.iter().any(|change| match change {
                Difference::Upsert(r) => names.contains(&r.name),
                Difference::Removed(name) => names.contains(*name),
            }),
        }
    }
}

impl Publisher {
    /// Publishes nothing yet.
    #[must_use]
    pub fn new(ledger: Ledger) -> Self {
        let demand = watch::Sender::new(BTreeSet::new());
        Self { shared: Arc::new(Shared { state: Mutex::default(), demand, ledger }) }
    }

    /// Makes `resources` the current set of a group in a form and wakes the streams whose subscriptions differ by it.
    /// Returns the set's sequence.
    pub fn publish(
        &self,
        group: &Group,
        form: Form,
        version: impl Into<Arc<str>>,
        resources: Arc<ResourceSet>,
    ) -> u64 {
        let mut state = self.shared.state.lock();
        state.sequence += 1;
        let snapshot = Arc::new(Snapshot { version: version.into(), sequence: state.sequence, resources });
        let slot = state.slots.entry((group.clone(), form)).or_default();
        let previous = slot.snapshot.replace(snapshot.clone());
        let touched = touched_streams(slot, previous.as_deref(), &snapshot);
        // The ledger is told under the lock, so that no stream can settle on the previous set in between.
        if let Some(previous) = previous {
            self.shared.ledger.carry(group, previous.sequence, &snapshot, form, &touched);
        }
        snapshot.sequence
    }

    /// Forgets a group that no longer exists. Its proxies keep what they have.
    pub fn withdraw(&self, group: &Group) {
        let mut state = self.shared.state.lock();
        for form in [Form::Gateway, Form::Envoy] {
            if let Some(slot) = state.slots.get_mut(&(group.clone(), form)) {
                slot.snapshot = None;
            }
        }
        state.slots.retain(|_, slot| slot.snapshot.is_some() || !slot.streams.is_empty());
    }

    /// The current snapshot, if there is one.
    #[must_use]
    pub fn current(&self, group: &Group, form: Form) -> Option<Arc<Snapshot>> {
        self.shared.state.lock().slots.get(&(group.clone(), form))?.snapshot.clone()
    }

    /// Groups and forms that connected proxies ask for. A form that nobody asks for need not be published.
    #[must_use]
    pub fn demand(&self) -> watch::Receiver<BTreeSet<(Group, Form)>> {
        self.shared.demand.subscribe()
    }

    /// The ledger of this publisher's streams.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.shared.ledger
    }

    pub(crate) fn join(&self, group: &Group, form: Form, node: Arc<str>) -> (StreamId, Arc<Watcher>) {
        let watcher = Arc::new(Watcher::default());
        let mut state = self.shared.state.lock();
        state.next_stream += 1;
        let stream = state.next_stream;
        state.slots.entry((group.clone(), form)).or_default().streams.insert(stream, watcher.clone());
        self.shared.ledger.connect(group, stream, node, form);
        self.shared.demand.send_if_modified(|demand| demand.insert((group.clone(), form)));
        (stream, watcher)
    }

    pub(crate) fn leave(&self, group: &Group, form: Form, stream: StreamId) {
        let mut state = self.shared.state.lock();
        let key = (group.clone(), form);
        if let Some(slot) = state.slots.get_mut(&key) {
            slot.streams.remove(&stream);
            if slot.streams.is_empty() {
                if slot.snapshot.is_none() {
                    state.slots.remove(&key);
                }
                self.shared.demand.send_if_modified(|demand| demand.remove(&key));
            }
        }
        self.shared.ledger.disconnect(group, stream);
    }
}

/// Wakes and names the streams that `next` means a change for.
fn touched_streams(slot: &Slot, previous: Option<&Snapshot>, next: &Snapshot) -> BTreeSet<StreamId> {
    let Some(previous) = previous else {
        slot.streams.values().for_each(|watcher| watcher.wake.notify_one());
        return slot.streams.keys().copied().collect();
    };
    let mut touched = BTreeSet::new();
    for kind in ResourceType::ALL {
        let (before, after) = (previous.resources.map(kind), next.resources.map(kind));
        let changes = before.diff(&after);
        if changes.is_empty() {
            continue;
        }
        for (stream, watcher) in &slot.streams {
            if !touched.contains(stream) && watcher.touched(kind, &changes) {
                watcher.wake.notify_one();
                touched.insert(*stream);
            }
        }
    }
    touched
}
