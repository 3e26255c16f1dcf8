// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes what the upstream is told about the client's certificate.

use crate::decode::{Fault, Scope, fields, truth};
use crate::{ClientCertificateHeader, ClientCertificateMode as Mode};
use gateway_xds_api::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    ForwardClientCertDetails, SetCurrentClientCertDetails,
};

/// The mode and the parts that are told.
pub(crate) fn client_certificate(
    scope: &mut Scope,
    mode: i32,
    parts: Option<SetCurrentClientCertDetails>,
) -> Result<ClientCertificateHeader, Fault> {
    let mode = match ForwardClientCertDetails::try_from(mode) {
        Ok(ForwardClientCertDetails::Sanitize) => Mode::Sanitize,
        Ok(ForwardClientCertDetails::ForwardOnly) => Mode::ForwardOnly,
        Ok(ForwardClientCertDetails::AppendForward) => Mode::AppendForward,
        Ok(ForwardClientCertDetails::SanitizeSet) => Mode::SanitizeSet,
        Ok(ForwardClientCertDetails::AlwaysForwardOnly) => Mode::AlwaysForwardOnly,
        Err(_) => return Err(scope.field_fault("forward_client_cert_details", "is unknown")),
    };
    let parts = parts.unwrap_or_default();
    scope.at("set_current_client_cert_details", |scope| {
        fields!(scope, parts => SetCurrentClientCertDetails {
            use { subject, cert, dns, uri }
            warn { chain, issuer, format }
            quiet { }
        });
        Ok(ClientCertificateHeader { mode, subject: truth(subject, false), certificate: cert, dns, uri })
    })
}
