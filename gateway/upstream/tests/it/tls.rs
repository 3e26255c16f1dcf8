// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! TLS towards endpoints: protocols, trust, names, missing secrets.

use crate::{Worker, cluster, endpoints, get, run, server};
use gateway_config::UpstreamProtocol::{self, Auto, Http1};
use gateway_config::{
    Cluster, SanKind, SanMatcher, SecretSource, StringMatcher, StringPattern, UpstreamSocket, UpstreamTls,
};
use gateway_upstream::SendErrorKind;
use http::Version;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::sync::Arc;

/// A certificate authority.
pub(crate) struct Authority(pub(crate) CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn server(&self, name: &str, alpn: &[&str]) -> rustls::ServerConfig {
        self.server_of(rustls::DEFAULT_VERSIONS, name, alpn)
    }

    fn server_of(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
        name: &str,
        alpn: &[&str],
    ) -> rustls::ServerConfig {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = rustls::ServerConfig::builder_with_protocol_versions(versions)
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }

    pub(crate) fn roots(&self) -> SecretSource {
        SecretSource::Inline(Arc::new(
            gateway_config::Secret::from_roots_pem("roots", &self.0.pem()).unwrap(),
        ))
    }
}

pub(crate) fn encrypted(
    protocol: UpstreamProtocol,
    roots: Option<SecretSource>,
    name: Option<&str>,
) -> Cluster {
    let names = name.into_iter().map(|name| SanMatcher {
        kind: SanKind::Dns,
        matcher: StringMatcher { pattern: StringPattern::Exact(name.as_bytes().into()), ignore_case: false },
    });
    let sni = Some("backend.example".into());
    let tls = UpstreamTls {
        sni,
        host_sni: false,
        verify_sni: false,
        alpn: Box::default(),
        roots,
        names: names.collect(),
        allow_tls12: true,
        allow_tls13: true,
        certificate: None,
    };
    Cluster { socket: UpstreamSocket::of_tls(Some(tls)), ..cluster(protocol) }
}

#[test]
fn alpn_chooses_the_protocol() {
    run(async {
        let authority = Authority::new();
        for (offered, http2, version) in
            [("h2", true, Version::HTTP_2), ("http/1.1", false, Version::HTTP_11)]
        {
            let server = server::start_tls(http2, authority.server("backend.example", &[offered])).await;
            let worker = Worker::new(
                encrypted(Auto, Some(authority.roots()), Some("backend.example")),
                endpoints(&[server.address]),
            );
            for _ in 0..3 {
                let response = worker.send(get("/")).await.unwrap();
                assert_eq!(response.version(), version);
                crate::body_text(response).await;
            }
            assert_eq!(server.connections(), 1);
        }
    });
}

#[test]
fn trust_and_names_are_checked() {
    run(async {
        let (authority, other) = (Authority::new(), Authority::new());
        for (certificate, roots, name, accepted) in [
            ("backend.example", Some(authority.roots()), Some("backend.example"), true),
            ("*.example", Some(authority.roots()), Some("backend.example"), true),
            ("*.example", Some(authority.roots()), Some("a.b.example"), false),
            ("backend.example", Some(authority.roots()), Some("other.example"), false),
            ("backend.example", Some(authority.roots()), None, true),
            ("backend.example", Some(other.roots()), Some("backend.example"), false),
            ("backend.example", None, None, true),
        ] {
            let server = server::start_tls(false, authority.server(certificate, &[])).await;
            let worker = Worker::new(encrypted(Http1, roots, name), endpoints(&[server.address]));
            let result = worker.send(get("/")).await;
            assert_eq!(result.is_ok(), accepted, "certificate for {certificate}, name {name:?}: {result:?}");
            if let Err(error) = result {
                assert_eq!((error.kind, error.sent), (SendErrorKind::Connect, false));
            }
        }
    });
}

#[test]
fn a_missing_secret_fails_closed_and_its_arrival_heals() {
    run(async {
        let authority = Authority::new();
        let server = server::start_tls(false, authority.server("backend.example", &[])).await;
        let named = Some(SecretSource::Named("roots".into()));
        let worker =
            Worker::new(encrypted(Http1, named, Some("backend.example")), endpoints(&[server.address]));
        let error = worker.send(get("/")).await.unwrap_err();
        assert_eq!(error.kind, SendErrorKind::Connect);
        assert!(std::error::Error::source(&error).unwrap().to_string().contains("roots"), "{error:?}");
        let SecretSource::Inline(secret) = authority.roots() else { unreachable!() };
        worker.snapshot.borrow_mut().secrets.insert("roots", secret);
        assert_eq!(worker.text("/").await, server.address.to_string());
    });
}

#[test]
fn the_endpoints_own_name_is_asked_for_where_settings_say_so() {
    run(async {
        let authority = Authority::new();
        let asked = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let mut config = authority.server("backend.example", &[]);
        config.cert_resolver =
            Arc::new(Recorder { inner: Arc::clone(&config.cert_resolver), asked: Arc::clone(&asked) });
        let server = server::start_tls(false, config).await;
        for host_sni in [false, true] {
            let mut settings = encrypted(Http1, Some(authority.roots()), None);
            settings.socket.tls.as_mut().unwrap().host_sni = host_sni;
            let mut endpoint = crate::endpoint(server.address);
            endpoint.hostname = Some("own.example".into());
            let worker = Worker::new(settings, crate::by_priority([vec![endpoint]]));
            worker.text("/").await;
        }
        assert_eq!(*asked.lock(), ["backend.example", "own.example"]);
    });
}

/// Notes the names that are asked for.
#[derive(Debug)]
pub(crate) struct Recorder {
    pub(crate) inner: Arc<dyn rustls::server::ResolvesServerCert>,
    pub(crate) asked: Arc<parking_lot::Mutex<Vec<String>>>,
}

impl rustls::server::ResolvesServerCert for Recorder {
    fn resolve(&self, hello: rustls::server::ClientHello<'_>) -> Option<Arc<rustls::sign::CertifiedKey>> {
        self.asked.lock().push(hello.server_name().unwrap_or_default().to_owned());
        self.inner.resolve(hello)
    }
}

#[test]
fn only_allowed_versions_are_spoken() {
    use rustls::version::{TLS12, TLS13};
    run(async {
        let authority = Authority::new();
        for (served, tls12, tls13, speaks) in [
            (&TLS12, true, false, true),
            (&TLS13, true, false, false),
            (&TLS12, false, true, false),
            (&TLS13, false, true, true),
            (&TLS12, true, true, true),
        ] {
            let tls = authority.server_of(&[served], "c.example", &["http/1.1"]);
            let server = server::start_tls(false, tls).await;
            let mut settings = encrypted(Http1, Some(authority.roots()), None);
            let tls = settings.socket.tls.as_mut().unwrap();
            (tls.allow_tls12, tls.allow_tls13) = (tls12, tls13);
            let worker = Worker::new(settings, endpoints(&[server.address]));
            let answered = worker.send(get("/")).await.is_ok();
            assert_eq!(answered, speaks, "{:?} with {tls12} {tls13}", served.version);
        }
    });
}
