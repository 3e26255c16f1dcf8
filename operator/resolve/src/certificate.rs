// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What a Secret is good for as a server certificate; keys are looked at and dropped.

use k8s_openapi::api::core::v1::Secret;
use operator_ir::{ObjectKind, ObjectRef};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// What was found out about a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFacts {
    /// The Secret.
    pub object: ObjectRef,
    /// Why it cannot serve as a certificate; none where it can.
    pub problem: Option<String>,
}

impl SecretFacts {
    /// Looks at `tls.crt` and `tls.key` of a Secret (also under `stringData`, as written in files).
    #[must_use]
    pub fn of(secret: &Secret) -> Self {
        let namespace = secret.metadata.namespace.clone().unwrap_or_default();
        let name = secret.metadata.name.clone().unwrap_or_default();
        let problem = check(entry(secret, "tls.crt"), entry(secret, "tls.key")).err();
        Self { object: ObjectRef::new(ObjectKind::Secret, namespace, name), problem }
    }
}

fn entry<'a>(secret: &'a Secret, key: &str) -> Option<&'a [u8]> {
    let data = secret.data.as_ref().and_then(|data| data.get(key)).map(|bytes| bytes.0.as_slice());
    data.or_else(|| secret.string_data.as_ref().and_then(|data| data.get(key)).map(String::as_bytes))
}

fn check(certificate: Option<&[u8]>, key: Option<&[u8]>) -> Result<(), String> {
    let certificate = certificate.ok_or("it has no tls.crt")?;
    let key = key.ok_or("it has no tls.key")?;
    let mut chain = 0;
    for der in CertificateDer::pem_slice_iter(certificate) {
        let der = der.map_err(|error| format!("tls.crt is not PEM: {error}"))?;
        x509_parser::parse_x509_certificate(&der)
            .map_err(|error| format!("tls.crt holds a broken certificate: {error}"))?;
        chain += 1;
    }
    if chain == 0 {
        return Err("tls.crt holds no certificate".to_owned());
    }
    PrivateKeyDer::from_pem_slice(key).map_err(|error| format!("tls.key holds no private key: {error}"))?;
    Ok(())
}
