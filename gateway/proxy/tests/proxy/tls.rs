// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! TLS: server names, protocols, certificates that change under load.

use crate::client::Client;
use crate::config::{Certificate, Resources, cluster, host, http, listener, route, tls_chain, to};
use crate::gateway::{Gateway, options};
use crate::origin::Origin;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub(crate) fn trusting(certificates: &[&Certificate], alpn: &[&str]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    certificates.iter().for_each(|certificate| roots.add(certificate.der.clone()).unwrap());
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Arc::new(config)
}

pub(crate) async fn connect(
    gateway: &Gateway,
    name: &str,
    config: &Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(gateway.address).await?;
    TlsConnector::from(Arc::clone(config))
        .connect(ServerName::try_from(name.to_owned()).unwrap(), stream)
        .await
}

pub(crate) async fn serving(certificates: &[(&str, &Certificate)], origin: &Origin) -> Gateway {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut resources = Resources::default();
    resources.clusters([cluster("one", &[origin.address])]);
    let settings = http(vec![host(vec![route("/", to("one"))])]);
    let chains = certificates.iter().map(|(name, certificate)| {
        resources.certificate(name, certificate);
        tls_chain(&settings, &[name], name)
    });
    let listener = listener(chains.collect());
    Gateway::start(options(), resources, &listener).await
}

#[tokio::test]
async fn the_server_name_chooses_the_certificate_and_alpn_the_protocol() {
    let origin = Origin::echo().await;
    let (a, wild) = (Certificate::new(&["a.example"]), Certificate::new(&["*.b.example"]));
    let gateway = serving(&[("a.example", &a), ("*.b.example", &wild)], &origin).await;
    for (name, certificate) in [("a.example", &a), ("x.b.example", &wild)] {
        for (alpn, http2) in [(&["h2", "http/1.1"][..], true), (&["http/1.1"], false), (&[], false)] {
            let stream = connect(&gateway, name, &trusting(&[certificate], alpn)).await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol() == Some(b"h2"), http2, "{name} {alpn:?}");
            let mut client =
                if http2 { Client::http2_over(stream).await } else { Client::http1_over(stream).await };
            let answer = client.get("/").await;
            assert_eq!(answer.lines("x-forwarded-proto"), ["x-forwarded-proto: https"], "{name} {alpn:?}");
        }
    }
    assert_eq!(gateway.metric("envoy_listener_ssl_handshake", ""), 6);
}

#[tokio::test]
async fn an_unknown_server_name_is_closed_without_an_alert() {
    let origin = Origin::echo().await;
    let a = Certificate::new(&["a.example"]);
    let gateway = serving(&[("a.example", &a)], &origin).await;
    let error = connect(&gateway, "b.example", &trusting(&[&a], &[])).await.unwrap_err();
    assert!(
        matches!(error.kind(), std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset),
        "{error:?}"
    );
    let (answer, closed) = crate::client::raw(gateway.address, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(!answer.contains("HTTP") && closed, "{answer:?}");
    assert_eq!(gateway.metric("envoy_listener_no_filter_chain_match", ""), 1);
    assert_eq!(gateway.metric("envoy_listener_ssl_connection_error", ""), 1);
}

#[tokio::test]
async fn certificates_change_without_a_failed_handshake() {
    let origin = Origin::named("one").await;
    let made: Vec<Certificate> = (0..10).map(|_| Certificate::new(&["a.example"])).collect();
    let mut gateway = serving(&[("a.example", &made[0])], &origin).await;
    let config = trusting(&made.iter().collect::<Vec<_>>(), &["http/1.1"]);
    let mut old = Client::http1_over(connect(&gateway, "a.example", &config).await.unwrap()).await;
    let (stop, handshakes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (stop, handshakes, config, address) =
                (Arc::clone(&stop), Arc::clone(&handshakes), Arc::clone(&config), gateway.address);
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let stream = TcpStream::connect(address).await.unwrap();
                    let name = ServerName::try_from("a.example").unwrap();
                    let stream = TlsConnector::from(Arc::clone(&config)).connect(name, stream).await.unwrap();
                    assert_eq!(Client::http1_over(stream).await.get("/").await.body, "one");
                    handshakes.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for certificate in made.iter().skip(1).chain(&made) {
        let snapshot = gateway.resources.certificate("a.example", certificate);
        gateway.proxy.install(snapshot).await.unwrap();
        // The very next handshake has the new one, on whichever worker; a session of before would hide it.
        let fresh = trusting(&[certificate], &["http/1.1"]);
        for _ in 0..4 {
            let stream = connect(&gateway, "a.example", &fresh).await.unwrap();
            assert_eq!(stream.get_ref().1.peer_certificates().unwrap()[0], certificate.der);
        }
    }
    stop.store(true, Ordering::Relaxed);
    for task in load {
        task.await.unwrap();
    }
    assert!(handshakes.load(Ordering::Relaxed) > 20, "{handshakes:?}");
    assert_eq!(old.get("/").await.body, "one");
    assert_eq!(gateway.metric("envoy_listener_ssl_connection_error", ""), 0);
}

#[tokio::test]
async fn sessions_resume_also_after_a_change_of_certificates() {
    let origin = Origin::named("one").await;
    let (first, second) = (Certificate::new(&["a.example"]), Certificate::new(&["a.example"]));
    let mut gateway = serving(&[("a.example", &first)], &origin).await;
    let config = trusting(&[&first, &second], &["http/1.1"]);
    for certificate in [&first, &second] {
        let snapshot = gateway.resources.certificate("a.example", certificate);
        gateway.proxy.install(snapshot).await.unwrap();
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let mut stream = connect(&gateway, "a.example", &config).await.unwrap();
            stream
                .write_all(b"GET / HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n")
                .await
                .unwrap();
            let mut answer = Vec::new();
            let _ =
                tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await.unwrap();
            assert!(answer.starts_with(b"HTTP/1.1 200"));
            kinds.push(stream.get_ref().1.handshake_kind().unwrap());
        }
        assert_eq!(kinds[1], rustls::HandshakeKind::Resumed, "{kinds:?}");
    }
}
