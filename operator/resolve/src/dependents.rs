// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Who read what: from a fact that changed to the objects whose verdict may differ.

use crate::view::Fact;
use operator_ir::ObjectRef;
use std::collections::{BTreeMap, BTreeSet};

/// Facts and their readers, both ways round.
#[derive(Debug, Default)]
pub(crate) struct Dependents {
    readers: BTreeMap<Fact, BTreeSet<ObjectRef>>,
    read: BTreeMap<ObjectRef, BTreeSet<Fact>>,
}

impl Dependents {
    /// Replaces what `reader` depends on.
    pub(crate) fn record(&mut self, reader: &ObjectRef, read: BTreeSet<Fact>) {
        let old = self.read.remove(reader).unwrap_or_default();
        for fact in old.difference(&read) {
            if let Some(readers) = self.readers.get_mut(fact) {
                readers.remove(reader);
                if readers.is_empty() {
                    self.readers.remove(fact);
                }
            }
        }
        for fact in read.difference(&old) {
            self.readers.entry(fact.clone()).or_default().insert(reader.clone());
        }
        if !read.is_empty() {
            self.read.insert(reader.clone(), read);
        }
    }

    /// The readers of `fact`.
    pub(crate) fn of(&self, fact: &Fact) -> impl Iterator<Item = &ObjectRef> {
        self.readers.get(fact).into_iter().flatten()
    }
}
