// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Resources of a control plane: each is taken or refused by its name, and what was good before goes on.

use crate::corpus::{KINDS, resource};
use gateway_config::{ConfigStore, Update};
use gateway_xds_api::pb::google::protobuf::Any;
use serde_json::json;

/// A resource: the first byte is its type, the rest its message.
pub(crate) fn xds(input: &[u8]) {
    let Some((first, value)) = input.split_first() else { return };
    let kind = KINDS[usize::from(*first) % KINDS.len()];
    let mut store = ConfigStore::new();
    let (good, body) = resource(0);
    let update =
        |kind, name: &str, body| Update { kind, upserts: vec![(name.to_owned(), body)], removals: vec![] };
    store.apply(update(good, "good", body.clone()));
    let before = store.accepted().count();
    let body = Any { type_url: kind.type_url().to_owned(), value: value.to_vec() };
    for name in ["fuzz", "good"] {
        let applied = store.apply(update(kind, name, body.clone()));
        for rejection in &applied.rejections {
            assert!(!rejection.message.is_empty(), "a rejection without a reason");
        }
    }
    assert!(store.accepted().count() >= before, "what was good is gone");
    let removed = Update { kind, upserts: vec![], removals: vec!["fuzz".into()] };
    store.apply(removed);
}

/// The format of an access log, as text or JSON.
pub(crate) fn access_log(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    // Strings with NUL are no YAML or JSON of anyone.
    let formats = [
        json!({"text_format_source": {"inline_string": text}}),
        json!({"json_format": {"key": text, "nested": {"list": [text]}}}),
    ];
    for format in formats {
        let Some(listener) = crate::corpus::listener_logging(&format) else { continue };
        let kind = gateway_xds_api::ResourceType::Listener;
        let applied = ConfigStore::new().apply(Update {
            kind,
            upserts: vec![("fuzz".into(), listener)],
            removals: vec![],
        });
        for rejection in &applied.rejections {
            assert!(rejection.message.contains("access_log"), "{}", rejection.message);
        }
    }
}
