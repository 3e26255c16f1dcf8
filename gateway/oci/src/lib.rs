// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Fetches plugin artifacts by digest from OCI registries, verifies and caches them.
//!
//! Invariants:
//! - An artifact is named by the digest of its manifest; manifest, layer and cache are checked against their digests.
//! - Every read from a registry or an archive is bounded.
//! - Plain HTTP is spoken only to registries that were listed for it.

mod cache;
mod error;
mod fetch;
mod layer;
mod manifest;

pub use error::OciError;
pub use fetch::{Credentials, Fetcher, FetcherOptions, Plugin};
