// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Header changes.

use gateway_xds_api::pb::envoy::config::core::v3::{
    HeaderValue, HeaderValueOption, header_value_option::HeaderAppendAction,
};
use operator_ir::HeaderMutation;

/// Headers that Envoy does not let a mutation touch; the host is changed by a rewrite.
fn reserved(name: &str) -> bool {
    name.starts_with(':') || name.eq_ignore_ascii_case("host")
}

/// Headers to write; Envoy removes before it writes, which is the model's order.
pub(crate) fn to_add(mutation: &HeaderMutation) -> Vec<HeaderValueOption> {
    let set = mutation.set.iter().map(|header| (header, HeaderAppendAction::OverwriteIfExistsOrAdd));
    let add = mutation.add.iter().map(|header| (header, HeaderAppendAction::AppendIfExistsOrAdd));
    set.chain(add)
        .filter(|((name, _), _)| !reserved(name))
        .map(|((name, value), action)| HeaderValueOption {
            header: Some(HeaderValue { key: name.clone(), value: literal(value), ..HeaderValue::default() }),
            append_action: action.into(),
            keep_empty_value: value.is_empty(),
            ..HeaderValueOption::default()
        })
        .collect()
}

/// Headers to take away.
pub(crate) fn to_remove(mutation: &HeaderMutation) -> Vec<String> {
    mutation.remove.iter().filter(|name| !reserved(name)).cloned().collect()
}

/// The host that a mutation sets, if it does: written as a rewrite instead.
pub(crate) fn host(mutation: &HeaderMutation) -> Option<&str> {
    let host = mutation.set.iter().rev().find(|(name, _)| name.eq_ignore_ascii_case("host"));
    host.map(|(_, value)| value.as_str())
}

/// Envoy reads `%` as the beginning of a command.
fn literal(value: &str) -> String {
    value.replace('%', "%%")
}
