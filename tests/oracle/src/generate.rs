// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Configurations and requests made by chance from a seed; each family stresses one part.

mod connection;
mod filters;
mod mutation;
mod retry;
mod routing;

use crate::case::Case;
use anyhow::Context;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

/// Of so many cases one more is of filters.
const FILTERS: usize = 5;

/// Makes `count` cases, and some more of filters.
pub(crate) fn all(seed: u64, count: usize) -> anyhow::Result<Vec<Case>> {
    let filters = (0..count / FILTERS).map(|index| {
        let mut chance = Chance(StdRng::seed_from_u64(seed.wrapping_add((count + index) as u64)));
        let mut made = filters::case(&mut chance);
        let name =
            made["filters"][0]["name"].as_str().and_then(|name| name.rsplit('.').next()).unwrap_or_default();
        let name = format!("filter-{name}-{index}");
        made["name"] = Value::String(name.clone());
        serde_json::from_value(made).with_context(|| name)
    });
    (0..count)
        .map(|index| {
            // Its own source for each, so that one family's change leaves the others as they are.
            let mut chance = Chance(StdRng::seed_from_u64(seed.wrapping_add(index as u64)));
            let (family, made) = match index % 20 {
                0..=8 => ("routing", routing::case(&mut chance)),
                9..=12 => ("mutation", mutation::case(&mut chance)),
                13..=17 => ("connection", connection::case(&mut chance)),
                _ => ("retry", retry::case(&mut chance)),
            };
            let mut made = made;
            made["name"] = Value::String(format!("{family}-{index}"));
            serde_json::from_value(made).with_context(|| format!("{family}-{index}"))
        })
        .chain(filters)
        .collect()
}

/// Choices.
pub(crate) struct Chance(StdRng);

impl Chance {
    pub(crate) fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.0.random_range(0..of.len())]
    }

    pub(crate) fn up_to(&mut self, most: usize) -> usize {
        self.0.random_range(0..=most)
    }

    /// True once in `n` times.
    pub(crate) fn once_in(&mut self, n: u32) -> bool {
        self.0.random_range(0..n) == 0
    }
}
