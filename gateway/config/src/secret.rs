// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Certificates with keys, and roots of trust (`envoy.extensions.transport_sockets.tls.v3.Secret`).

use crate::{Rejection, SanMatcher};
use rustls::RootCertStore;
use rustls::sign::CertifiedKey;
use std::fmt;
use std::sync::Arc;

/// A secret, ready for use. Its `Debug` shows no key.
#[derive(Clone)]
pub struct Secret {
    /// Its name.
    pub name: Box<str>,
    /// What it holds.
    pub kind: SecretKind,
    pub(crate) digest: u64,
}

/// What a secret holds.
#[derive(Clone, Debug)]
pub enum SecretKind {
    /// A certificate chain with its key.
    Certificate(Arc<CertifiedKey>),
    /// What peers' certificates are checked against.
    Validation(Arc<Validation>),
    /// Bytes that filters use.
    Generic(Arc<GenericSecret>),
}

/// Bytes that filters use. Its `Debug` shows none of them.
#[derive(PartialEq, Eq)]
pub struct GenericSecret(pub(crate) Box<[u8]>);

impl GenericSecret {
    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for GenericSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GenericSecret")
    }
}

/// What peers' certificates are checked against.
#[derive(Debug)]
pub struct Validation {
    /// The roots.
    pub roots: Arc<RootCertStore>,
    /// One of these must be in the certificate; empty: any.
    pub names: Box<[SanMatcher]>,
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.digest == other.digest
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("name", &self.name).field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Secret {
    /// Roots from PEM.
    ///
    /// # Errors
    /// Where that is not a list of certificates.
    pub fn from_roots_pem(name: &str, pem: &str) -> Result<Self, Rejection> {
        use gateway_xds_api::pb::envoy::config::core::v3::{DataSource, data_source::Specifier};
        use gateway_xds_api::pb::envoy::extensions::transport_sockets::tls::v3::CertificateValidationContext;
        let source =
            DataSource { specifier: Some(Specifier::InlineString(pem.to_owned())), ..DataSource::default() };
        let context = CertificateValidationContext {
            trusted_ca: Some(source),
            ..CertificateValidationContext::default()
        };
        let decoded = crate::decode::secret::validation(&mut crate::decode::Scope::default(), context);
        let (kind, digest) =
            decoded.map_err(|fault| Rejection { name: name.to_owned(), message: fault.to_string() })?;
        Ok(Self { name: name.into(), kind, digest })
    }
}
