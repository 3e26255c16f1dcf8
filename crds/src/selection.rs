// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Which clusters a selector or a list of names takes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use std::collections::BTreeMap;

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// Whether `selector` takes an object with `labels`. An empty selector takes everything; an unknown operator takes nothing.
#[must_use]
pub fn matches(selector: &LabelSelector, labels: &Labels) -> bool {
    let pairs = selector.match_labels.iter().flatten();
    let requirements = selector.match_expressions.iter().flatten();
    pairs.into_iter().all(|(key, value)| labels.get(key) == Some(value))
        && requirements.into_iter().all(|requirement| fulfils(requirement, labels))
}

/// Whether a cluster is taken by `selector` or listed in `names`. Neither given: nothing is taken.
#[must_use]
pub fn takes(selector: Option<&LabelSelector>, names: &[String], cluster: &str, labels: &Labels) -> bool {
    names.iter().any(|name| name == cluster) || selector.is_some_and(|selector| matches(selector, labels))
}

fn fulfils(requirement: &LabelSelectorRequirement, labels: &Labels) -> bool {
    let value = labels.get(&requirement.key);
    let listed = |value: &String| requirement.values.iter().flatten().any(|candidate| candidate == value);
    match requirement.operator.as_str() {
        "In" => value.is_some_and(listed),
        "NotIn" => !value.is_some_and(listed),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(key: &str, operator: &str, values: &[&str]) -> LabelSelector {
        let requirement = LabelSelectorRequirement {
            key: key.to_owned(),
            operator: operator.to_owned(),
            values: Some(values.iter().map(ToString::to_string).collect()),
        };
        LabelSelector { match_expressions: Some(vec![requirement]), match_labels: None }
    }

    #[test]
    fn operators() {
        let labels = Labels::from([("tier".to_owned(), "canary".to_owned())]);
        let cases = [
            (selector("tier", "In", &["canary", "prod"]), true),
            (selector("tier", "In", &["prod"]), false),
            (selector("tier", "NotIn", &["prod"]), true),
            (selector("region", "NotIn", &["eu"]), true),
            (selector("tier", "Exists", &[]), true),
            (selector("tier", "DoesNotExist", &[]), false),
            (selector("tier", "Near", &["canary"]), false),
            (LabelSelector::default(), true),
        ];
        for (selector, expected) in cases {
            assert_eq!(matches(&selector, &labels), expected, "{selector:?}");
        }
    }

    #[test]
    fn names_and_selector_are_ored() {
        let labels = Labels::from([("tier".to_owned(), "canary".to_owned())]);
        let names = ["a".to_owned()];
        assert!(takes(None, &names, "a", &Labels::new()));
        assert!(takes(Some(&selector("tier", "Exists", &[])), &names, "b", &labels));
        assert!(!takes(None, &[], "b", &labels));
    }
}
