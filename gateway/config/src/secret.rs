// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Certificates with keys, and roots of trust (`envoy.extensions.transport_sockets.tls.v3.Secret`).

use crate::{Rejection, SanMatcher};
use rustls::RootCertStore;
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use sha2::{Digest, Sha256};
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
    /// The roots; empty where only [`Self::pins`] or the system's roots count.
    pub roots: Arc<RootCertStore>,
    /// The roots are those of the system (`system_root_certs`).
    pub system_roots: bool,
    /// One of these must be in the certificate; empty: any.
    pub names: Box<[SanMatcher]>,
    /// Certificates that were revoked.
    pub revocations: Revocations,
    /// The certificate must be one of these, where there are any.
    pub pins: Pins,
}

/// Certificates that were revoked (`crl`). Where there are lists, a certificate whose issuer has none is refused.
#[derive(Debug, Default)]
pub struct Revocations {
    /// The lists.
    pub lists: Box<[CertificateRevocationListDer<'static>]>,
    /// Only the peer's own certificate is looked up (`only_verify_leaf_cert_crl`).
    pub leaf_only: bool,
}

/// Certificates by fingerprint (`verify_certificate_hash`, `verify_certificate_spki`).
#[derive(Debug, Default)]
pub struct Pins {
    /// SHA-256 of the certificate.
    pub certificates: Box<[[u8; 32]]>,
    /// SHA-256 of its public key with algorithm (SubjectPublicKeyInfo).
    pub keys: Box<[[u8; 32]]>,
}

impl Pins {
    /// Whether any certificate will do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.certificates.is_empty() && self.keys.is_empty()
    }

    /// Whether a peer's certificate is one of them, or none is asked for. A certificate that cannot be read is not.
    #[must_use]
    pub fn accept(&self, certificate: &CertificateDer<'_>) -> bool {
        let digest = |bytes: &[u8]| -> [u8; 32] { Sha256::digest(bytes).into() };
        let has_key = || {
            ParsedCertificate::try_from(certificate)
                .is_ok_and(|parsed| self.keys.contains(&digest(&parsed.subject_public_key_info())))
        };
        self.is_empty()
            || self.certificates.contains(&digest(certificate))
            || (!self.keys.is_empty() && has_key())
    }
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
