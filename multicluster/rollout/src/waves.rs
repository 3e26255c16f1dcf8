// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Which wave each cluster belongs to.

use crate::Member;
use crds::gateway_fleet::Wave;
use crds::selection;

/// Name of the wave for clusters that no wave takes: every cluster is in exactly one.
const OTHER: &str = "other";

/// The waves in order, with the positions of their members, in order of name. Waves without members stay.
pub(crate) fn assign(declared: &[Wave], members: &[Member]) -> Vec<(Wave, Vec<usize>)> {
    let mut waves: Vec<(Wave, Vec<usize>)> = declared.iter().map(|wave| (wave.clone(), Vec::new())).collect();
    if waves.is_empty() {
        waves.push((Wave::default(), Vec::new()));
    }
    let mut others = Vec::new();
    for (position, member) in members.iter().enumerate() {
        match waves.iter_mut().find(|(wave, _)| takes(wave, member)) {
            Some((_, positions)) => positions.push(position),
            None => others.push(position),
        }
    }
    if !others.is_empty() {
        waves.push((Wave { name: OTHER.to_owned(), ..Wave::default() }, others));
    }
    for (_, positions) in &mut waves {
        positions.sort_by(|a, b| members[*a].cluster.cmp(&members[*b].cluster));
    }
    waves
}

fn takes(wave: &Wave, member: &Member) -> bool {
    let names = wave.names.as_deref().unwrap_or_default();
    let catches_all = wave.selector.is_none() && names.is_empty();
    catches_all || selection::takes(wave.selector.as_ref(), names, &member.cluster, &member.labels)
}
