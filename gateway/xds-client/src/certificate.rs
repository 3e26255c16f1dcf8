// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A workload certificate with its key, checked against what was asked for.

use crate::IdentityError;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::fmt;
use std::time::{Duration, SystemTime};
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};

/// A certificate chain, leaf first, with the leaf's key. `Debug` hides the key.
#[derive(Clone)]
pub struct WorkloadCertificate {
    chain: String,
    key: String,
    not_before: SystemTime,
    not_after: SystemTime,
    serial: String,
    identity: String,
}

impl fmt::Debug for WorkloadCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkloadCertificate")
            .field("identity", &self.identity)
            .field("serial", &self.serial)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

impl WorkloadCertificate {
    /// Reads an issued chain and checks that its leaf is for this node and this key.
    ///
    /// # Errors
    /// Where it is not, or cannot be read.
    pub fn new(chain: String, key: &rcgen::KeyPair, node_id: &str) -> Result<Self, IdentityError> {
        let refused = IdentityError::Certificate;
        let leaf = CertificateDer::from_pem_slice(chain.as_bytes())
            .map_err(|_| refused("it is no pem certificate"))?;
        let (_, leaf) = X509Certificate::from_der(&leaf).map_err(|_| refused("it cannot be read"))?;
        if leaf.public_key().subject_public_key.data != key.public_key_raw() {
            return Err(refused("it is for another key"));
        }
        let name = leaf.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        if name != Some(node_id) {
            return Err(refused("its common name is not this node"));
        }
        let (not_before, not_after) = (time(&leaf.validity().not_before), time(&leaf.validity().not_after));
        if not_after <= SystemTime::now() {
            return Err(refused("it has ended already; compare the clocks of relay and gateway"));
        }
        let identity = uri(&leaf).unwrap_or_default();
        let serial = leaf.raw_serial_as_string();
        Ok(Self { chain, key: key.serialize_pem(), not_before, not_after, serial, identity })
    }

    /// The chain in PEM, leaf first.
    #[must_use]
    pub fn chain(&self) -> &str {
        &self.chain
    }

    /// The leaf's key in PEM; never to be written anywhere.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The end of its life.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Its serial number, hexadecimal.
    #[must_use]
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// Its SPIFFE URI; empty where it has none.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// The moment after `share` (0 to 1) of its life.
    #[must_use]
    pub fn after_share(&self, share: f64) -> SystemTime {
        let life = self.not_after.duration_since(self.not_before).unwrap_or_default();
        self.not_before + life.mul_f64(share.clamp(0.0, 1.0))
    }
}

fn time(time: &x509_parser::time::ASN1Time) -> SystemTime {
    let seconds = u64::try_from(time.timestamp()).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn uri(leaf: &X509Certificate<'_>) -> Option<String> {
    let names = leaf.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => Some(names),
        _ => None,
    })?;
    names.general_names.iter().find_map(|name| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    })
}
