// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Who read what: from a fact that changed to the objects whose verdict may differ.

use crate::view::Fact;
use operator_ir::ObjectRef;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Facts and their readers, both ways round. Names are shared: there is one entry for each route and thing it reads.
#[derive(Debug, Default)]
pub(crate) struct Dependents {
    readers: BTreeMap<Arc<Fact>, BTreeSet<Arc<ObjectRef>>>,
    read: BTreeMap<Arc<ObjectRef>, Box<[Arc<Fact>]>>,
}

impl Dependents {
    /// Replaces what `reader` depends on.
    pub(crate) fn record(&mut self, reader: &ObjectRef, read: BTreeSet<Fact>) {
        let (reader, old) =
            self.read.remove_entry(reader).unwrap_or_else(|| (Arc::new(reader.clone()), Box::default()));
        for fact in old.iter().filter(|fact| !read.contains(fact.as_ref())) {
            if let Some(readers) = self.readers.get_mut(fact) {
                readers.remove(&reader);
                if readers.is_empty() {
                    self.readers.remove(fact);
                }
            }
        }
        let facts: Box<[_]> = read.into_iter().map(|fact| self.join(fact, &reader)).collect();
        if !facts.is_empty() {
            self.read.insert(reader, facts);
        }
    }

    /// Adds a reader to a fact; the one allocation of the fact.
    fn join(&mut self, fact: Fact, reader: &Arc<ObjectRef>) -> Arc<Fact> {
        let shared = match self.readers.get_key_value(&fact) {
            Some((shared, _)) => shared.clone(),
            None => Arc::new(fact),
        };
        self.readers.entry(shared.clone()).or_default().insert(reader.clone());
        shared
    }

    /// The readers of `fact`.
    pub(crate) fn of(&self, fact: &Fact) -> impl Iterator<Item = &ObjectRef> {
        self.readers.get(fact).into_iter().flatten().map(Arc::as_ref)
    }
}
