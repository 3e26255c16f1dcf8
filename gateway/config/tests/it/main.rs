// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Configuration from outside: resources in, snapshots and rejections out.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail loudly")]

mod clusters;
mod filters;
mod incremental;
mod listeners;
mod network_gates;
mod rejections;
mod resources;
mod routing;
mod scale;
mod services;
mod udp;

use gateway_config::{Applied, ConfigStore, Update};
use gateway_xds_api::pb::google::protobuf::Any;
use gateway_xds_api::{PackedResource, ResourceType};

/// Applies resources of one type.
fn put(
    store: &mut ConfigStore,
    kind: ResourceType,
    resources: impl IntoIterator<Item = PackedResource>,
) -> Applied {
    let upserts =
        resources.into_iter().map(|resource| (resource.name.clone(), any(kind, &resource))).collect();
    store.apply(Update { kind, upserts, removals: Vec::new() })
}

/// Removes resources of one type.
fn remove(store: &mut ConfigStore, kind: ResourceType, names: &[&str]) -> Applied {
    store.apply(Update {
        kind,
        upserts: Vec::new(),
        removals: names.iter().map(ToString::to_string).collect(),
    })
}

fn any(kind: ResourceType, resource: &PackedResource) -> Any {
    Any { type_url: kind.type_url().to_owned(), value: resource.value.to_vec() }
}
