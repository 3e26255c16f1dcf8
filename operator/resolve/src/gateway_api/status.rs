// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Conditions of a route under one parent.

use super::rules::Rules;
use crate::status::{Condition, ConditionType, Reason, Verdict};

/// How many problems a message spells out.
const SPELT_OUT: usize = 5;

/// `Accepted` and `ResolvedRefs`, always both, and `PartiallyInvalid` where it holds.
pub(super) fn conditions(accepted: Verdict, rules: &Rules, generation: i64) -> Vec<Condition> {
    let resolved = match rules.unresolved.first() {
        None => Verdict::yes(Reason::ResolvedRefs),
        Some((reason, _)) => {
            let message = join(rules.unresolved.iter().map(|(_, message)| message.clone()));
            Verdict::no(*reason, message)
        }
    };
    let partially = (accepted.holds && !rules.invalid.is_empty()).then(|| {
        let rules = join(rules.invalid.iter().map(|(index, _, problem)| format!("rule {index}: {problem}")));
        // The prefix is prescribed (Gateway API, `RouteConditionPartiallyInvalid`).
        let message = format!("Dropped Rule: {rules}; requests that it matches are answered with 500");
        Verdict { holds: true, reason: Reason::UnsupportedValue, message }
    });
    let mut conditions = vec![
        Condition::new(ConditionType::Accepted, generation, accepted),
        Condition::new(ConditionType::ResolvedRefs, generation, resolved),
    ];
    conditions.extend(
        partially.map(|verdict| Condition::new(ConditionType::PartiallyInvalid, generation, verdict)),
    );
    conditions
}

/// The refusal of a route that has rules, none of which can be served.
pub(super) fn wholly_invalid(rules: &Rules) -> Option<Verdict> {
    if rules.invalid.is_empty() || rules.invalid.len() < rules.count {
        return None;
    }
    let (_, reason, _) = rules.invalid.first()?;
    let message = join(rules.invalid.iter().map(|(index, _, problem)| format!("rule {index}: {problem}")));
    Some(Verdict::no(*reason, message))
}

fn join(messages: impl ExactSizeIterator<Item = String>) -> String {
    let more = messages.len().saturating_sub(SPELT_OUT);
    let mut text = messages.take(SPELT_OUT).collect::<Vec<_>>().join("; ");
    if more > 0 {
        text.push_str(&format!("; and {more} more"));
    }
    text
}
