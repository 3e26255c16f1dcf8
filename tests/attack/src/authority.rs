// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! An authority whose certificates the gateway shows, one after the other, and clients that trust it.

use crate::gateway::Certificate;
use crate::resources::Typed;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;

/// The authority.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    roots: Arc<RootCertStore>,
}

impl Authority {
    /// A new one.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let mut roots = RootCertStore::empty();
        roots.add(issuer.der().clone())?;
        Ok(Self { issuer, roots: Arc::new(roots) })
    }

    /// A new certificate for localhost as a secret of that name, and what a client sees of it.
    pub(crate) fn certificate(&self, name: &str) -> anyhow::Result<(Typed, Vec<u8>)> {
        let key = KeyPair::generate()?;
        let made = CertificateParams::new(vec!["localhost".to_owned()])?.signed_by(&key, &self.issuer)?;
        let certificate = Certificate { chain: made.pem(), key: key.serialize_pem() };
        Ok((certificate.secret(name), made.der().to_vec()))
    }

    /// Settings of a client that speaks one protocol, and resumes its sessions or never does.
    pub(crate) fn client(&self, http2: bool, resumes: bool) -> Arc<ClientConfig> {
        let mut config =
            ClientConfig::builder().with_root_certificates(Arc::clone(&self.roots)).with_no_client_auth();
        config.alpn_protocols = vec![if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        if !resumes {
            config.resumption = Resumption::disabled();
        }
        Arc::new(config)
    }
}
