// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Discovery responses whose resources share their bytes.
//!
//! The generated types hold `Vec<u8>`, which would copy every resource once for each stream before it is encoded. These
//! have the same tags and hold [`Bytes`]: a resource is copied only into the stream's own send buffer, which tonic needs.

use bytes::Bytes;
use gateway_xds_api::PackedResource;

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Any {
    #[prost(string, tag = "1")]
    pub(crate) type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) value: Bytes,
}

/// `envoy.service.discovery.v3.Resource`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Resource {
    #[prost(string, tag = "3")]
    pub(crate) name: String,
    #[prost(string, tag = "1")]
    pub(crate) version: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) resource: Option<Any>,
}

/// `envoy.service.discovery.v3.DeltaDiscoveryResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct DeltaDiscoveryResponse {
    #[prost(string, tag = "1")]
    pub(crate) system_version_info: String,
    #[prost(message, repeated, tag = "2")]
    pub(crate) resources: Vec<Resource>,
    #[prost(string, tag = "4")]
    pub(crate) type_url: String,
    #[prost(string, repeated, tag = "6")]
    pub(crate) removed_resources: Vec<String>,
    #[prost(string, tag = "5")]
    pub(crate) nonce: String,
}

/// `envoy.service.discovery.v3.DiscoveryResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct DiscoveryResponse {
    #[prost(string, tag = "1")]
    pub(crate) version_info: String,
    #[prost(message, repeated, tag = "2")]
    pub(crate) resources: Vec<Any>,
    #[prost(string, tag = "4")]
    pub(crate) type_url: String,
    #[prost(string, tag = "5")]
    pub(crate) nonce: String,
}

/// Wraps a resource's bytes without a copy.
pub(crate) fn any(type_url: &str, resource: &PackedResource) -> Any {
    Any { type_url: type_url.to_owned(), value: resource.value.clone() }
}

#[cfg(test)]
mod tests {
    use super::{Any, DeltaDiscoveryResponse, DiscoveryResponse, Resource};
    use gateway_xds_api::pb::envoy::service::discovery::v3 as generated;
    use prost::Message;

    #[test]
    fn the_generated_types_read_ours() {
        let any = || Any { type_url: "t".into(), value: vec![1, 2, 3].into() };
        let delta = DeltaDiscoveryResponse {
            system_version_info: "v".into(),
            resources: vec![Resource { name: "n".into(), version: "1".into(), resource: Some(any()) }],
            type_url: "t".into(),
            removed_resources: vec!["gone".into()],
            nonce: "7".into(),
        };
        let read = generated::DeltaDiscoveryResponse::decode(&*delta.encode_to_vec()).unwrap();
        assert_eq!((&*read.system_version_info, &*read.type_url, &*read.nonce), ("v", "t", "7"));
        assert_eq!(read.removed_resources, ["gone"]);
        let resource = &read.resources[0];
        assert_eq!((&*resource.name, &*resource.version), ("n", "1"));
        assert_eq!(resource.resource.as_ref().unwrap().value, [1, 2, 3]);
        assert_eq!(read.encode_to_vec().len(), delta.encoded_len());

        let sotw = DiscoveryResponse {
            version_info: "v".into(),
            resources: vec![any()],
            type_url: "t".into(),
            nonce: "7".into(),
        };
        let read = generated::DiscoveryResponse::decode(&*sotw.encode_to_vec()).unwrap();
        assert_eq!((&*read.version_info, &*read.type_url, &*read.nonce), ("v", "t", "7"));
        assert_eq!(read.resources[0].value, [1, 2, 3]);
        assert_eq!(read.encode_to_vec().len(), sotw.encoded_len());
    }
}
