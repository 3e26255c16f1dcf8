// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Header modifiers, which the API repeats as a type of its own wherever they may stand.

use operator_ir::HeaderMutation;

/// Turns any of the generated header modifier types into a [`HeaderMutation`].
macro_rules! header_mutation {
    ($modifier:expr) => {
        $crate::gateway_api::modifiers::mutation(
            $modifier.set.iter().flatten().map(|header| (header.name.as_str(), header.value.as_str())),
            $modifier.add.iter().flatten().map(|header| (header.name.as_str(), header.value.as_str())),
            $modifier.remove.iter().flatten().map(String::as_str),
        )
    };
}
pub(super) use header_mutation;

/// Of several entries with one name only the first counts; names do not depend on case (Gateway API, `HTTPHeader`).
pub(super) fn mutation<'a>(
    set: impl Iterator<Item = (&'a str, &'a str)>,
    add: impl Iterator<Item = (&'a str, &'a str)>,
    remove: impl Iterator<Item = &'a str>,
) -> HeaderMutation {
    let first_of_each = |headers: &mut dyn Iterator<Item = (&'a str, &'a str)>| {
        let mut kept: Vec<(String, String)> = Vec::new();
        for (name, value) in headers {
            let name = name.to_ascii_lowercase();
            if kept.iter().all(|(other, _)| *other != name) {
                kept.push((name, value.to_owned()));
            }
        }
        kept
    };
    let (mut set, mut add) = (set, add);
    HeaderMutation {
        set: first_of_each(&mut set),
        add: first_of_each(&mut add),
        remove: remove.map(str::to_ascii_lowercase).collect(),
    }
}
