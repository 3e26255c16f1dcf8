// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Domains with a wildcard that is not a whole label: `*-suffix`, `prefix.*`, `prefix-*`.

use crate::VirtualHost;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Virtual hosts by the fixed end of their domains. A look costs one map access for each different length.
#[derive(Clone, Debug, Default)]
pub(crate) struct WildcardHosts {
    hosts: Arc<HashMap<Box<str>, Arc<VirtualHost>>>,
    /// How many entries have a length.
    lengths: Arc<BTreeMap<usize, usize>>,
}

/// Which end of a host is fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FixedEnd {
    /// `*suffix`.
    Suffix,
    /// `prefix*`.
    Prefix,
}

impl WildcardHosts {
    /// The virtual host with the longest fixed end, where that is longer than `than`; the wildcard stands for at least one character.
    pub(crate) fn longest(&self, host: &str, end: FixedEnd, than: usize) -> Option<&Arc<VirtualHost>> {
        let fitting = self.lengths.range(than + 1..host.len().max(than + 1)).rev();
        fitting.filter_map(|(&length, _)| part(host, end, length)).find_map(|fixed| self.hosts.get(fixed))
    }

    pub(crate) fn get(&self, fixed: &str) -> Option<&Arc<VirtualHost>> {
        self.hosts.get(fixed)
    }

    pub(crate) fn set(&mut self, fixed: &str, host: Option<&Arc<VirtualHost>>) {
        let hosts = Arc::make_mut(&mut self.hosts);
        let lengths = Arc::make_mut(&mut self.lengths);
        match host {
            Some(host) => {
                if hosts.insert(fixed.into(), Arc::clone(host)).is_none() {
                    *lengths.entry(fixed.len()).or_default() += 1;
                }
            }
            None => {
                if hosts.remove(fixed).is_some()
                    && let Some(count) = lengths.get_mut(&fixed.len())
                {
                    *count -= 1;
                    if *count == 0 {
                        lengths.remove(&fixed.len());
                    }
                }
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Arc<VirtualHost>)> {
        self.hosts.iter().map(|(fixed, host)| (&**fixed, host))
    }

    pub(crate) fn len(&self) -> usize {
        self.hosts.len()
    }
}

fn part(host: &str, end: FixedEnd, length: usize) -> Option<&str> {
    match end {
        FixedEnd::Suffix => host.get(host.len() - length..),
        FixedEnd::Prefix => host.get(..length),
    }
}
