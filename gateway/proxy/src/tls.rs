// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! TLS towards clients: one rustls configuration for each filter chain, made anew at the first handshake after its certificates changed.

use crate::peer;
use gateway_config::{Codec, DownstreamTls, FilterChain, Secret, SecretKind, Snapshot, Validation};
use parking_lot::Mutex;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use thiserror::Error;

/// Why a chain can not be served by TLS.
#[derive(Debug, Error)]
pub(crate) enum TlsError {
    /// The secret is not in the snapshot, or of another kind.
    #[error("secret {0:?} is not there")]
    NoSecret(Box<str>),
    /// rustls refuses the settings.
    #[error("tls settings are not usable")]
    Settings(#[from] rustls::Error),
    /// The roots for client certificates are not usable.
    #[error("roots for client certificates are not usable")]
    Roots(#[from] rustls::server::VerifierBuilderError),
}

/// Listener and filter chain.
type ChainName = (Box<str>, Box<str>);

/// Keys for session tickets by listener and filter chain, kept while certificates rotate: a returning client resumes. Not shared
/// between chains, whose demands on clients may differ.
#[derive(Debug, Default)]
pub(crate) struct TicketKeys {
    keys: Mutex<HashMap<ChainName, Arc<dyn ProducesTickets>>>,
}

impl TicketKeys {
    fn of(&self, listener: &str, chain: &str) -> Result<Arc<dyn ProducesTickets>, rustls::Error> {
        let mut keys = self.keys.lock();
        if let Some(found) = keys.get(&(listener.into(), chain.into())) {
            return Ok(Arc::clone(found));
        }
        let made = rustls::crypto::aws_lc_rs::Ticketer::new()?;
        keys.insert((listener.into(), chain.into()), Arc::clone(&made));
        Ok(made)
    }
}

/// The rustls configurations of one listener on one worker.
#[derive(Debug, Default)]
pub(crate) struct TlsConfigs {
    /// By the chain's address in memory; an entry holds its chain, so no other can have it.
    made: RefCell<HashMap<usize, Made>>,
}

#[derive(Debug)]
struct Made {
    chain: Arc<FilterChain>,
    secrets: Vec<Arc<Secret>>,
    config: Arc<ServerConfig>,
}

impl TlsConfigs {
    /// Forgets all: the listener's chains are others now.
    pub(crate) fn clear(&self) {
        self.made.borrow_mut().clear();
    }

    /// The configuration for a handshake on `chain`, with the certificates of the snapshot.
    ///
    /// # Errors
    /// Where a secret is missing or the settings are unusable; the connection is then closed.
    pub(crate) fn config(
        &self,
        listener: &str,
        chain: &Arc<FilterChain>,
        tls: &DownstreamTls,
        snapshot: &Snapshot,
        tickets: &TicketKeys,
    ) -> Result<Arc<ServerConfig>, TlsError> {
        let key = Arc::as_ptr(chain) as usize;
        let names = || tls.certificates.iter().chain(&tls.client_roots);
        if let Some(made) = self.made.borrow().get(&key)
            && Arc::ptr_eq(&made.chain, chain)
            && names()
                .zip(&made.secrets)
                .all(|(name, used)| snapshot.secrets.get(name).is_some_and(|now| Arc::ptr_eq(now, used)))
        {
            return Ok(Arc::clone(&made.config));
        }
        let secrets = names()
            .map(|name| snapshot.secrets.get(name).cloned().ok_or_else(|| TlsError::NoSecret(name.clone())))
            .collect::<Result<Vec<_>, _>>()?;
        let mut config = build(tls, chain.http().map(|http| http.codec), &secrets)?;
        config.ticketer = tickets.of(listener, &chain.name)?;
        let config = Arc::new(config);
        let made = Made { chain: Arc::clone(chain), secrets, config: Arc::clone(&config) };
        self.made.borrow_mut().insert(key, made);
        Ok(config)
    }
}

fn build(
    tls: &DownstreamTls,
    codec: Option<Codec>,
    secrets: &[Arc<Secret>],
) -> Result<ServerConfig, TlsError> {
    let mut certificates = Vec::new();
    let mut validation = None;
    for (index, secret) in secrets.iter().enumerate() {
        match &secret.kind {
            SecretKind::Certificate(key) if index < tls.certificates.len() => {
                certificates.push(Arc::clone(key))
            }
            SecretKind::Validation(roots) if index >= tls.certificates.len() => {
                validation = Some(Arc::clone(roots))
            }
            SecretKind::Certificate(_) | SecretKind::Validation(_) | SecretKind::Generic(_) => {
                return Err(TlsError::NoSecret(secret.name.clone()));
            }
        }
    }
    let versions: Vec<&'static SupportedProtocolVersion> =
        [(tls.allow_tls13, &rustls::version::TLS13), (tls.allow_tls12, &rustls::version::TLS12)]
            .into_iter()
            .filter_map(|(allowed, version)| allowed.then_some(version))
            .collect();
    let provider = CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&versions)?;
    let builder = match validation {
        Some(validation) => builder.with_client_cert_verifier(client_verifier(tls, &validation)?),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(Certificates(certificates)));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 1;
    config.alpn_protocols = match (tls.alpn.is_empty(), codec) {
        (false, _) => tls.alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect(),
        (true, None) => Vec::new(),
        (true, Some(Codec::Auto)) => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        (true, Some(Codec::Http1)) => vec![b"http/1.1".to_vec()],
        (true, Some(Codec::Http2)) => vec![b"h2".to_vec()],
    };
    Ok(config)
}

fn client_verifier(
    tls: &DownstreamTls,
    validation: &Arc<Validation>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut builder = WebPkiClientVerifier::builder(Arc::clone(&validation.roots));
    if !validation.revocations.lists.is_empty() {
        builder = builder.with_crls(validation.revocations.lists.iter().cloned());
        if validation.revocations.leaf_only {
            builder = builder.only_check_end_entity_revocation();
        }
    }
    let builder = if tls.require_client_certificate { builder } else { builder.allow_unauthenticated() };
    let roots = builder.build()?;
    if validation.names.is_empty() && validation.pins.is_empty() {
        return Ok(roots);
    }
    Ok(Arc::new(NamedClients { roots, validation: Arc::clone(validation) }))
}

/// Clients whose certificate the roots vouch for, that has one of some names and is one of some.
#[derive(Debug)]
struct NamedClients {
    roots: Arc<dyn ClientCertVerifier>,
    validation: Arc<Validation>,
}

impl ClientCertVerifier for NamedClients {
    fn offer_client_auth(&self) -> bool {
        self.roots.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.roots.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.roots.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.roots.verify_client_cert(end_entity, intermediates, now)?;
        let wanted = &self.validation.names;
        let named =
            wanted.is_empty() || peer::names(end_entity).is_some_and(|names| peer::has_name(&names, wanted));
        match named && self.validation.pins.accept(end_entity) {
            true => Ok(verified),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.roots.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.roots.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.roots.supported_verify_schemes()
    }
}

/// The certificates of a chain; the first whose key the client can verify answers.
#[derive(Debug)]
struct Certificates(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let fits = |certificate: &&Arc<CertifiedKey>| {
            certificate.key.choose_scheme(hello.signature_schemes()).is_some()
        };
        self.0.iter().find(fits).or_else(|| self.0.first()).cloned()
    }
}
