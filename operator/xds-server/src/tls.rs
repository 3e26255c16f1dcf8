// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The relay's TLS settings: swapped while connections go on, client certificates against the fleet's roots.

use arc_swap::ArcSwap;
use operator_identity::{IdentityError, ServerCertificate, certificates_from_pem, key_from_pem};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::sync::Arc;

/// Why TLS settings were refused; the settings before stay.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Certificate, key or roots are not PEM.
    #[error("cannot read the server's certificate or the fleet's roots")]
    Pem(#[from] IdentityError),
    /// The roots cannot be used.
    #[error("the fleet's roots cannot verify clients")]
    Roots(#[source] rustls::server::VerifierBuilderError),
    /// Certificate and key do not fit, or the provider lacks something.
    #[error("certificate and key cannot serve TLS")]
    Material(#[from] rustls::Error),
}

/// TLS settings of both ports. New connections use what was set last.
#[derive(Debug)]
pub struct ServerTls {
    mutual: ArcSwap<ServerConfig>,
    server: ArcSwap<ServerConfig>,
}

impl ServerTls {
    /// Serves with `certificate`; clients on the ADS port must chain to one of `roots_pem`.
    ///
    /// # Errors
    /// Where something cannot be read or does not fit together.
    pub fn new(certificate: &ServerCertificate, roots_pem: &str) -> Result<Self, TlsError> {
        let (mutual, server) = build(certificate, roots_pem)?;
        Ok(Self { mutual: ArcSwap::from(mutual), server: ArcSwap::from(server) })
    }

    /// Serves new connections with another certificate or other roots.
    ///
    /// # Errors
    /// Where something cannot be read or does not fit together; the old settings stay.
    pub fn replace(&self, certificate: &ServerCertificate, roots_pem: &str) -> Result<(), TlsError> {
        let (mutual, server) = build(certificate, roots_pem)?;
        self.mutual.store(mutual);
        self.server.store(server);
        Ok(())
    }

    /// Settings that demand a client certificate.
    pub(crate) fn mutual(&self) -> Arc<ServerConfig> {
        self.mutual.load_full()
    }

    /// Settings that demand none.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        self.server.load_full()
    }
}

fn build(
    certificate: &ServerCertificate,
    roots_pem: &str,
) -> Result<(Arc<ServerConfig>, Arc<ServerConfig>), TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let chain = certificates_from_pem(&certificate.chain_pem)?;
    let mut roots = RootCertStore::empty();
    for root in certificates_from_pem(roots_pem)? {
        roots.add(root)?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(TlsError::Roots)?;
    // TLS 1.2 stays for a stock Envoy, whose client side offers nothing newer by default.
    let builder =
        || ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let mut mutual = builder()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain.clone(), key_from_pem(&certificate.key)?)?;
    mutual.alpn_protocols = vec![b"h2".to_vec()];
    // A resumed session would outlive a change of the roots.
    mutual.send_tls13_tickets = 0;
    mutual.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    let mut server =
        builder()?.with_no_client_auth().with_single_cert(chain, key_from_pem(&certificate.key)?)?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((Arc::new(mutual), Arc::new(server)))
}
