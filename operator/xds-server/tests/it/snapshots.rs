// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Snapshots of made-up resources. A resource's bytes name the clusters that it refers to.

use gateway_xds_api::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use gateway_xds_api::pb::google::rpc::Status;
use gateway_xds_api::{PackedResource, ResourceSet, ResourceType};
use operator_xds_server::{DeltaResponse, Snapshot};
use std::sync::Arc;

pub(crate) fn resource(name: &str, version: &str, refers: &str) -> Arc<PackedResource> {
    Arc::new(PackedResource {
        name: name.into(),
        version: version.into(),
        value: refers.to_owned().into(),
        origin: format!("HTTPRoute test/{name}"),
    })
}

/// `kind name=version ...` for each type.
pub(crate) fn set(parts: &[(ResourceType, &str)]) -> ResourceSet {
    let mut set = ResourceSet::default();
    for (kind, names) in parts {
        for entry in names.split_whitespace() {
            let (name, version) = entry.split_once('=').unwrap();
            set.insert(*kind, resource(name, version, ""));
        }
    }
    set
}

pub(crate) fn snapshot(sequence: u64, parts: &[(ResourceType, &str)]) -> Arc<Snapshot> {
    Arc::new(Snapshot { version: format!("v{sequence}").into(), sequence, resources: Arc::new(set(parts)) })
}

pub(crate) fn subscribe(names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        resource_names_subscribe: names.iter().map(ToString::to_string).collect(),
        ..DeltaDiscoveryRequest::default()
    }
}

pub(crate) fn unsubscribe(names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        resource_names_unsubscribe: names.iter().map(ToString::to_string).collect(),
        ..DeltaDiscoveryRequest::default()
    }
}

pub(crate) fn resume(names: &[&str], versions: &[(&str, &str)]) -> DeltaDiscoveryRequest {
    let versions = versions.iter().map(|(name, version)| (name.to_string(), version.to_string()));
    DeltaDiscoveryRequest { initial_resource_versions: versions.collect(), ..subscribe(names) }
}

pub(crate) fn ack(response: &DeltaResponse) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest { response_nonce: response.nonce.clone(), ..DeltaDiscoveryRequest::default() }
}

pub(crate) fn nack(response: &DeltaResponse, text: &str) -> DeltaDiscoveryRequest {
    let error = Status { code: 3, message: text.into(), ..Status::default() };
    DeltaDiscoveryRequest { error_detail: Some(error), ..ack(response) }
}

/// `Type +name=version -name` in one line.
pub(crate) fn said(response: &DeltaResponse) -> String {
    let mut words = vec![response.kind.to_string()];
    words.extend(response.resources.iter().map(|r| format!("+{}={}", r.name, r.version)));
    words.extend(response.removed.iter().map(|name| format!("-{name}")));
    words.join(" ")
}
