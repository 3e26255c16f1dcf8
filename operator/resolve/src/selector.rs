// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Label selectors (Kubernetes `LabelSelector`).

use crate::facts::Labels;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Requirements that all must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selector {
    requirements: Vec<Requirement>,
}

/// One requirement on a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Requirement {
    pub(crate) key: String,
    pub(crate) operator: Operator,
    pub(crate) values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    /// Written in a way that Kubernetes does not know: selects nothing.
    Invalid,
}

impl Operator {
    pub(crate) fn parse(text: &str) -> Self {
        match text {
            "In" => Self::In,
            "NotIn" => Self::NotIn,
            "Exists" => Self::Exists,
            "DoesNotExist" => Self::DoesNotExist,
            _ => Self::Invalid,
        }
    }
}

impl Selector {
    /// All of `labels` and all of `requirements`.
    pub(crate) fn new<'a>(
        labels: impl IntoIterator<Item = (&'a String, &'a String)>,
        requirements: impl IntoIterator<Item = Requirement>,
    ) -> Self {
        let equal = labels.into_iter().map(|(key, value)| Requirement {
            key: key.clone(),
            operator: Operator::In,
            values: vec![value.clone()],
        });
        Self { requirements: equal.chain(requirements).collect() }
    }

    pub(crate) fn of(selector: &LabelSelector) -> Self {
        let expressions = selector.match_expressions.iter().flatten().map(|expression| Requirement {
            key: expression.key.clone(),
            operator: Operator::parse(&expression.operator),
            values: expression.values.clone().unwrap_or_default(),
        });
        Self::new(selector.match_labels.iter().flatten(), expressions)
    }

    pub(crate) fn selects(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|requirement| {
            let value = labels.get(&requirement.key);
            match requirement.operator {
                Operator::In => value.is_some_and(|value| requirement.values.contains(value)),
                Operator::NotIn => value.is_none_or(|value| !requirement.values.contains(value)),
                Operator::Exists => value.is_some(),
                Operator::DoesNotExist => value.is_none(),
                Operator::Invalid => false,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Operator, Requirement, Selector};
    use crate::facts::Labels;

    fn selects(operator: &str, values: &[&str]) -> bool {
        let values = values.iter().map(ToString::to_string).collect();
        let requirement = Requirement { key: "tier".to_owned(), operator: Operator::parse(operator), values };
        let labels = Labels::from([("tier".to_owned(), "edge".to_owned())]);
        Selector::new([], [requirement]).selects(&labels)
    }

    #[test]
    fn operators_follow_kubernetes() {
        assert!(selects("In", &["edge", "core"]));
        assert!(!selects("In", &["core"]));
        assert!(selects("NotIn", &["core"]));
        assert!(!selects("NotIn", &["edge"]));
        assert!(selects("Exists", &[]));
        assert!(!selects("DoesNotExist", &[]));
        assert!(!selects("Sometimes", &["edge"]));
        assert!(Selector::default().selects(&Labels::new()));
    }
}
