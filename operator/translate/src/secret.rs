// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Secrets: certificates with their keys.

use crate::{Certificate, names};
use gateway_xds_api::pb::envoy::config::core::v3::{DataSource, data_source};
use gateway_xds_api::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
use operator_ir::SecretId;

pub(crate) fn secret(id: &SecretId, certificate: &Certificate) -> tls::Secret {
    let inline = |bytes: &[u8]| {
        Some(DataSource {
            specifier: Some(data_source::Specifier::InlineBytes(bytes.to_vec())),
            ..Default::default()
        })
    };
    let certificate = tls::TlsCertificate {
        certificate_chain: inline(&certificate.chain_pem),
        private_key: inline(&certificate.key_pem),
        ..Default::default()
    };
    tls::Secret { name: names::secret(id), r#type: Some(tls::secret::Type::TlsCertificate(certificate)) }
}
