// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! TLS towards endpoints: who is trusted, which name is asked for.

use gateway_config::{SanKind, SanMatcher, Secret, SecretKind, UpstreamProtocol, UpstreamTls};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme, SupportedProtocolVersion,
};
use std::net::IpAddr;
use std::sync::Arc;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// TLS of a cluster, or what is missing for it.
#[derive(Debug)]
pub(crate) struct TlsSettings {
    pub(crate) config: Result<Arc<ClientConfig>, Arc<str>>,
    sni: Option<ServerName<'static>>,
    prefer_hostname: bool,
}

impl TlsSettings {
    /// The name for the handshake: the configured one, else the endpoint's own; the other way round where settings say so.
    pub(crate) fn server_name(&self, hostname: Option<&str>, address: IpAddr) -> ServerName<'static> {
        let own = hostname.and_then(|name| ServerName::try_from(name.to_owned()).ok());
        let (first, second) =
            if self.prefer_hostname { (own, self.sni.clone()) } else { (self.sni.clone(), own) };
        first.or(second).unwrap_or_else(|| ServerName::IpAddress(address.into()))
    }
}

/// Builds TLS from a cluster's settings and its secrets, as far as they are there.
pub(crate) fn settings(
    tls: &UpstreamTls,
    protocol: UpstreamProtocol,
    roots: Option<&Secret>,
    certificate: Option<&Secret>,
) -> TlsSettings {
    let sni = tls.sni.as_ref().and_then(|name| ServerName::try_from(name.to_string()).ok());
    TlsSettings {
        config: client_config(tls, protocol, roots, certificate).map(Arc::new),
        sni,
        prefer_hostname: tls.auto_sni,
    }
}

fn client_config(
    tls: &UpstreamTls,
    protocol: UpstreamProtocol,
    roots: Option<&Secret>,
    certificate: Option<&Secret>,
) -> Result<ClientConfig, Arc<str>> {
    let (roots, names) = match (&tls.roots, roots.map(|secret| &secret.kind)) {
        (None, _) => (None, Vec::new()),
        (Some(_), Some(SecretKind::Validation(validation))) => {
            (Some(Arc::clone(&validation.roots)), validation.names.to_vec())
        }
        (Some(_), Some(SecretKind::Certificate(_) | SecretKind::Generic(_))) => {
            return Err("the secret of the roots holds something else".into());
        }
        (Some(_), None) => return Err("the secret of the roots is not there".into()),
    };
    let key = match (&tls.certificate, certificate.map(|secret| &secret.kind)) {
        (None, _) => None,
        (Some(_), Some(SecretKind::Certificate(key))) => Some(Arc::clone(key)),
        (Some(_), Some(SecretKind::Validation(_) | SecretKind::Generic(_))) => {
            return Err("the secret of the certificate holds something else".into());
        }
        (Some(_), None) => return Err("the secret of the certificate is not there".into()),
    };
    let provider = CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let names = names.into_iter().chain(tls.names.iter().cloned()).collect();
    let verifier = Arc::new(Verifier { roots, names, provider: Arc::clone(&provider) });
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions(tls))
        .map_err(|error| Arc::from(error.to_string()))?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = match key {
        None => builder.with_no_client_auth(),
        Some(key) => {
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::clone(&key))))
        }
    };
    config.alpn_protocols = alpn(tls, protocol);
    config.resumption = Resumption::in_memory_sessions(256);
    Ok(config)
}

fn versions(tls: &UpstreamTls) -> Vec<&'static SupportedProtocolVersion> {
    let allowed = [(&TLS13, tls.allow_tls13), (&TLS12, tls.allow_tls12)];
    allowed.into_iter().filter(|(_, allowed)| *allowed).map(|(version, _)| version).collect()
}

fn alpn(tls: &UpstreamTls, protocol: UpstreamProtocol) -> Vec<Vec<u8>> {
    if !tls.alpn.is_empty() {
        return tls.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    }
    match protocol {
        UpstreamProtocol::Http1 | UpstreamProtocol::Downstream => vec![b"http/1.1".to_vec()],
        UpstreamProtocol::Http2 => vec![b"h2".to_vec()],
        UpstreamProtocol::Auto => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
    }
}

/// Envoy's rules: no roots, no check; roots without names, any name they vouch for; else one of the names.
#[derive(Debug)]
struct Verifier {
    roots: Option<Arc<RootCertStore>>,
    names: Vec<SanMatcher>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(roots) = &self.roots else { return Ok(ServerCertVerified::assertion()) };
        let parsed = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            roots,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        )?;
        if self.names.is_empty() || has_name(end_entity, &self.names) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::NotValidForName))
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
