// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Finds the routes of a virtual host that a request can match, without looking at the others.
//!
//! Exact paths sit in a hash map. Prefixes sit in a sorted array in which each entry knows the longest other entry that is a prefix of it:
//! of all entries that are prefixes of a path, each is a prefix of the greatest entry that is not above the path, so one binary search and
//! a walk up find them all. Expressions sit among the prefixes by the text that they begin with; only those that may begin with anything
//! are looked at one by one. Many routes for the same path are told apart by the header that most of them ask for.

mod routes;

use crate::{PathMatcher, RouteMatcher};
use http::HeaderMap;
use routes::Routes;
use std::collections::{BTreeMap, HashMap};

/// Routes by path; positions are those in the list that it was built from.
#[derive(Debug, Default)]
pub(crate) struct PathIndex {
    cased: Keys,
    /// Paths in lower case, of routes that compare so.
    uncased: Keys,
    others: Routes,
}

/// Routes by whole paths and by prefixes.
#[derive(Debug, Default)]
struct Keys {
    exact: HashMap<Box<str>, Routes>,
    prefixes: Box<[PrefixEntry]>,
}

#[derive(Debug)]
struct PrefixEntry {
    prefix: Box<str>,
    parent: Option<u32>,
    routes: Routes,
}

/// Keys while they are collected.
#[derive(Default)]
struct Found {
    exact: HashMap<Box<str>, Vec<u32>>,
    prefixes: BTreeMap<Box<str>, Vec<u32>>,
}

impl PathIndex {
    /// Sorts routes by the kind of their path condition.
    pub(crate) fn build(matchers: &[&RouteMatcher]) -> Self {
        let (mut cased, mut uncased, mut others) = (Found::default(), Found::default(), Vec::new());
        for (at, matcher) in (0_u32..).zip(matchers) {
            let (keys, lower) =
                if matcher.case_sensitive { (&mut cased, false) } else { (&mut uncased, true) };
            let key = |text: &str| -> Box<str> {
                if lower { text.to_ascii_lowercase().into() } else { text.into() }
            };
            match &matcher.path {
                PathMatcher::Exact(path) => keys.exact.entry(key(path)).or_default().push(at),
                PathMatcher::Prefix(path) | PathMatcher::SeparatedPrefix(path) => {
                    keys.prefixes.entry(key(path)).or_default().push(at);
                }
                PathMatcher::Connect => others.push(at),
                // The case of an expression is its own matter.
                PathMatcher::Regex(regex) => match regex.beginnings() {
                    None => others.push(at),
                    Some(beginnings) => beginnings
                        .into_iter()
                        .for_each(|text| cased.prefixes.entry(text.into()).or_default().push(at)),
                },
            }
        }
        Self {
            cased: cased.keys(matchers),
            uncased: uncased.keys(matchers),
            others: Routes::new(others, matchers),
        }
    }

    /// The lowest position whose path may match and for which `matches` holds.
    pub(crate) fn first(
        &self,
        path: &str,
        headers: &HeaderMap,
        matches: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let mut best = None;
        let mut try_routes = |routes: &Routes| routes.first(headers, &mut best, &matches);
        self.cased.visit(path, &mut try_routes);
        if !self.uncased.is_empty() {
            self.uncased.visit(&path.to_ascii_lowercase(), &mut try_routes);
        }
        try_routes(&self.others);
        best
    }
}

impl Keys {
    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.prefixes.is_empty()
    }

    /// Shows all routes whose key is the path or a prefix of it.
    fn visit(&self, path: &str, look: &mut impl FnMut(&Routes)) {
        if let Some(routes) = self.exact.get(path) {
            look(routes);
        }
        let mut entry = self.prefixes.partition_point(|entry| &*entry.prefix <= path).checked_sub(1);
        while let Some(found) = entry.and_then(|at| self.prefixes.get(at)) {
            if path.starts_with(&*found.prefix) {
                look(&found.routes);
            }
            entry = found.parent.map(|at| at as usize);
        }
    }
}

impl Found {
    fn keys(self, matchers: &[&RouteMatcher]) -> Keys {
        let exact = self.exact.into_iter().map(|(path, routes)| (path, Routes::new(routes, matchers)));
        Keys { exact: exact.collect(), prefixes: with_parents(self.prefixes, matchers) }
    }
}

fn with_parents(prefixes: BTreeMap<Box<str>, Vec<u32>>, matchers: &[&RouteMatcher]) -> Box<[PrefixEntry]> {
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
        let routes = Routes::new(routes, matchers);
        entries.push(PrefixEntry { prefix, parent: open.last().copied(), routes });
        open.push(at);
    }
    entries.into()
}
