// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Route tables put together from RouteConfigurations and VirtualHosts, domain by domain.

use crate::decode::Fault;
use crate::decode::route_table::DecodedTable;
use crate::{RouteTable, Snapshot, TableSettings, VirtualHost, Warning};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// The parts of all route tables.
#[derive(Debug, Default)]
pub(super) struct Tables {
    tables: HashMap<Box<str>, Table>,
    /// Tables and domains whose virtual host may have changed.
    dirty: BTreeMap<Box<str>, Dirty>,
    /// Virtual hosts came at least once, be it none.
    hosts_came: bool,
}

#[derive(Debug, Default)]
struct Table {
    settings: Option<Arc<TableSettings>>,
    /// By name; those inside the RouteConfiguration under `\0` and their position, which sorts before any resource name.
    hosts: HashMap<Box<str>, Arc<VirtualHost>>,
    inline: Vec<Box<str>>,
    /// Who wants a domain. The first name has it, so that the result does not depend on the order of arrival.
    claims: HashMap<Box<str>, BTreeSet<Box<str>>>,
}

#[derive(Debug, Default)]
struct Dirty {
    settings: bool,
    domains: HashSet<Box<str>>,
}

impl Tables {
    /// Virtual hosts came, be it none.
    pub(super) fn hosts_came(&mut self) {
        self.hosts_came = true;
    }

    pub(super) fn have_hosts(&self) -> bool {
        self.hosts_came
    }

    /// A RouteConfiguration.
    pub(super) fn set_table(&mut self, name: &str, decoded: DecodedTable) -> Result<(), Fault> {
        let mut seen = HashSet::new();
        for (at, host) in decoded.virtual_hosts.iter().enumerate() {
            if let Some(twice) = host.domains.iter().find(|domain| !seen.insert(&**domain)) {
                return Err(Fault(format!(
                    "virtual_hosts[{at}].domains: the domain {twice:?} is there twice"
                )));
            }
        }
        let table = self.tables.entry(name.into()).or_default();
        let dirty = self.dirty.entry(name.into()).or_default();
        for inline in std::mem::take(&mut table.inline) {
            table.remove_host(&inline, dirty);
        }
        for (at, host) in decoded.virtual_hosts.into_iter().enumerate() {
            let key: Box<str> = format!("\0{at:08}").into();
            table.set_host(&key, host, dirty);
            table.inline.push(key);
        }
        table.settings = Some(decoded.settings);
        dirty.settings = true;
        Ok(())
    }

    pub(super) fn remove_table(&mut self, name: &str) {
        let Some(table) = self.tables.get_mut(name) else { return };
        let dirty = self.dirty.entry(name.into()).or_default();
        for inline in std::mem::take(&mut table.inline) {
            table.remove_host(&inline, dirty);
        }
        table.settings = None;
        dirty.settings = true;
    }

    /// A VirtualHost.
    pub(super) fn set_host(&mut self, table: &str, name: &str, host: Arc<VirtualHost>) {
        let dirty = self.dirty.entry(table.into()).or_default();
        self.tables.entry(table.into()).or_default().set_host(name, host, dirty);
    }

    pub(super) fn remove_host(&mut self, table: &str, name: &str) {
        if let Some(known) = self.tables.get_mut(table) {
            known.remove_host(name, self.dirty.entry(table.into()).or_default());
        }
    }

    /// Brings what changed into the snapshot.
    pub(super) fn settle(&mut self, next: &mut Snapshot, warnings: &mut Vec<Warning>, changed: &mut bool) {
        for (name, dirty) in std::mem::take(&mut self.dirty) {
            let Some(table) = self.tables.get(&name) else { continue };
            let Some(settings) = &table.settings else {
                *changed |= next.route_tables.remove(&name).is_some();
                if table.hosts.is_empty() {
                    self.tables.remove(&name);
                }
                continue;
            };
            *changed = true;
            match next.route_tables.get(&name) {
                None => {
                    let mut made = RouteTable::new(&name, Arc::clone(settings));
                    table.claims.keys().for_each(|domain| table.assign(&mut made, domain, warnings));
                    next.route_tables.insert(&name, Arc::new(made));
                }
                Some(current) => {
                    let mut made = RouteTable::clone(current);
                    made.settings = Arc::clone(settings);
                    dirty.domains.iter().for_each(|domain| table.assign(&mut made, domain, warnings));
                    next.route_tables.insert(&name, Arc::new(made));
                }
            }
        }
    }
}

impl Table {
    fn set_host(&mut self, name: &str, host: Arc<VirtualHost>, dirty: &mut Dirty) {
        self.remove_host(name, dirty);
        for domain in &host.domains {
            dirty.domains.insert(domain.clone());
            self.claims.entry(domain.clone()).or_default().insert(name.into());
        }
        self.hosts.insert(name.into(), host);
    }

    fn remove_host(&mut self, name: &str, dirty: &mut Dirty) {
        let Some(host) = self.hosts.remove(name) else { return };
        for domain in &host.domains {
            dirty.domains.insert(domain.clone());
            if let Some(claims) = self.claims.get_mut(domain) {
                claims.remove(name);
                if claims.is_empty() {
                    self.claims.remove(domain);
                }
            }
        }
    }

    fn assign(&self, made: &mut RouteTable, domain: &str, warnings: &mut Vec<Warning>) {
        let mut claims = self.claims.get(domain).into_iter().flatten();
        let owner = claims.next();
        made.set_domain(domain, owner.and_then(|owner| self.hosts.get(owner)));
        for loser in claims {
            let owner = owner.map_or("", |owner| owner.trim_start_matches('\0'));
            let message = format!("domains: {domain:?} is served by the virtual host {owner:?} already");
            warnings.push(Warning { name: loser.to_string(), message });
        }
    }
}
