// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! TLS 1.3 handshakes with X25519 in a closed loop: full ones, or resumptions of a session by its ticket.

use crate::report::Report;
use anyhow::{Context, bail, ensure};
use rustls::client::{ClientSessionMemoryCache, Resumption};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

/// Runs the load and prints its report.
pub(crate) async fn run(
    to: SocketAddr,
    roots: &Path,
    connections: usize,
    seconds: Duration,
    resume: bool,
) -> anyhow::Result<()> {
    // Each loop has tickets of its own: one is spent and one comes with each handshake. The first is a full one in any case.
    let mut connectors = Vec::new();
    for _ in 0..connections {
        let connector = TlsConnector::from(Arc::new(config(roots, resume)?));
        one(&connector, to, false).await.context("the first handshake")?;
        connectors.push(connector);
    }
    let report = Rc::new(RefCell::new(Report::default()));
    let begun = Instant::now();
    let end = begun + seconds;
    let tasks = connectors.into_iter().map(|connector| {
        let report = Rc::clone(&report);
        async move {
            while Instant::now() < end {
                let start = Instant::now();
                match one(&connector, to, resume).await {
                    Ok(()) => report.borrow_mut().add(start.elapsed()),
                    Err(_) => report.borrow_mut().fail(),
                }
            }
        }
    });
    futures::future::join_all(tasks).await;
    report.take().print(begun.elapsed())
}

fn config(roots: &Path, resume: bool) -> anyhow::Result<ClientConfig> {
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(roots)? {
        store.add(certificate?)?;
    }
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    // The same group with every peer.
    provider.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::X25519];
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = if resume {
        Resumption::store(Arc::new(ClientSessionMemoryCache::new(1024)))
    } else {
        Resumption::disabled()
    };
    Ok(config)
}

async fn one(connector: &TlsConnector, to: SocketAddr, resumed: bool) -> anyhow::Result<()> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let mut stream = connector.connect(ServerName::try_from("localhost")?, stream).await?;
    let kind = stream.get_ref().1.handshake_kind();
    if resumed && kind != Some(HandshakeKind::Resumed) {
        bail!("not resumed: {kind:?}");
    }
    stream.write_all(REQUEST).await?;
    let mut answer = Vec::with_capacity(4096);
    // A peer that closes without a notice of it has answered all the same.
    drop(stream.read_to_end(&mut answer).await);
    ensure!(answer.starts_with(b"HTTP/1.1 200"), "no answer");
    Ok(())
}
