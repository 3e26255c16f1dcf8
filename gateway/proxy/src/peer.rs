// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The names in a client's certificate, and conditions on them.

use gateway_config::{SanKind, SanMatcher};
use gateway_filter_api::PeerNames;
use std::net::IpAddr;
use x509_parser::extensions::GeneralName;
use x509_parser::objects::oid_registry;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The names in a certificate; none where it can not be read.
pub(crate) fn names(der: &[u8]) -> Option<PeerNames> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let (mut uris, mut dns, mut ips, mut emails) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    if let Ok(Some(alternatives)) = certificate.subject_alternative_name() {
        for name in &alternatives.value.general_names {
            match name {
                GeneralName::URI(uri) => uris.push(Box::from(*uri)),
                GeneralName::DNSName(name) => dns.push(Box::from(*name)),
                GeneralName::RFC822Name(name) => emails.push(Box::from(*name)),
                GeneralName::IPAddress(bytes) => ips.extend(address(bytes)),
                _ => {}
            }
        }
    }
    Some(PeerNames {
        uris: uris.into(),
        dns: dns.into(),
        ips: ips.into(),
        emails: emails.into(),
        subject: certificate.subject().to_string_with_registry(oid_registry()).ok()?.into(),
    })
}

/// Whether one of the names is one of those wanted.
pub(crate) fn has_name(names: &PeerNames, wanted: &[SanMatcher]) -> bool {
    wanted.iter().any(|wanted| {
        let any = |names: &[Box<str>]| names.iter().any(|name| wanted.matcher.is_match(name.as_bytes()));
        match wanted.kind {
            SanKind::Dns => any(&names.dns),
            SanKind::Uri => any(&names.uris),
            SanKind::Email => any(&names.emails),
            SanKind::Ip => names.ips.iter().any(|ip| wanted.matcher.is_match(ip.to_string().as_bytes())),
        }
    })
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}
