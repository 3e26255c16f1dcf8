// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Subsets: which hosts a request's metadata asks for, and which take it where there are none.

use super::{Builder, HostSet, Weights};
use gateway_config::{LbMetadata, SubsetFallback, Subsets};
use std::collections::HashMap;

/// Finds the set of hosts for metadata.
#[derive(Debug)]
pub(super) struct SubsetIndex {
    /// Positions of sets by exactly the pairs that made them.
    by_metadata: HashMap<LbMetadata, usize>,
    selectors: Vec<(Box<[Box<str>]>, SubsetFallback)>,
    fallback: SubsetFallback,
    /// The set of the default subset.
    default: usize,
    panic_any: bool,
}

/// Where the set of the whole cluster is.
const ANY: usize = 0;

impl SubsetIndex {
    pub(super) fn build(config: &Subsets, builder: &mut Builder<'_>, sets: &mut Vec<HostSet>) -> Self {
        let weights = match (config.locality_weights, config.scale_locality_weights) {
            (false, _) => Weights::Ignored,
            (true, false) => Weights::Full,
            (true, true) => Weights::Scaled,
        };
        let mut members: HashMap<LbMetadata, Vec<usize>> = HashMap::new();
        for selector in &config.selectors {
            let mut own: HashMap<LbMetadata, Vec<usize>> = HashMap::new();
            for (at, host) in builder.view.hosts.iter().enumerate() {
                for key in host.metadata().selected(&selector.keys, config.list_as_any) {
                    let hosts = own.entry(key).or_default();
                    if !selector.single_host || hosts.is_empty() {
                        hosts.push(at);
                    }
                }
            }
            members.extend(own);
        }
        let mut add = |hosts: &[usize]| {
            sets.push(builder.set(hosts, weights));
            sets.len() - 1
        };
        let by_metadata = members.into_iter().map(|(key, hosts)| (key, add(&hosts))).collect();
        let wants_default = |fallback: &SubsetFallback| *fallback == SubsetFallback::Default;
        let mut fallbacks = config.selectors.iter().filter_map(|selector| selector.fallback.as_ref());
        let default = match wants_default(&config.fallback) || fallbacks.any(wants_default) {
            false => ANY,
            true => {
                let hosts = builder.view.hosts.iter().enumerate();
                let inside =
                    hosts.filter(|(_, host)| config.default.is_within(host.metadata(), config.list_as_any));
                let inside: Vec<usize> = inside.map(|(at, _)| at).collect();
                sets.push(builder.set(&inside, weights));
                sets.len() - 1
            }
        };
        let selectors = config.selectors.iter().map(|selector| {
            (selector.keys.clone(), selector.fallback.clone().unwrap_or_else(|| config.fallback.clone()))
        });
        Self {
            by_metadata,
            selectors: selectors.collect(),
            fallback: config.fallback.clone(),
            default,
            panic_any: config.panic_any,
        }
    }

    /// Where to look for a host: a subset alone, or the fallback with what stands in for it.
    pub(super) fn find(&self, metadata: Option<&LbMetadata>) -> [Option<usize>; 2] {
        let Some(wanted) = metadata.filter(|metadata| !metadata.is_empty()) else {
            return self.fall_back(&self.fallback, None);
        };
        if let Some(found) = self.by_metadata.get(wanted) {
            return [Some(*found), None];
        }
        let selector = self.selectors.iter().find(|(keys, _)| {
            keys.len() == wanted.pairs().len()
                && keys.iter().zip(wanted.pairs()).all(|(key, (name, _))| key == name)
        });
        self.fall_back(selector.map_or(&self.fallback, |(_, fallback)| fallback), Some(wanted))
    }

    fn fall_back(&self, fallback: &SubsetFallback, wanted: Option<&LbMetadata>) -> [Option<usize>; 2] {
        let panic = self.panic_any.then_some(ANY);
        match (fallback, wanted) {
            (SubsetFallback::None, _) => [None, panic],
            (SubsetFallback::Any, _) => [Some(ANY), None],
            (SubsetFallback::Default, _) => [Some(self.default), panic],
            (SubsetFallback::Keys(keys), Some(wanted)) => {
                // Fewer keys than before each time: this ends.
                let fewer = wanted.selected(keys, false).into_iter().next();
                self.find(fewer.as_ref())
            }
            (SubsetFallback::Keys(_), None) => [None, panic],
        }
    }
}
