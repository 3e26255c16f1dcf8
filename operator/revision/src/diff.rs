// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What one revision changes of another, for people.

use crate::part::{PartRef, parts_of};
use operator_ir::{GatewayConfig, GatewayId, Rule, VirtualHost};
use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};

/// Differences as lines: `+` new, `-` gone, `~` changed; virtual hosts with their rules and the objects behind them.
#[must_use]
pub fn diff<C: Borrow<GatewayConfig>>(
    old: &BTreeMap<GatewayId, C>,
    new: &BTreeMap<GatewayId, C>,
) -> Vec<String> {
    let empty = GatewayConfig::default();
    let mut lines = Vec::new();
    let ids: BTreeSet<&GatewayId> = old.keys().chain(new.keys()).collect();
    for id in ids {
        match (old.contains_key(id), new.contains_key(id)) {
            (false, _) => lines.push(format!("+ gateway {id}")),
            (_, false) => {
                lines.push(format!("- gateway {id}"));
                continue;
            }
            _ => {}
        }
        let before = old.get(id).map_or(&empty, C::borrow);
        let after = new.get(id).map_or(&empty, C::borrow);
        gateway(id, before, after, &mut lines);
    }
    lines
}

fn gateway(id: &GatewayId, old: &GatewayConfig, new: &GatewayConfig, lines: &mut Vec<String>) {
    let mut before = parts_of(old).peekable();
    for part in parts_of(new) {
        while let Some(gone) = before.next_if(|p| p.name() < part.name()) {
            lines.push(format!("- {id}: {}", gone.name()));
        }
        match before.next_if(|p| p.name() == part.name()) {
            None => lines.push(format!("+ {id}: {}{}", part.name(), added(part))),
            Some(existing) if existing.equal(part) => {}
            Some(existing) => lines.push(format!("~ {id}: {}{}", part.name(), changed(existing, part))),
        }
    }
    lines.extend(before.map(|gone| format!("- {id}: {}", gone.name())));
}

fn added(part: PartRef<'_>) -> String {
    match part {
        PartRef::VirtualHost(_, host) => format!(" ({})", summary(host.rules.len(), 0, 0, host.rules.iter())),
        _ => String::new(),
    }
}

fn changed(old: PartRef<'_>, new: PartRef<'_>) -> String {
    let (PartRef::VirtualHost(_, old), PartRef::VirtualHost(_, new)) = (old, new) else {
        return String::new();
    };
    let (before, after) = (by_name(old), by_name(new));
    let added: Vec<&Rule> =
        after.iter().filter(|(name, _)| !before.contains_key(*name)).map(|(_, r)| *r).collect();
    let gone: Vec<&Rule> =
        before.iter().filter(|(name, _)| !after.contains_key(*name)).map(|(_, r)| *r).collect();
    let differ: Vec<&Rule> = after
        .iter()
        .filter(|(name, r)| before.get(*name).is_some_and(|b| b != *r))
        .map(|(_, r)| *r)
        .collect();
    if added.is_empty() && gone.is_empty() && differ.is_empty() {
        return " (order of rules)".to_owned();
    }
    let all = added.iter().chain(&gone).chain(&differ).copied();
    format!(" ({})", summary(added.len(), gone.len(), differ.len(), all))
}

fn by_name(host: &VirtualHost) -> BTreeMap<&str, &Rule> {
    host.rules.iter().map(|rule| (rule.name.as_str(), rule)).collect()
}

fn summary<'a>(added: usize, gone: usize, changed: usize, rules: impl Iterator<Item = &'a Rule>) -> String {
    let counts = [("+", added), ("-", gone), ("~", changed)];
    let counts: Vec<String> =
        counts.iter().filter(|(_, n)| *n > 0).map(|(sign, n)| format!("{sign}{n}")).collect();
    let objects: BTreeSet<String> = rules.map(|rule| rule.origin.object.to_string()).collect();
    let objects: Vec<String> = objects.into_iter().collect();
    format!("rules {}; {}", counts.join(" "), objects.join(", "))
}
