// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The xDS wire language: re-exported Envoy types, type URLs, packing, content-hash versions. No logic beyond that.
//!
//! This is the only crate that names `envoy_types`; everyone else uses [`pb`].

mod json;
mod resource;
mod resource_set;
mod type_url;

pub use envoy_types::pb;
pub use json::{Descriptors, FieldShape, JsonError, Secrecy, masked};
pub use resource::{PackedResource, UnpackError, pack, pack_encoded, unpack};
pub use resource_set::{Difference, ResourceMap, ResourceSet};
pub use type_url::ResourceType;
