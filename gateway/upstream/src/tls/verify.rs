// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Which certificates of endpoints are trusted.

use gateway_config::{SanKind, SanMatcher, UpstreamTls, Validation};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Envoy's rules: no validation, no check; roots without names, any name they vouch for; else one of the names. Fingerprints count in
/// addition, or alone where there are no roots.
#[derive(Debug)]
pub(super) struct Verifier {
    chain: Chain,
    validation: Option<Arc<Validation>>,
    names: Vec<SanMatcher>,
    /// The certificate must be for the name of the handshake.
    verify_sent: bool,
    provider: Arc<CryptoProvider>,
}

/// Who must have issued the certificate.
#[derive(Debug)]
enum Chain {
    Any,
    Roots(Arc<RootCertStore>),
    /// And it must not have been revoked.
    Revocable(Arc<WebPkiServerVerifier>),
}

impl Verifier {
    pub(super) fn new(
        tls: &UpstreamTls,
        validation: Option<&Arc<Validation>>,
        verify_requested: bool,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, Arc<str>> {
        let chain = match validation {
            None => Chain::Any,
            Some(validation) => chain(validation, provider)?,
        };
        let told = validation.map(|validation| &validation.names[..]).unwrap_or_default();
        // What is verified instead of the names.
        let names =
            if tls.verify_sni { Vec::new() } else { told.iter().chain(&tls.names).cloned().collect() };
        Ok(Self {
            chain,
            validation: validation.cloned(),
            names,
            verify_sent: tls.verify_sni || verify_requested,
            provider: Arc::clone(provider),
        })
    }
}

fn chain(validation: &Validation, provider: &Arc<CryptoProvider>) -> Result<Chain, Arc<str>> {
    let roots = if validation.system_roots { system_roots()? } else { Arc::clone(&validation.roots) };
    let revocations = &validation.revocations;
    if roots.is_empty() {
        return Ok(Chain::Any);
    }
    if revocations.lists.is_empty() {
        return Ok(Chain::Roots(roots));
    }
    let mut builder = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider))
        .with_crls(revocations.lists.iter().cloned())
        .enforce_revocation_expiration();
    if revocations.leaf_only {
        builder = builder.only_check_end_entity_revocation();
    }
    builder.build().map(Chain::Revocable).map_err(|error| Arc::from(error.to_string()))
}

/// The roots of the system, read once.
fn system_roots() -> Result<Arc<RootCertStore>, Arc<str>> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    });
    match roots.is_empty() {
        true => Err("the system has no roots".into()),
        false => Ok(Arc::clone(roots)),
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(validation) = &self.validation else { return Ok(ServerCertVerified::assertion()) };
        let parsed = ParsedCertificate::try_from(end_entity)?;
        match &self.chain {
            Chain::Any => {}
            Chain::Roots(roots) => verify_server_cert_signed_by_trust_anchor(
                &parsed,
                roots,
                intermediates,
                now,
                self.provider.signature_verification_algorithms.all,
            )?,
            Chain::Revocable(verifier) => {
                let result =
                    verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
                // The name is looked at last there, and by other rules here.
                if let Err(error) = result
                    && !is_about_name(&error)
                {
                    return Err(error);
                }
            }
        }
        if self.verify_sent {
            verify_server_name(&parsed, server_name)?;
        }
        if !self.names.is_empty() && !has_name(end_entity, &self.names) {
            return Err(Error::InvalidCertificate(CertificateError::NotValidForName));
        }
        match validation.pins.accept(end_entity) {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn is_about_name(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
        )
    )
}

fn has_name(certificate: &CertificateDer<'_>, names: &[SanMatcher]) -> bool {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return false };
    let Ok(Some(alternatives)) = parsed.subject_alternative_name() else { return false };
    alternatives.value.general_names.iter().any(|name| {
        names.iter().any(|wanted| match (wanted.kind, name) {
            (SanKind::Dns, GeneralName::DNSName(dns)) => matches_dns(wanted, dns),
            (SanKind::Uri, GeneralName::URI(uri)) => wanted.matcher.is_match(uri.as_bytes()),
            (SanKind::Email, GeneralName::RFC822Name(mail)) => wanted.matcher.is_match(mail.as_bytes()),
            (SanKind::Ip, GeneralName::IPAddress(octets)) => matches_ip(wanted, octets),
            _ => false,
        })
    })
}

/// An exact name also fits a wildcard in the certificate, one label deep (RFC 6125).
fn matches_dns(wanted: &SanMatcher, dns: &str) -> bool {
    if wanted.matcher.is_match(dns.as_bytes()) {
        return true;
    }
    let gateway_config::StringPattern::Exact(exact) = &wanted.matcher.pattern else { return false };
    let Some(suffix) = dns.strip_prefix('*').filter(|suffix| suffix.starts_with('.')) else { return false };
    let Some(label) = exact.len().checked_sub(suffix.len()) else { return false };
    label > 0 && exact[label..].eq_ignore_ascii_case(suffix.as_bytes()) && !exact[..label].contains(&b'.')
}

fn matches_ip(wanted: &SanMatcher, octets: &[u8]) -> bool {
    let address = <[u8; 4]>::try_from(octets)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from));
    address.is_ok_and(|address| wanted.matcher.is_match(address.to_string().as_bytes()))
}
