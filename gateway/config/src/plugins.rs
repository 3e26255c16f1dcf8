// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The plugins that a listener names: what must be fetched before it can be served.

use crate::decode::{Scope, listener};
use crate::{FilterChains, HttpFilterKind, Snapshot, WasmFilter};
use gateway_xds_api::pb::google::protobuf::Any;
use gateway_xds_api::unpack;
use std::sync::Arc;

/// The plugins of a packed listener; none where it cannot be read, which applying it will say.
#[must_use]
pub fn plugins_of(packed: &Any) -> Vec<Arc<WasmFilter>> {
    let decoded =
        unpack(packed).ok().and_then(|message| listener::listener(&mut Scope::default(), message).ok());
    decoded.map(|listener| of_chains(&listener.chains)).unwrap_or_default()
}

impl Snapshot {
    /// The plugins of all listeners that are served.
    #[must_use]
    pub fn plugins(&self) -> Vec<Arc<WasmFilter>> {
        self.listeners.values().flat_map(|listener| of_chains(&listener.chains)).collect()
    }
}

fn of_chains(chains: &FilterChains) -> Vec<Arc<WasmFilter>> {
    let filters = chains.all().iter().filter_map(|chain| chain.http()).flat_map(|http| &http.filters);
    let plugins = filters.filter_map(|filter| match &filter.kind {
        HttpFilterKind::Wasm(plugin) => Some(Arc::clone(plugin)),
        _ => None,
    });
    plugins.collect()
}
