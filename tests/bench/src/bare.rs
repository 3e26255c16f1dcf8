// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A bare reverse proxy: hyper, rustls and one thread, and nothing else. What a gateway adds shows beside it.

use anyhow::Context;
use clap::Args;
use http::uri::Authority;
use http::{Request, Response, Uri, Version, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Addresses of the proxy.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Plain HTTP.
    plain: SocketAddr,
    /// HTTP over TLS.
    tls: SocketAddr,
    /// The upstream.
    upstream: SocketAddr,
    /// Certificate, PEM.
    certificate: PathBuf,
    /// Its key, PEM.
    key: PathBuf,
    /// The upstream speaks HTTP/2.
    #[arg(long)]
    http2: bool,
}

#[derive(Clone, Debug)]
struct Upstream {
    client: Client<HttpConnector, Incoming>,
    authority: Authority,
    http2: bool,
}

/// Serves until killed.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let mut client = Client::builder(TokioExecutor::new());
    client.pool_max_idle_per_host(512).http2_only(options.http2);
    let upstream = Upstream {
        client: client.build(connector),
        authority: options.upstream.to_string().parse()?,
        http2: options.http2,
    };
    let certificates = CertificateDer::pem_file_iter(&options.certificate)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(&options.key).context("no key")?;
    let mut tls =
        rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(certificates, key)?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    tls.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    let tls = TlsAcceptor::from(Arc::new(tls));
    let plain = TcpListener::bind(options.plain).await?;
    let secure = TcpListener::bind(options.tls).await?;
    let other = upstream.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = secure.accept().await {
            drop(stream.set_nodelay(true));
            let (tls, upstream) = (tls.clone(), other.clone());
            tokio::spawn(async move {
                if let Ok(stream) = tls.accept(stream).await {
                    serve(stream, upstream).await;
                }
            });
        }
    });
    loop {
        let (stream, _) = plain.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(serve(stream, upstream.clone()));
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, upstream: Upstream) {
    let service = service_fn(move |request| forward(upstream.clone(), request));
    // A client that leaves is no failure of the proxy.
    drop(
        Builder::new(TokioExecutor::new())
            .serve_connection_with_upgrades(TokioIo::new(stream), service)
            .await,
    );
}

async fn forward(upstream: Upstream, mut request: Request<Incoming>) -> Result<Response<Incoming>, Error> {
    let offered = request.headers().contains_key(header::UPGRADE);
    let downstream = offered.then(|| hyper::upgrade::on(&mut request));
    let mut uri = Uri::builder().scheme("http").authority(upstream.authority);
    if let Some(path) = request.uri().path_and_query() {
        uri = uri.path_and_query(path.clone());
    }
    if let Ok(uri) = uri.build() {
        *request.uri_mut() = uri;
    }
    *request.version_mut() = if upstream.http2 { Version::HTTP_2 } else { Version::HTTP_11 };
    if !offered {
        request.headers_mut().remove(header::CONNECTION);
    }
    let mut response = upstream.client.request(request).await?;
    match downstream {
        Some(downstream) if response.status() == http::StatusCode::SWITCHING_PROTOCOLS => {
            let other = hyper::upgrade::on(&mut response);
            tokio::spawn(async move {
                if let (Ok(one), Ok(two)) = tokio::join!(downstream, other) {
                    let (mut one, mut two) = (TokioIo::new(one), TokioIo::new(two));
                    drop(tokio::io::copy_bidirectional(&mut one, &mut two).await);
                }
            });
        }
        _ => drop(response.headers_mut().remove(header::CONNECTION)),
    }
    Ok(response)
}
