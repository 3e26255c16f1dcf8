// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What can be wrong with a name, a request or a certificate.

/// Why an identity was not issued or not accepted.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A part of an identity has characters that no name may have.
    #[error("{part} is not a valid name part: {value:?}")]
    Name {
        /// Which part: `cluster`, `namespace` and so on.
        part: &'static str,
        /// What was given.
        value: String,
    },
    /// The URI does not follow the fleet's form.
    #[error("not an identity of a fleet: {0:?}")]
    Uri(String),
    /// The CSR cannot be read or its signature is wrong.
    #[error("malformed certificate signing request")]
    Request(#[source] rcgen::Error),
    /// The CSR is longer than any honest one.
    #[error("certificate signing request of {got} bytes exceeds {limit}")]
    RequestSize {
        /// Bytes received.
        got: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The authority of one cluster was asked to sign for another.
    #[error("the authority of cluster {authority} cannot sign for {identity}")]
    ForeignCluster {
        /// What the authority may sign for.
        authority: String,
        /// What was asked for.
        identity: String,
    },
    /// The authority ends too soon to sign anything useful.
    #[error("the authority of cluster {0} has expired; the hub must renew it")]
    Expired(String),
    /// Signing or key generation failed.
    #[error("cannot sign {what}")]
    Sign {
        /// What was to be signed.
        what: &'static str,
        /// The library's reason.
        #[source]
        source: rcgen::Error,
    },
    /// A stored key or certificate is not what it should be.
    #[error("malformed {what} in PEM")]
    Pem {
        /// What was expected.
        what: &'static str,
    },
    /// A certificate cannot be read.
    #[error("malformed certificate: {0}")]
    Certificate(&'static str),
    /// A peer presented something other than leaf and intermediate.
    #[error("expected a leaf and its intermediate, got {0} certificates")]
    ChainLength(usize),
    /// The leaf names something else than its intermediate or its own other names allow.
    #[error("certificate names disagree: {0}")]
    Disagree(String),
}
