// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Metadata that requests get from the configuration (`envoy.extensions.filters.http.set_metadata.v3`).

use serde_json::{Map, Value};

/// Values for namespaces, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct SetMetadata(pub Box<[MetadataEntry]>);

/// Values of one namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct MetadataEntry {
    /// The namespace.
    pub namespace: Box<str>,
    /// Joined with what is there already; else that stays alone.
    pub overwrite: bool,
    /// The values.
    pub values: Map<String, Value>,
}
