// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Listeners until they are ready: served only when their route tables and secrets are there, the version before serving meanwhile.

use super::Waiting;
use super::references::{References, listener_keys};
use super::tables::Tables;
use crate::{Listener, Snapshot};
use gateway_xds_api::ResourceType;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Listeners that are not served yet.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    pending: BTreeMap<Box<str>, Arc<Listener>>,
}

impl Listeners {
    /// A new version; it holds what it needs from now on.
    pub(super) fn offer(&mut self, name: &str, listener: Arc<Listener>, references: &mut References) {
        references.add_listener(&listener);
        if let Some(before) = self.pending.insert(name.into(), listener) {
            references.drop_listener(&before);
        }
    }

    pub(super) fn remove(&mut self, name: &str, next: &mut Snapshot, references: &mut References) {
        for gone in self.pending.remove(name).into_iter().chain(next.listeners.remove(name)) {
            references.drop_listener(&gone);
        }
    }

    /// Moves those that are ready into the snapshot.
    pub(super) fn promote(
        &mut self,
        next: &mut Snapshot,
        tables: &Tables,
        references: &mut References,
    ) -> bool {
        let ready: Vec<Box<str>> = self
            .pending
            .iter()
            .filter(|(_, listener)| missing(listener, next, tables).is_empty())
            .map(|(name, _)| name.clone())
            .collect();
        for name in &ready {
            if let Some(listener) = self.pending.remove(name)
                && let Some(before) = next.listeners.insert(name.clone(), listener)
            {
                references.drop_listener(&before);
            }
        }
        !ready.is_empty()
    }

    pub(super) fn waiting(&self, snapshot: &Snapshot, tables: &Tables) -> Vec<Waiting> {
        let waiting = self.pending.iter().map(|(name, listener)| Waiting {
            listener: name.to_string(),
            missing: missing(listener, snapshot, tables),
        });
        waiting.collect()
    }
}

fn missing(listener: &Listener, snapshot: &Snapshot, tables: &Tables) -> Vec<(ResourceType, String)> {
    let mut missing = Vec::new();
    listener_keys(listener, |(kind, name)| match kind {
        ResourceType::RouteConfiguration => match snapshot.route_tables.get(&name) {
            None => missing.push((kind, name.into())),
            // Without its virtual hosts the table would answer 404 to everything.
            Some(table) if table.settings.vhds && !tables.have_hosts() => {
                missing.push((ResourceType::VirtualHost, format!("{name}/*")))
            }
            Some(_) => {}
        },
        _ if snapshot.secrets.get(&name).is_none() => missing.push((kind, name.into())),
        _ => {}
    });
    missing.sort();
    missing.dedup();
    missing
}
