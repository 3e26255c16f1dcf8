// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Calls to the relay's HTTPS port: certificate issuance and plugins. One connection for each call, they are rare.

use crate::RelayError;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// As much of a refusal as is repeated in an error.
const REFUSAL_CHARACTERS: usize = 500;

/// Where the relay's HTTPS port is and how it proves itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayOptions {
    /// `host:port`.
    pub address: String,
    /// The name in its certificate.
    pub server_name: String,
    /// Roots that its certificate must come from; read anew for each call, so that they can be rotated.
    pub trust_bundle: PathBuf,
}

/// A client of the relay's HTTPS port.
#[derive(Clone, Debug)]
pub struct RelayClient {
    options: RelayOptions,
}

impl RelayClient {
    /// A client; nothing is read or connected yet.
    #[must_use]
    pub fn new(options: RelayOptions) -> Self {
        Self { options }
    }

    /// Reads `path`; the answer may have at most `limit` bytes.
    ///
    /// # Errors
    /// Where the relay cannot be reached or verified, refuses, or is slower than `timeout`.
    pub async fn get(&self, path: &str, limit: usize, timeout: Duration) -> Result<Bytes, RelayError> {
        self.call(Method::GET, path, Bytes::new(), limit, timeout).await
    }

    /// Posts a JSON body to `path`; limits and errors as in [`Self::get`].
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn post_json(
        &self,
        path: &str,
        body: Bytes,
        limit: usize,
        timeout: Duration,
    ) -> Result<Bytes, RelayError> {
        self.call(Method::POST, path, body, limit, timeout).await
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        limit: usize,
        timeout: Duration,
    ) -> Result<Bytes, RelayError> {
        let request = Request::builder().method(method).uri(path).header(HOST, &self.options.server_name);
        let request =
            if body.is_empty() { request } else { request.header(CONTENT_TYPE, "application/json") };
        let request = request.body(Full::new(body)).map_err(RelayError::Request)?;
        let exchange = self.exchange(request, limit);
        tokio::time::timeout(timeout, exchange).await.map_err(|_| RelayError::Timeout(timeout))?
    }

    async fn exchange(&self, request: Request<Full<Bytes>>, limit: usize) -> Result<Bytes, RelayError> {
        let address = &self.options.address;
        let connect = |source| RelayError::Connect { address: address.clone(), source };
        let name = self.options.server_name.clone();
        let name = ServerName::try_from(name.clone()).map_err(|error| RelayError::ServerName(name, error))?;
        let connector = TlsConnector::from(Arc::new(self.tls().await?));
        let stream = TcpStream::connect(address.as_str()).await.map_err(connect)?;
        let stream = connector.connect(name, stream).await.map_err(connect)?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(RelayError::Http)?;
        let driver = tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(RelayError::Http)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), limit).collect().await;
        driver.abort();
        let body = body.map_err(|source| RelayError::Body { limit, source })?.to_bytes();
        if !status.is_success() {
            let message = String::from_utf8_lossy(&body).trim().chars().take(REFUSAL_CHARACTERS).collect();
            return Err(RelayError::Refused { status, message });
        }
        Ok(body)
    }

    async fn tls(&self) -> Result<ClientConfig, RelayError> {
        let roots = roots(&self.options.trust_bundle).await?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        Ok(builder.map_err(RelayError::Tls)?.with_root_certificates(roots).with_no_client_auth())
    }
}

async fn roots(path: &Path) -> Result<RootCertStore, RelayError> {
    let unusable = |source| RelayError::TrustBundle { path: path.to_owned(), source };
    let text = tokio::fs::read(path).await.map_err(|error| unusable(error.into()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| unusable(error.into()))?;
        roots.add(certificate).map_err(|error| unusable(error.into()))?;
    }
    if roots.is_empty() {
        return Err(unusable("no certificate in it".into()));
    }
    Ok(roots)
}
