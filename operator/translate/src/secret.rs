// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Certificates for SDS.

use crate::{Certificate, names};
use gateway_xds_api::pb::envoy::config::core::v3::{DataSource, data_source};
use gateway_xds_api::pb::envoy::extensions::transport_sockets::tls::v3::{Secret, TlsCertificate, secret};
use gateway_xds_api::{PackedResource, ResourceType, pack};
use operator_ir::SecretId;

pub(crate) fn certificate(id: &SecretId, certificate: &Certificate) -> PackedResource {
    let inline = |text: &str| DataSource {
        specifier: Some(data_source::Specifier::InlineString(text.to_owned())),
        ..DataSource::default()
    };
    let name = names::secret(id);
    let message = Secret {
        name: name.clone(),
        r#type: Some(secret::Type::TlsCertificate(TlsCertificate {
            certificate_chain: Some(inline(&certificate.chain_pem)),
            private_key: Some(inline(&certificate.key_pem)),
            ..TlsCertificate::default()
        })),
    };
    pack(ResourceType::Secret, name.clone(), &message, format!("Secret {name}"))
}
