// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A certificate authority with short lives, and the issuer's HTTPS port.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, IsCa, Issuer, KeyPair,
    SanType,
};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer, X509Certificate};

pub const TOKEN: &str = "token-of-the-service-account";
pub const SPIFFE: &str = "spiffe://fleet.example/cluster/c/ns/gateways/sa/edge/fleet/gateways.edge";

/// What the issuer does wrong, if anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    OtherName,
    OtherKey,
    Garbage,
    Huge,
}

pub struct Authority {
    pub root: String,
    issuer: Issuer<'static, KeyPair>,
    pub life: Duration,
    pub fault: Fault,
    /// Modules by digest, for `/v1/plugins/<sha256>`.
    pub plugins: Mutex<HashMap<String, Bytes>>,
}

impl Authority {
    pub fn new(life: Duration, fault: Fault) -> Arc<Self> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "root of the test");
        let root = params.self_signed(&key).unwrap().pem();
        Arc::new(Self { root, issuer: Issuer::new(params, key), life, fault, plugins: Mutex::default() })
    }

    /// Chain and key of a server, in PEM.
    pub fn server(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn sign(&self, csr: &str) -> String {
        let mut request = CertificateSigningRequestParams::from_pem(csr).unwrap();
        request.params.not_before = SystemTime::now().into();
        request.params.not_after = (SystemTime::now() + self.life).into();
        request.params.subject_alt_names = vec![SanType::URI(SPIFFE.try_into().unwrap())];
        match self.fault {
            Fault::OtherKey => {
                let name = request.params.distinguished_name.clone();
                let mut params = CertificateParams::default();
                params.distinguished_name = name;
                params.signed_by(&KeyPair::generate().unwrap(), &self.issuer).unwrap().pem()
            }
            Fault::OtherName => {
                request.params.distinguished_name.push(DnType::CommonName, "c/gateways/someone-else");
                request.signed_by(&self.issuer).unwrap().pem()
            }
            _ => request.signed_by(&self.issuer).unwrap().pem(),
        }
    }

    fn answer(&self, path: &str, body: &[u8]) -> (StatusCode, Bytes) {
        if let Some(digest) = path.strip_prefix("/v1/plugins/") {
            let module = self.plugins.lock().get(digest).cloned();
            return module.map_or((StatusCode::NOT_FOUND, Bytes::from_static(b"no such plugin")), |m| {
                (StatusCode::OK, m)
            });
        }
        if path != "/v1/certificate" {
            return (StatusCode::NOT_FOUND, Bytes::from_static(b"no such path"));
        }
        let request: serde_json::Value = serde_json::from_slice(body).unwrap();
        if request["token"] != TOKEN {
            return (StatusCode::UNAUTHORIZED, Bytes::from_static(b"token is not valid"));
        }
        let chain = match self.fault {
            Fault::Garbage => "no certificate".to_owned(),
            Fault::Huge => "x".repeat(1024 * 1024),
            _ => self.sign(request["csr"].as_str().unwrap()),
        };
        let body = serde_json::json!({"chain": chain, "notAfter": "2030-01-01T00:00:00Z"});
        (StatusCode::OK, Bytes::from(body.to_string()))
    }
}

/// Serves issuance under the given server name.
pub async fn serve_issuer(authority: Arc<Authority>, name: &str) -> SocketAddr {
    let (chain, key) = authority.server(name);
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, authority) = (acceptor.clone(), authority.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                    let authority = authority.clone();
                    async move {
                        let path = request.uri().path().to_owned();
                        let body = request.into_body().collect().await.unwrap().to_bytes();
                        let (status, body) = authority.answer(&path, &body);
                        let response = Response::builder().status(status).body(Full::new(body)).unwrap();
                        Ok::<_, Infallible>(response)
                    }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    address
}

/// Serial number of a certificate, as text.
pub fn serial(certificate: &[u8]) -> String {
    X509Certificate::from_der(certificate).unwrap().1.raw_serial_as_string()
}
