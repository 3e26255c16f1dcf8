// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! One type's resources with the inputs that they were made from.

use super::Changes;
use gateway_xds_api::{PackedResource, ResourceSet, ResourceType};
use std::collections::BTreeMap;
use std::sync::Arc;

/// An input that can be told from another without looking inside.
pub(super) trait Input: Clone {
    /// Whether both give the same resource; false where that is not known at once.
    fn same(&self, other: &Self) -> bool;
}

impl<T> Input for Arc<T> {
    fn same(&self, other: &Self) -> bool {
        Self::ptr_eq(self, other)
    }
}

impl Input for () {
    fn same(&self, (): &Self) -> bool {
        true
    }
}

/// What should become of a name.
pub(super) enum Wanted<I> {
    /// It is made from this input.
    Is(I),
    /// It is unknown: stays if it is there, made anew from this input if one is given.
    IfKept(Option<I>),
    /// It is not there.
    Gone,
}

#[derive(Debug)]
pub(super) struct Part<K, I> {
    kind: ResourceType,
    entries: BTreeMap<K, (I, Arc<PackedResource>)>,
    /// Names that the last synchronisation put, replaced or removed.
    touched: Vec<K>,
}

/// A step of a synchronisation.
enum Step<I> {
    Make(I),
    Remove,
}

impl<K: Ord + Clone, I: Input> Part<K, I> {
    pub(super) fn new(kind: ResourceType) -> Self {
        Self { kind, entries: BTreeMap::new(), touched: Vec::new() }
    }

    /// Brings the entries up to `wanted`, which is in order of its names.
    pub(super) fn sync<'a>(
        &mut self,
        wanted: impl Iterator<Item = (&'a K, Wanted<I>)>,
        pack: impl Fn(&K, &I) -> PackedResource,
        set: &mut ResourceSet,
        changes: &mut Changes,
    ) where
        K: 'a,
    {
        self.touched.clear();
        for (key, step) in self.steps(wanted) {
            match step {
                Step::Remove => {
                    if let Some((_, packed)) = self.entries.remove(&key) {
                        set.remove(self.kind, &packed.name);
                        changes.removed.push((self.kind, packed.name.clone()));
                    }
                    self.touched.push(key);
                }
                Step::Make(input) => {
                    let packed = pack(&key, &input);
                    changes.encoded += 1;
                    if let Some((before, same)) = self.entries.get_mut(&key)
                        && same.version == packed.version
                        && same.origin == packed.origin
                    {
                        *before = input;
                        continue;
                    }
                    let packed = Arc::new(packed);
                    set.insert(self.kind, packed.clone());
                    changes.upserted.push((self.kind, packed.name.clone()));
                    self.entries.insert(key.clone(), (input, packed));
                    self.touched.push(key);
                }
            }
        }
    }

    /// Walks both sides in step.
    fn steps<'a>(&self, wanted: impl Iterator<Item = (&'a K, Wanted<I>)>) -> Vec<(K, Step<I>)>
    where
        K: 'a,
    {
        let mut steps = Vec::new();
        let mut entries = self.entries.iter().peekable();
        for (key, wanted) in wanted {
            while let Some((stale, _)) = entries.next_if(|(existing, _)| *existing < key) {
                steps.push((stale.clone(), Step::Remove));
            }
            let existing = entries.next_if(|(existing, _)| *existing == key).map(|(_, entry)| entry);
            match (existing, wanted) {
                (Some((before, _)), Wanted::Is(input) | Wanted::IfKept(Some(input))) => {
                    if !before.same(&input) {
                        steps.push((key.clone(), Step::Make(input)));
                    }
                }
                (None, Wanted::Is(input)) => steps.push((key.clone(), Step::Make(input))),
                (Some(_), Wanted::Gone) => steps.push((key.clone(), Step::Remove)),
                (Some(_), Wanted::IfKept(None)) | (None, Wanted::IfKept(_) | Wanted::Gone) => {}
            }
        }
        steps.extend(entries.map(|(stale, _)| (stale.clone(), Step::Remove)));
        steps
    }

    /// Names of the last synchronisation's changes.
    pub(super) fn touched(&self) -> impl Iterator<Item = &K> {
        self.touched.iter()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &K> {
        self.entries.keys()
    }

    pub(super) fn contains(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }

    /// Names and resources, in order.
    pub(super) fn packed(&self) -> impl Iterator<Item = (&K, &Arc<PackedResource>)> {
        self.entries.iter().map(|(key, (_, packed))| (key, packed))
    }
}
