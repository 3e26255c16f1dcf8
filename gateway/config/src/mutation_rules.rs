// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Which headers a service may change (`envoy.config.common.mutation_rules.v3.HeaderMutationRules`).

use crate::FullRegex;

/// Which headers a service may change.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "the switches are Envoy's")]
pub struct MutationRules {
    /// Host, authority, scheme and method too.
    pub allow_all_routing: bool,
    /// `x-envoy-*` too.
    pub allow_envoy: bool,
    /// None that starts with a colon.
    pub disallow_system: bool,
    /// None at all.
    pub disallow_all: bool,
    /// Those that match in any case, where [`Self::disallow`] does not match.
    pub allow: Option<FullRegex>,
    /// Never those that match.
    pub disallow: Option<FullRegex>,
    /// A change that is not allowed ends the request with 500; else it is passed over.
    pub disallow_is_error: bool,
}

impl MutationRules {
    /// Whether header `name`, in lower case, may be set or added to.
    #[must_use]
    pub fn allows(&self, name: &str) -> bool {
        let matches =
            |regex: &Option<FullRegex>| regex.as_ref().is_some_and(|regex| regex.is_match(name.as_bytes()));
        if matches(&self.disallow) {
            return false;
        }
        if matches(&self.allow) {
            return true;
        }
        let routing = matches!(name, "host" | ":authority" | ":scheme" | ":method");
        !(self.disallow_all
            || (self.disallow_system && name.starts_with(':'))
            || (!self.allow_envoy && name.starts_with("x-envoy"))
            || (!self.allow_all_routing && routing))
    }

    /// Whether header `name`, in lower case, may be removed; those that make a request's line never.
    #[must_use]
    pub fn allows_removal(&self, name: &str) -> bool {
        !name.starts_with(':') && name != "host" && self.allows(name)
    }
}

#[cfg(test)]
mod tests {
    use super::MutationRules;
    use crate::FullRegex;

    #[test]
    fn rules_decide_in_envoys_order() {
        let none = MutationRules::default();
        let regex = |text: &str| Some(FullRegex::new(text).unwrap());
        for (rules, name, allowed) in [
            (none.clone(), "x-a", true),
            (none.clone(), ":path", true),
            (none.clone(), "host", false),
            (none.clone(), ":authority", false),
            (none.clone(), "x-envoy-a", false),
            (MutationRules { allow_all_routing: true, ..none.clone() }, ":method", true),
            (MutationRules { allow_envoy: true, ..none.clone() }, "x-envoy-a", true),
            (
                MutationRules { disallow_system: true, allow_all_routing: true, ..none.clone() },
                ":path",
                false,
            ),
            (MutationRules { disallow_all: true, ..none.clone() }, "x-a", false),
            (MutationRules { disallow_all: true, allow: regex("x-.*"), ..none.clone() }, "x-a", true),
            (MutationRules { allow: regex("x-.*"), disallow: regex("x-a"), ..none.clone() }, "x-a", false),
        ] {
            assert_eq!(rules.allows(name), allowed, "{rules:?} {name}");
        }
        let all = MutationRules { allow: regex(".*"), ..none };
        assert!(all.allows_removal("x-a") && !all.allows_removal("host") && !all.allows_removal(":path"));
    }
}
