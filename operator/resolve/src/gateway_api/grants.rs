// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! ReferenceGrant: who may refer to objects of another namespace.

use crate::facts::GrantFacts;
use crate::view::View;
use crds::gateway_api::ReferenceGrant;

/// Who refers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Referrer<'a> {
    pub(crate) group: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) namespace: &'a str,
}

pub(crate) fn grant_facts(grant: &ReferenceGrant) -> GrantFacts {
    let from =
        grant.spec.from.iter().map(|from| (from.group.clone(), from.kind.clone(), from.namespace.clone()));
    let to = grant.spec.to.iter().map(|to| {
        let name = to.name.clone().filter(|name| !name.is_empty());
        (to.group.clone(), to.kind.clone(), name)
    });
    GrantFacts { from: from.collect(), to: to.collect() }
}

/// Whether `referrer` may name the core object `kind` `namespace/name`: in its own namespace always, elsewhere by grant.
pub(crate) fn permitted(
    view: &mut View<'_>,
    referrer: Referrer<'_>,
    kind: &str,
    namespace: &str,
    name: &str,
) -> bool {
    if referrer.namespace == namespace {
        return true;
    }
    view.grants(namespace).any(|grant| {
        let from = grant.from.iter().any(|(group, kind, namespace)| {
            group == referrer.group && kind == referrer.kind && namespace == referrer.namespace
        });
        let to = grant.to.iter().any(|(group, to_kind, to_name)| {
            group.is_empty() && to_kind == kind && to_name.as_deref().is_none_or(|to_name| to_name == name)
        });
        from && to
    })
}
