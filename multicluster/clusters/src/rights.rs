// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Which rights our account lacks in a cluster.

use k8s_openapi::api::authorization::v1::ResourceRule;

/// Verbs on one resource.
#[derive(Clone, Copy, Debug)]
pub struct Right {
    /// API group, empty for core.
    pub group: &'static str,
    /// Resource, plural.
    pub resource: &'static str,
    /// Verbs.
    pub verbs: &'static [&'static str],
}

/// What the hub writes and reads in a member's target namespace.
pub const REQUIRED_RIGHTS: &[Right] = &[
    Right { group: "apps", resource: "deployments", verbs: WRITE },
    Right { group: "autoscaling", resource: "horizontalpodautoscalers", verbs: WRITE },
    Right { group: "policy", resource: "poddisruptionbudgets", verbs: WRITE },
    Right { group: "", resource: "services", verbs: WRITE },
    Right { group: "", resource: "serviceaccounts", verbs: WRITE },
    Right { group: "", resource: "configmaps", verbs: WRITE },
    Right { group: "", resource: "secrets", verbs: &["list", "create", "patch", "delete"] },
    Right { group: "", resource: "pods", verbs: &["get", "list", "watch"] },
    Right { group: "rbac.authorization.k8s.io", resource: "roles", verbs: &["create", "patch", "delete"] },
    Right {
        group: "rbac.authorization.k8s.io",
        resource: "rolebindings",
        verbs: &["create", "patch", "delete"],
    },
    Right { group: "gatefleet.dev", resource: "fleetmembers", verbs: WRITE },
];

const WRITE: &[&str] = &["get", "list", "watch", "create", "patch", "delete"];

/// The verbs of `required` that `rules` do not grant, as `patch apps/deployments`, in the order of `required`.
#[must_use]
pub fn missing_rights(required: &[Right], rules: &[ResourceRule]) -> Vec<String> {
    let mut missing = Vec::new();
    for right in required {
        for verb in right.verbs {
            if !rules.iter().any(|rule| grants(rule, right, verb)) {
                let resource = right.resource;
                missing.push(match right.group {
                    "" => format!("{verb} {resource}"),
                    group => format!("{verb} {group}/{resource}"),
                });
            }
        }
    }
    missing
}

fn grants(rule: &ResourceRule, right: &Right, verb: &str) -> bool {
    // A rule for named objects grants nothing of the resource as a whole.
    let whole = rule.resource_names.as_deref().unwrap_or_default().is_empty();
    whole
        && has(&rule.verbs, verb)
        && has(rule.api_groups.as_deref().unwrap_or_default(), right.group)
        && has(rule.resources.as_deref().unwrap_or_default(), right.resource)
}

fn has(list: &[String], name: &str) -> bool {
    list.iter().any(|entry| entry == "*" || entry == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(group: &str, resources: &[&str], verbs: &[&str], names: &[&str]) -> ResourceRule {
        let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        ResourceRule {
            api_groups: Some(vec![group.to_owned()]),
            resources: Some(own(resources)),
            verbs: own(verbs),
            resource_names: Some(own(names)),
        }
    }

    const TWO: &[Right] = &[
        Right { group: "apps", resource: "deployments", verbs: &["get", "patch"] },
        Right { group: "", resource: "secrets", verbs: &["create"] },
    ];

    #[test]
    fn a_wildcard_grants_everything() {
        assert!(missing_rights(TWO, &[rule("*", &["*"], &["*"], &[])]).is_empty());
    }

    #[test]
    fn names_what_is_missing() {
        let rules = [rule("apps", &["deployments"], &["get"], &[]), rule("", &["secrets"], &["create"], &[])];
        assert_eq!(missing_rights(TWO, &rules), ["patch apps/deployments"]);
    }

    #[test]
    fn a_rule_for_one_named_object_is_not_enough() {
        let rules = [rule("apps", &["*"], &["*"], &[]), rule("", &["secrets"], &["create"], &["one"])];
        assert_eq!(missing_rights(TWO, &rules), ["create secrets"]);
    }

    #[test]
    fn another_group_does_not_count() {
        let rules =
            [rule("extensions", &["deployments"], &["*"], &[]), rule("", &["secrets"], &["create"], &[])];
        assert_eq!(missing_rights(TWO, &rules), ["get apps/deployments", "patch apps/deployments"]);
    }
}
