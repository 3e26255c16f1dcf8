// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Reads the names in a client's certificate.

use gateway_filter_api::PeerNames;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The names in a certificate that the handshake accepted; none where it can not be read.
pub(crate) fn names(der: &[u8]) -> Option<PeerNames> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let (mut uris, mut dns) = (Vec::new(), Vec::new());
    if let Ok(Some(alternatives)) = certificate.subject_alternative_name() {
        for name in &alternatives.value.general_names {
            match name {
                GeneralName::URI(uri) => uris.push(Box::from(*uri)),
                GeneralName::DNSName(name) => dns.push(Box::from(*name)),
                _ => {}
            }
        }
    }
    Some(PeerNames {
        uris: uris.into(),
        dns: dns.into(),
        subject: certificate
            .subject()
            .to_string_with_registry(x509_parser::objects::oid_registry())
            .ok()?
            .into(),
    })
}
