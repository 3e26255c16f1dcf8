// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The relay's authority as a gateway needs it: roots, the server's certificate, and issuance over HTTPS.

use anyhow::Context;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, IsCa, Issuer, KeyPair,
    SanType,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// The gateway's identity; its bootstrap names the same.
const SPIFFE: &str = "spiffe://fleet.example/cluster/c/ns/gateways/sa/edge/fleet/gateways.edge";

/// A certificate authority of this run.
pub(crate) struct Authority {
    /// Its certificate, PEM.
    pub(crate) root: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> anyhow::Result<Arc<Self>> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "root of the benchmark");
        let root = params.self_signed(&key)?.pem();
        Ok(Arc::new(Self { root, issuer: Issuer::new(params, key) }))
    }

    /// Chain and key of a server, PEM.
    pub(crate) fn server(&self, name: &str) -> anyhow::Result<(String, String)> {
        let key = KeyPair::generate()?;
        let params = CertificateParams::new(vec![name.to_owned()])?;
        Ok((params.signed_by(&key, &self.issuer)?.pem(), key.serialize_pem()))
    }

    fn sign(&self, csr: &str) -> anyhow::Result<String> {
        let mut request = CertificateSigningRequestParams::from_pem(csr)?;
        request.params.subject_alt_names = vec![SanType::URI(SPIFFE.try_into()?)];
        request.params.not_before = rcgen::date_time_ymd(2024, 1, 1);
        request.params.not_after = rcgen::date_time_ymd(2099, 1, 1);
        Ok(request.signed_by(&self.issuer)?.pem())
    }

    /// Serves issuance under a server's name.
    pub(crate) async fn serve(self: Arc<Self>, name: &str) -> anyhow::Result<SocketAddr> {
        let (chain, key) = self.server(name)?;
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
        let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, authority) = (acceptor.clone(), Arc::clone(&self));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request| answer(Arc::clone(&authority), request));
                    let http = hyper::server::conn::http1::Builder::new();
                    drop(http.serve_connection(TokioIo::new(stream), service).await);
                });
            }
        });
        Ok(address)
    }
}

async fn answer(
    authority: Arc<Authority>,
    request: Request<Incoming>,
) -> anyhow::Result<Response<Full<Bytes>>> {
    let body = request.into_body().collect().await?.to_bytes();
    let request: Value = serde_json::from_slice(&body)?;
    let csr = request.get("csr").and_then(Value::as_str).context("no csr")?;
    let chain = authority.sign(csr)?;
    let body = serde_json::json!({"chain": chain, "notAfter": "2099-01-01T00:00:00Z"});
    Ok(Response::new(Full::new(body.to_string().into())))
}
