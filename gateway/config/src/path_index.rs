// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Finds the routes of a virtual host that a path can match, without looking at the others.
//!
//! Exact paths sit in a hash map. Prefixes sit in a sorted array in which each entry knows the longest other entry that is a prefix of it:
//! of all entries that are prefixes of a path, each is a prefix of the greatest entry that is not above the path, so one binary search and
//! a walk up find them all. Expressions and paths without case come last, in order.

use crate::{PathMatcher, RouteMatcher};
use std::collections::{BTreeMap, HashMap};

/// Routes by path; positions are those in the list that it was built from.
#[derive(Debug, Default)]
pub(crate) struct PathIndex {
    exact: HashMap<Box<str>, Box<[u32]>>,
    prefixes: Box<[PrefixEntry]>,
    others: Box<[u32]>,
}

#[derive(Debug)]
struct PrefixEntry {
    prefix: Box<str>,
    parent: Option<u32>,
    routes: Box<[u32]>,
}

impl PathIndex {
    /// Sorts routes by the kind of their path condition.
    pub(crate) fn build<'a>(matchers: impl Iterator<Item = &'a RouteMatcher>) -> Self {
        let mut exact: HashMap<Box<str>, Vec<u32>> = HashMap::new();
        let mut prefixes: BTreeMap<Box<str>, Vec<u32>> = BTreeMap::new();
        let mut others = Vec::new();
        for (at, matcher) in (0_u32..).zip(matchers) {
            match &matcher.path {
                _ if !matcher.case_sensitive => others.push(at),
                PathMatcher::Exact(path) => exact.entry(path.clone()).or_default().push(at),
                PathMatcher::Prefix(path) | PathMatcher::SeparatedPrefix(path) => {
                    prefixes.entry(path.clone()).or_default().push(at)
                }
                PathMatcher::Regex(_) => others.push(at),
            }
        }
        Self {
            exact: exact.into_iter().map(|(path, routes)| (path, routes.into())).collect(),
            prefixes: with_parents(prefixes),
            others: others.into(),
        }
    }

    /// The lowest position whose path may match and for which `matches` holds.
    pub(crate) fn first(&self, path: &str, matches: impl Fn(u32) -> bool) -> Option<u32> {
        let mut best = None;
        let mut try_routes = |routes: &[u32]| {
            for &at in routes {
                if best.is_some_and(|found| found <= at) {
                    return;
                }
                if matches(at) {
                    best = Some(at);
                    return;
                }
            }
        };
        if let Some(routes) = self.exact.get(path) {
            try_routes(routes);
        }
        let mut entry = self.prefixes.partition_point(|entry| &*entry.prefix <= path).checked_sub(1);
        while let Some(found) = entry.and_then(|at| self.prefixes.get(at)) {
            if path.starts_with(&*found.prefix) {
                try_routes(&found.routes);
            }
            entry = found.parent.map(|at| at as usize);
        }
        try_routes(&self.others);
        best
    }
}

fn with_parents(prefixes: BTreeMap<Box<str>, Vec<u32>>) -> Box<[PrefixEntry]> {
    let mut entries: Vec<PrefixEntry> = Vec::with_capacity(prefixes.len());
    // The entries that are prefixes of the one before: in sorted order, these are all that can be prefixes of the next.
    let mut open: Vec<u32> = Vec::new();
    for (at, (prefix, routes)) in (0_u32..).zip(prefixes) {
        while open
            .last()
            .and_then(|&last| entries.get(last as usize))
            .is_some_and(|last| !prefix.starts_with(&*last.prefix))
        {
            open.pop();
        }
        entries.push(PrefixEntry { prefix, parent: open.last().copied(), routes: routes.into() });
        open.push(at);
    }
    entries.into()
}
