// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Why a plugin cannot be had.

/// What went wrong with a plugin's artifact; messages name what a user can change.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    /// The reference cannot be read.
    #[error("{0:?} is no image reference; write registry/repository@sha256:...")]
    Reference(String),
    /// The reference has no digest.
    #[error("{0} has no digest; plugins are taken by digest only (registry/repository@sha256:...)")]
    NoDigest(String),
    /// The registry refused or could not be reached.
    #[error("cannot {what} of {reference}")]
    Registry {
        /// What was asked for.
        what: &'static str,
        /// The image reference.
        reference: String,
        /// What the registry or the connection said.
        #[source]
        source: Box<oci_client::errors::OciDistributionError>,
    },
    /// The registry took too long.
    #[error("{reference}: the registry did not answer within {seconds} s")]
    Timeout {
        /// The image reference.
        reference: String,
        /// The limit.
        seconds: u64,
    },
    /// Content is not what its digest says.
    #[error("{what} has digest sha256:{got}, not {wanted}")]
    Digest {
        /// Manifest, layer or cache file.
        what: &'static str,
        /// What it should be.
        wanted: String,
        /// What it is, in hex.
        got: String,
    },
    /// The manifest is not one of a plugin.
    #[error("{reference} is no plugin: {reason}")]
    NoPlugin {
        /// The image reference.
        reference: String,
        /// What is missing.
        reason: String,
    },
    /// Something is larger than allowed.
    #[error("{what} is larger than {limit} bytes")]
    TooLarge {
        /// Manifest, layer or file in the layer.
        what: &'static str,
        /// The cap.
        limit: u64,
    },
    /// The layer's archive is broken.
    #[error("cannot read the layer's archive")]
    Archive(#[source] std::io::Error),
    /// The cache folder cannot be used.
    #[error("cannot use the plugin cache at {path}")]
    Cache {
        /// The file.
        path: String,
        /// What the file system said.
        #[source]
        source: std::io::Error,
    },
}
