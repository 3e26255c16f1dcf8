// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! TLS towards endpoints: who is trusted, which name is asked for.

mod verify;

use gateway_config::{Secret, SecretKind, UpstreamProtocol, UpstreamTls};
use rustls::SupportedProtocolVersion;
use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use std::net::IpAddr;
use std::sync::Arc;
use verify::Verifier;

/// What a connection will carry, which is offered by ALPN where settings do not say otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carried {
    Http1,
    Http2,
    /// Bytes of another protocol.
    Raw,
}

/// The same settings with each offer.
#[derive(Debug)]
struct Configs {
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    raw: Arc<ClientConfig>,
}

/// TLS of a cluster's socket, or what is missing for it.
#[derive(Debug)]
pub(crate) struct TlsSettings {
    configs: Result<Configs, Arc<str>>,
    /// For connections whose name a request asked for, where that is verified. With sessions of their own: none of them was begun without.
    verifying: Option<Result<Configs, Arc<str>>>,
    sni: Option<ServerName<'static>>,
    host_sni: bool,
}

impl TlsSettings {
    /// The settings for a connection; `requested` where a request asked for its name.
    ///
    /// # Errors
    /// What is missing.
    pub(crate) fn config(&self, carried: Carried, requested: bool) -> Result<&Arc<ClientConfig>, &Arc<str>> {
        let configs = self.verifying.as_ref().filter(|_| requested).unwrap_or(&self.configs);
        configs.as_ref().map(|configs| match carried {
            Carried::Http1 => &configs.http1,
            Carried::Http2 => &configs.http2,
            Carried::Raw => &configs.raw,
        })
    }

    /// The name for the handshake: what the request asks for, or the endpoint's own where settings say so, or the configured one. Without
    /// any none is sent, and the address stands for it.
    pub(crate) fn server_name(
        &self,
        requested: Option<&ServerName<'static>>,
        hostname: Option<&str>,
        address: IpAddr,
    ) -> ServerName<'static> {
        let own =
            || hostname.filter(|_| self.host_sni).and_then(|name| ServerName::try_from(name.to_owned()).ok());
        let name = requested.cloned().or_else(own).or_else(|| self.sni.clone());
        name.unwrap_or_else(|| ServerName::IpAddress(address.into()))
    }
}

/// The secrets of a socket, as far as they are there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Secrets<'a> {
    pub(crate) roots: Option<&'a Secret>,
    pub(crate) certificate: Option<&'a Secret>,
}

/// Builds TLS from settings and secrets. Where `verify_requested`, certificates must be for the name that a request asks for.
pub(crate) fn settings(
    tls: &UpstreamTls,
    protocol: UpstreamProtocol,
    verify_requested: bool,
    secrets: Secrets<'_>,
) -> TlsSettings {
    let sni = tls.sni.as_ref().and_then(|name| ServerName::try_from(name.to_string()).ok());
    let made = |verify| client_config(tls, verify, secrets).map(|config| configs(tls, protocol, config));
    TlsSettings {
        configs: made(false),
        verifying: verify_requested.then(|| made(true)),
        sni,
        host_sni: tls.host_sni,
    }
}

fn client_config(
    tls: &UpstreamTls,
    verify_requested: bool,
    secrets: Secrets<'_>,
) -> Result<ClientConfig, Arc<str>> {
    let validation = match (&tls.roots, secrets.roots.map(|secret| &secret.kind)) {
        (None, _) => None,
        (Some(_), Some(SecretKind::Validation(validation))) => Some(validation),
        (Some(_), Some(SecretKind::Certificate(_) | SecretKind::Generic(_))) => {
            return Err("the secret of the roots holds something else".into());
        }
        (Some(_), None) => return Err("the secret of the roots is not there".into()),
    };
    let key = match (&tls.certificate, secrets.certificate.map(|secret| &secret.kind)) {
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
    let verifier = Verifier::new(tls, validation, verify_requested, &provider)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions(tls))
        .map_err(|error| Arc::from(error.to_string()))?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match key {
        None => builder.with_no_client_auth(),
        Some(key) => {
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::clone(&key))))
        }
    };
    // Sessions are kept by name: one that was verified for a name is never resumed for another.
    config.resumption = Resumption::in_memory_sessions(256);
    Ok(config)
}

fn versions(tls: &UpstreamTls) -> Vec<&'static SupportedProtocolVersion> {
    let allowed = [(&TLS13, tls.allow_tls13), (&TLS12, tls.allow_tls12)];
    allowed.into_iter().filter(|(_, allowed)| *allowed).map(|(version, _)| version).collect()
}

fn configs(tls: &UpstreamTls, protocol: UpstreamProtocol, config: ClientConfig) -> Configs {
    let offering = |names: &[&str]| {
        let mut config = config.clone();
        config.alpn_protocols = match tls.alpn.is_empty() {
            true => names.iter().map(|name| name.as_bytes().to_vec()).collect(),
            false => tls.alpn.iter().map(|name| name.as_bytes().to_vec()).collect(),
        };
        Arc::new(config)
    };
    let http1: &[&str] = if protocol == UpstreamProtocol::Auto { &["h2", "http/1.1"] } else { &["http/1.1"] };
    Configs { http1: offering(http1), http2: offering(&["h2"]), raw: offering(&[]) }
}
