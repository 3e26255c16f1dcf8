// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The workload certificate, from a real TLS issuer; and a stream that moves on when it is renewed.

use crate::authority::{Authority, Fault, SPIFFE, TOKEN, serial, serve_issuer};
use crate::consumer::Recorder;
use crate::server::{AdsServer, within};
use crate::streams::node;
use gateway_xds_api::ResourceType::Cluster;
use gateway_xds_client::{
    Client, ClientOptions, IdentityError, IdentityOptions, Protocol, RelayOptions, Security, Subscriptions,
    WorkloadIdentity,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

const HOUR: Duration = Duration::from_secs(3600);
const RELAY: &str = "gatefleet-relay";

async fn options(authority: &Arc<Authority>, files: &TempDir) -> IdentityOptions {
    let address = serve_issuer(authority.clone(), RELAY).await;
    std::fs::write(files.path().join("ca.crt"), &authority.root).unwrap();
    std::fs::write(files.path().join("token"), format!("{TOKEN}\n")).unwrap();
    IdentityOptions {
        node_id: "c/gateways/edge-1".into(),
        issuer: RelayOptions {
            address: address.to_string(),
            server_name: RELAY.into(),
            trust_bundle: files.path().join("ca.crt"),
        },
        token_file: files.path().join("token"),
    }
}

#[tokio::test]
async fn a_certificate_is_issued_and_fits_its_key() {
    let (files, authority) = (TempDir::new().unwrap(), Authority::new(HOUR, Fault::None));
    let certificate = WorkloadIdentity::new(options(&authority, &files).await).issue().await.unwrap();
    assert_eq!(certificate.identity(), SPIFFE);
    let leaf = CertificateDer::from_pem_slice(certificate.chain().as_bytes()).unwrap();
    assert_eq!(certificate.serial(), serial(&leaf));
    let left = certificate.not_after().duration_since(SystemTime::now()).unwrap();
    assert!(left > HOUR - Duration::from_secs(60) && left <= HOUR, "{left:?}");
    let renewal = certificate.after_share(0.8).duration_since(SystemTime::now()).unwrap();
    assert!(renewal > Duration::from_secs(2800) && renewal < Duration::from_secs(2900), "{renewal:?}");
    let shown = format!("{certificate:?}");
    assert!(!shown.contains("PRIVATE") && !shown.contains(certificate.key()), "{shown}");
}

fn full(error: &IdentityError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[tokio::test]
async fn wrong_answers_are_refused_by_reason() {
    for (fault, reason) in [
        (Fault::OtherName, "its common name is not this node"),
        (Fault::OtherKey, "it is for another key"),
        (Fault::Garbage, "it is no pem certificate"),
        (Fault::Huge, "larger than 262144 bytes"),
    ] {
        let (files, authority) = (TempDir::new().unwrap(), Authority::new(HOUR, fault));
        let refused = WorkloadIdentity::new(options(&authority, &files).await).issue().await.unwrap_err();
        assert!(full(&refused).contains(reason), "{fault:?}: {}", full(&refused));
    }
}

#[tokio::test]
async fn an_unverified_issuer_gets_no_token_and_a_bad_token_no_certificate() {
    let (files, authority) = (TempDir::new().unwrap(), Authority::new(HOUR, Fault::None));
    let good = options(&authority, &files).await;

    let stranger = Authority::new(HOUR, Fault::None);
    std::fs::write(files.path().join("other.crt"), &stranger.root).unwrap();
    let mut other_root = good.clone();
    other_root.issuer.trust_bundle = files.path().join("other.crt");
    let mut other_name = good.clone();
    other_name.issuer.server_name = "another-relay".into();
    for (options, reason) in
        [(other_root, "invalid peer certificate: BadSignature"), (other_name, "not valid for name")]
    {
        let refused = full(&WorkloadIdentity::new(options).issue().await.unwrap_err());
        assert!(refused.contains("cannot connect to relay") && refused.contains(reason), "{refused}");
    }

    // The files are read anew for each attempt.
    let identity = WorkloadIdentity::new(good);
    std::fs::write(files.path().join("token"), "stale").unwrap();
    let refused = full(&identity.issue().await.unwrap_err());
    assert!(refused.contains("401") && refused.contains("token is not valid"), "{refused}");
    std::fs::write(files.path().join("token"), TOKEN).unwrap();
    identity.issue().await.unwrap();
}

#[tokio::test]
async fn the_stream_moves_to_a_renewed_certificate_before_the_old_one_is_left() {
    let (files, authority) = (TempDir::new().unwrap(), Authority::new(Duration::from_secs(6), Fault::None));
    let identity = WorkloadIdentity::new(options(&authority, &files).await);
    let (chain, key) = authority.server(RELAY);
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(chain, key))
        .client_ca_root(Certificate::from_pem(&authority.root));
    let mut server = AdsServer::start(Some(tls)).await;
    let security = Security::MutualTls {
        server_name: RELAY.into(),
        trust_bundle: files.path().join("ca.crt"),
        certificate: identity.watch(),
    };
    let options = ClientOptions {
        address: server.address.to_string(),
        node: node(),
        protocol: Protocol::Delta,
        security,
        ask_again: HOUR,
    };
    let (recorder, _updates) = Recorder::new();
    let client = Client::new(options, Subscriptions::new(&[Cluster]), recorder);
    let cancel = CancellationToken::new();
    tokio::spawn(identity.run(cancel.clone()));
    tokio::spawn(client.run(cancel.clone()));

    let mut first = server.accept().await;
    first.opening(1).await;
    first.send(Cluster, "1", &[("a", "1")], &[]).await;
    first.answer().await;
    first.request().await;
    // The first stream was not touched: the second comes by itself, with another certificate and what is held.
    let mut second = server.accept().await;
    assert!(
        first.serial.is_some() && second.serial != first.serial,
        "{:?} {:?}",
        first.serial,
        second.serial
    );
    let opening = second.opening(2).await;
    assert_eq!(opening[0].initial_resource_versions["a"], "1");
    within("the old stream to end", first.left()).await;
    second.send(Cluster, "2", &[("a", "2")], &[]).await;
    assert_eq!(second.answer().await.response_nonce, "2");
    cancel.cancel();
}
