// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Header changes.

use gateway_xds_api::pb::envoy::config::core::v3::{
    HeaderValue, HeaderValueOption, header_value_option::HeaderAppendAction,
};
use operator_ir::HeaderMutation;

/// Headers that are set or added.
pub(crate) fn to_add(mutation: &HeaderMutation) -> Vec<HeaderValueOption> {
    let set = mutation.set.iter().map(|pair| option(pair, HeaderAppendAction::OverwriteIfExistsOrAdd));
    let add = mutation.add.iter().map(|pair| option(pair, HeaderAppendAction::AppendIfExistsOrAdd));
    set.chain(add).collect()
}

fn option((name, value): &(String, String), action: HeaderAppendAction) -> HeaderValueOption {
    // A percent sign begins an operator in Envoy; users of our front ends mean the character.
    let value = value.replace('%', "%%");
    HeaderValueOption {
        header: Some(HeaderValue { key: name.clone(), value, ..Default::default() }),
        append_action: action.into(),
        keep_empty_value: true,
        ..Default::default()
    }
}
