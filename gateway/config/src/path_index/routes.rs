// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Routes with the same key, told apart by a header where there are many.

use crate::{HeaderSource, RouteMatcher, StringMatcher, StringPattern, ValueMatcher};
use http::{HeaderMap, HeaderName};
use std::collections::HashMap;

/// So many are looked at one by one.
const FEW: usize = 8;

/// Routes in order.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// Those that ask for no value of the header, in order; all where there is none.
    plain: Box<[u32]>,
    by_header: Option<Box<ByHeader>>,
}

#[derive(Debug)]
struct ByHeader {
    name: HeaderName,
    /// Those that ask for a value, in order.
    values: HashMap<Box<[u8]>, Box<[u32]>>,
}

impl Routes {
    /// `routes` in order; `matchers` are those of all routes.
    pub(super) fn new(routes: Vec<u32>, matchers: &[&RouteMatcher]) -> Self {
        match most_asked(&routes, matchers) {
            None => Self { plain: routes.into(), by_header: None },
            Some(name) => {
                let (mut plain, mut values) = (Vec::new(), HashMap::<Box<[u8]>, Vec<u32>>::new());
                for at in routes {
                    let asked = matchers.get(at as usize).and_then(|matcher| {
                        exact(matcher).find(|(asked, _)| *asked == name).map(|(_, value)| value)
                    });
                    match asked {
                        Some(value) => values.entry(value.into()).or_default().push(at),
                        None => plain.push(at),
                    }
                }
                let values = values.into_iter().map(|(value, routes)| (value, routes.into())).collect();
                let by_header = ByHeader { name: name.clone(), values };
                Self { plain: plain.into(), by_header: Some(Box::new(by_header)) }
            }
        }
    }

    /// Brings `best` down to the first route for which `matches` holds, where that stands before it.
    pub(super) fn first(&self, headers: &HeaderMap, best: &mut Option<u32>, matches: impl Fn(u32) -> bool) {
        let mut look = |routes: &[u32]| {
            let before = best.unwrap_or(u32::MAX);
            if let Some(&at) = routes.iter().take_while(|&&at| at < before).find(|&&at| matches(at)) {
                *best = Some(at);
            }
        };
        if let Some(by_header) = &self.by_header {
            let mut values = headers.get_all(&by_header.name).iter();
            let routes = match (values.next(), values.next()) {
                (None, _) => None,
                (Some(only), None) => by_header.values.get(only.as_bytes()),
                // Several values count as one text, as in the conditions.
                (Some(first), Some(second)) => {
                    let mut joined = [first.as_bytes(), b",", second.as_bytes()].concat();
                    for value in values {
                        joined.push(b',');
                        joined.extend_from_slice(value.as_bytes());
                    }
                    by_header.values.get(&*joined)
                }
            };
            routes.into_iter().for_each(|routes| look(routes));
        }
        look(&self.plain);
    }
}

/// The header that most of many routes ask an exact value of; none where that helps little.
fn most_asked<'a>(routes: &[u32], matchers: &[&'a RouteMatcher]) -> Option<&'a HeaderName> {
    if routes.len() <= FEW {
        return None;
    }
    let mut counts: HashMap<&HeaderName, usize> = HashMap::new();
    for matcher in routes.iter().filter_map(|&at| matchers.get(at as usize).copied()) {
        for (name, _) in exact(matcher) {
            *counts.entry(name).or_default() += 1;
        }
    }
    let (name, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    (count > FEW).then_some(name)
}

/// Headers of which a route asks one value and no other.
fn exact(matcher: &RouteMatcher) -> impl Iterator<Item = (&HeaderName, &[u8])> {
    matcher.headers.iter().filter_map(|header| match (&header.name, &header.value) {
        (
            HeaderSource::Header(name),
            ValueMatcher::Text(StringMatcher { pattern: StringPattern::Exact(value), ignore_case: false }),
        ) if !header.invert && !header.missing_as_empty => Some((name, &**value)),
        _ => None,
    })
}
