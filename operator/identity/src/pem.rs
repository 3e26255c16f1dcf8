// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Certificates and keys as PEM text, the form in which Secrets and answers carry them.

use crate::IdentityError;
use jiff::Timestamp;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt;

/// A private key in PKCS#8 PEM. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPem(String);

impl KeyPem {
    /// Wraps PEM text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for storage in a Secret.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for KeyPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPem(..)")
    }
}

/// An authority as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityPem {
    /// Its certificate.
    pub certificate: String,
    /// Its key.
    pub key: KeyPem,
}

/// What a gateway gets for its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedCertificate {
    /// Leaf and intermediate.
    pub chain_pem: String,
    /// From when it holds.
    pub not_before: Timestamp,
    /// Until when it holds.
    pub not_after: Timestamp,
}

/// A server certificate with the key that was made for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerCertificate {
    /// Leaf and intermediate.
    pub chain_pem: String,
    /// The leaf's key.
    pub key: KeyPem,
    /// From when it holds.
    pub not_before: Timestamp,
    /// Until when it holds.
    pub not_after: Timestamp,
}

/// Reads all certificates of a PEM text, in order; at least one.
///
/// # Errors
/// Where there is none or one cannot be read.
pub fn certificates_from_pem(text: &str) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| IdentityError::Pem { what: "certificate" })?;
    if certificates.is_empty() {
        return Err(IdentityError::Pem { what: "certificate" });
    }
    Ok(certificates)
}

/// Reads the first private key of a PEM text.
///
/// # Errors
/// Where there is none or it cannot be read.
pub fn key_from_pem(key: &KeyPem) -> Result<PrivateKeyDer<'static>, IdentityError> {
    PrivateKeyDer::from_pem_slice(key.expose().as_bytes())
        .map_err(|_| IdentityError::Pem { what: "private key" })
}
