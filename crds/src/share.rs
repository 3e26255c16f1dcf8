// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Amounts that are a count or a percentage of something: `3` or `25%`.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// A count (`3`) or a percentage (`25%`) of a whole that the field names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Share {
    /// A count.
    Count(i32),
    /// A percentage with its sign, `0%` to `100%`.
    Percent(String),
}

impl Share {
    /// A percentage.
    #[must_use]
    pub fn percent(percent: u32) -> Self {
        Self::Percent(format!("{percent}%"))
    }

    /// The count for `whole`, percentages rounded up: the choice for capacities, so that `1%` of 3 is 1, never 0.
    #[must_use]
    pub fn of_rounded_up(&self, whole: usize) -> usize {
        self.of(whole, |hundredths| hundredths.div_ceil(100))
    }

    /// The count for `whole`, percentages rounded down: the choice for tolerated failures, so that `5%` of 3 is 0.
    #[must_use]
    pub fn of_rounded_down(&self, whole: usize) -> usize {
        self.of(whole, |hundredths| hundredths / 100)
    }

    /// What is neither count nor percentage counts as 0; the API server refuses it before.
    fn of(&self, whole: usize, round: impl Fn(usize) -> usize) -> usize {
        match self {
            Self::Count(count) => usize::try_from(*count).unwrap_or(0),
            Self::Percent(text) => {
                let percent = text.strip_suffix('%').and_then(|digits| digits.parse::<usize>().ok());
                round(whole * percent.unwrap_or(0).min(100))
            }
        }
    }
}

impl JsonSchema for Share {
    fn schema_name() -> Cow<'static, str> {
        "Share".into()
    }

    /// Limits instead of a rule: the API server reckons a rule on text of unknown length far above its budget.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "minimum": 0,
            "pattern": "^([0-9]|[1-9][0-9]|100)%$"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_percentages() {
        let cases = [
            (Share::Count(3), 10, 3, 3),
            (Share::percent(25), 10, 3, 2),
            (Share::percent(1), 3, 1, 0),
            (Share::percent(100), 7, 7, 7),
            (Share::Percent("many".into()), 7, 0, 0),
            (Share::Count(-1), 7, 0, 0),
        ];
        for (share, whole, up, down) in cases {
            assert_eq!(
                (share.of_rounded_up(whole), share.of_rounded_down(whole)),
                (up, down),
                "{share:?} of {whole}"
            );
        }
    }
}
