// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! `/certs` (`envoy.admin.v3.Certificates`): the certificates in use and those that are trusted. Never keys.

use super::json;
use crate::process::Shared;
use gateway_telemetry::Page;
use gateway_xds_api::ResourceType;
use gateway_xds_api::pb::envoy::admin::v3::{
    Certificate, CertificateDetails, Certificates, SubjectAlternateName, subject_alternate_name::Name,
};
use gateway_xds_api::pb::envoy::config::core::v3::{DataSource, data_source::Specifier};
use gateway_xds_api::pb::envoy::extensions::transport_sockets::tls::v3::{Secret, secret};
use gateway_xds_api::pb::google::protobuf::Timestamp;
use gateway_xds_client::CertificateWatch;
use prost::Message;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};
use x509_parser::pem::Pem;
use x509_parser::prelude::{GeneralName, X509Certificate};
use x509_parser::time::ASN1Time;

/// Stands for the file's name of the gateway's own certificate.
const WORKLOAD: &str = "workload";
const DAY: i64 = 24 * 60 * 60;

/// The page. In place of a file's name stands that of the secret.
pub(super) fn page(shared: &Shared, workload: &CertificateWatch) -> Page {
    let held: Vec<_> = {
        let store = shared.store.lock();
        let secrets = store.accepted().filter(|(kind, ..)| *kind == ResourceType::Secret);
        secrets.map(|(_, name, value)| (name.to_owned(), value.clone())).collect()
    };
    let mut certificates = Vec::new();
    if let Some(own) = workload.borrow().as_ref() {
        let cert_chain = details(WORKLOAD, own.chain().as_bytes());
        certificates.push(Certificate { ca_cert: Vec::new(), cert_chain });
    }
    for (name, value) in held {
        certificates.extend(Secret::decode(value).ok().and_then(|secret| certificate(&name, secret)));
    }
    json::message(&Certificates { certificates })
}

fn certificate(name: &str, secret: Secret) -> Option<Certificate> {
    let read =
        |source: Option<DataSource>| source.map(|source| details(name, &pem(source))).unwrap_or_default();
    Some(match secret.r#type? {
        secret::Type::TlsCertificate(own) => {
            Certificate { ca_cert: Vec::new(), cert_chain: read(own.certificate_chain) }
        }
        secret::Type::ValidationContext(trust) => {
            Certificate { ca_cert: read(trust.trusted_ca), cert_chain: Vec::new() }
        }
        _ => return None,
    })
}

fn pem(source: DataSource) -> Vec<u8> {
    match source.specifier {
        Some(Specifier::InlineBytes(bytes)) => bytes,
        Some(Specifier::InlineString(text)) => text.into_bytes(),
        _ => Vec::new(),
    }
}

fn details(path: &str, pem: &[u8]) -> Vec<CertificateDetails> {
    let blocks = Pem::iter_from_buffer(pem).flatten();
    let certificate = |block: Pem| block.parse_x509().ok().map(|certificate| detail(path, &certificate));
    blocks.filter(|block| block.label == "CERTIFICATE").filter_map(certificate).collect()
}

fn detail(path: &str, certificate: &X509Certificate<'_>) -> CertificateDetails {
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.iter().flat_map(|names| &names.value.general_names);
    let (from, to) = (certificate.validity().not_before, certificate.validity().not_after);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let left = to.timestamp().saturating_sub(i64::try_from(now).unwrap_or(i64::MAX)) / DAY;
    CertificateDetails {
        path: path.to_owned(),
        serial_number: certificate.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect(),
        subject_alt_names: names.filter_map(name).collect(),
        days_until_expiration: u64::try_from(left).unwrap_or_default(),
        valid_from: Some(timestamp(from)),
        expiration_time: Some(timestamp(to)),
        ocsp_details: None,
    }
}

fn name(name: &GeneralName<'_>) -> Option<SubjectAlternateName> {
    let name = match name {
        GeneralName::DNSName(name) => Name::Dns((*name).to_owned()),
        GeneralName::URI(uri) => Name::Uri((*uri).to_owned()),
        GeneralName::IPAddress(bytes) => Name::IpAddress(match **bytes {
            [a, b, c, d] => IpAddr::from([a, b, c, d]).to_string(),
            ref bytes => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?).to_string(),
        }),
        _ => return None,
    };
    Some(SubjectAlternateName { name: Some(name) })
}

fn timestamp(time: ASN1Time) -> Timestamp {
    Timestamp { seconds: time.timestamp(), nanos: 0 }
}
