// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Authorities from outside: what they sign, what survives storage, what they refuse.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

use jiff::{SignedDuration, Timestamp};
use operator_identity::{
    AuthorityPem, CLUSTER_AUTHORITY_LIFE, ClusterAuthority, FleetAuthority, FleetName, IdentityError, KeyPem,
    WORKLOAD_LIFE, WorkloadIdentity, certificates_from_pem, key_from_pem, peer_identity, validity_of,
};
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn identity() -> WorkloadIdentity {
    WorkloadIdentity {
        trust_domain: "fleet.test".into(),
        cluster: "one".into(),
        namespace: "gateways".into(),
        service_account: "edge".into(),
        fleet: FleetName { namespace: "gateways".into(), name: "edge".into() },
        pod: format!("edge-{}", "x".repeat(60)),
    }
}

/// A request that asks for more than it may have.
fn request() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["admin.example".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.serialize_request(&key).unwrap().pem().unwrap()
}

fn issue(cluster: &ClusterAuthority) -> Vec<CertificateDer<'static>> {
    certificates_from_pem(&cluster.issue(&request(), &identity(), now()).unwrap().chain_pem).unwrap()
}

#[test]
fn a_leaf_holds_what_was_attested_and_nothing_that_was_asked_for() {
    let fleet = FleetAuthority::create("fleet.test", now()).unwrap();
    let cluster = fleet.cluster_authority("one", now()).unwrap();
    let issued = cluster.issue(&request(), &identity(), now()).unwrap();
    assert_eq!(issued.not_after, now() + WORKLOAD_LIFE);
    let chain = certificates_from_pem(&issued.chain_pem).unwrap();
    let peer = peer_identity(&chain).unwrap();
    assert_eq!(peer.identity, identity());
    assert_eq!((peer.validity.not_before, peer.validity.not_after), (issued.not_before, issued.not_after));

    let (_, leaf) = X509Certificate::from_der(&chain[0]).unwrap();
    assert!(!leaf.is_ca());
    let names = leaf.subject_alternative_name().unwrap().unwrap().value.general_names.len();
    assert_eq!(names, 1, "the name that was asked for is not there");
    let (_, intermediate) = X509Certificate::from_der(&chain[1]).unwrap();
    let constraints = intermediate.basic_constraints().unwrap().unwrap().value;
    assert_eq!((constraints.ca, constraints.path_len_constraint), (true, Some(0)));
    let extended = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.client_auth && !extended.server_auth);
}

#[test]
fn authorities_survive_storage() {
    let fleet = FleetAuthority::create("fleet.test", now()).unwrap();
    let fleet = FleetAuthority::from_pem(fleet.pem().clone()).unwrap();
    assert_eq!(fleet.trust_domain(), "fleet.test");
    let cluster = fleet.cluster_authority("one", now()).unwrap();
    let stored = ClusterAuthority::from_pem(cluster.pem().clone()).unwrap();
    assert_eq!((stored.trust_domain(), stored.cluster()), ("fleet.test", "one"));
    assert_eq!(stored.validity(), cluster.validity());
    assert_eq!(stored.validity().not_after, now() + CLUSTER_AUTHORITY_LIFE);
    assert_eq!(peer_identity(&issue(&stored)).unwrap().identity, identity());
    assert!(!format!("{stored:?} {fleet:?}").contains("PRIVATE"));
    assert!(!format!("{:?}", stored.pem()).contains("PRIVATE"));

    let server = stored.server_certificate(&["relay.svc".to_owned(), "127.0.0.1".to_owned()], now()).unwrap();
    key_from_pem(&server.key).unwrap();
    let chain = certificates_from_pem(&server.chain_pem).unwrap();
    assert_eq!(validity_of(&chain[0]).unwrap().not_after, server.not_after);
    assert!(peer_identity(&chain).is_err(), "a server certificate is no workload");
}

#[test]
fn what_does_not_fit_is_refused() {
    let fleet = FleetAuthority::create("fleet.test", now()).unwrap();
    let one = fleet.cluster_authority("one", now()).unwrap();
    let two = fleet.cluster_authority("two", now()).unwrap();
    assert!(matches!(two.issue(&request(), &identity(), now()), Err(IdentityError::ForeignCluster { .. })));
    let chain = issue(&one);
    let other = certificates_from_pem(&two.pem().certificate).unwrap();
    let mixed = [chain[0].clone(), other[0].clone()];
    assert!(matches!(peer_identity(&mixed), Err(IdentityError::Disagree(_))));
    assert!(matches!(peer_identity(&chain[..1]), Err(IdentityError::ChainLength(1))));
    let three = [chain[0].clone(), chain[1].clone(), other[0].clone()];
    assert!(matches!(peer_identity(&three), Err(IdentityError::ChainLength(3))));

    for csr in ["", "no", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"] {
        assert!(matches!(one.issue(csr, &identity(), now()), Err(IdentityError::Request(_))), "{csr:?}");
    }
    assert!(matches!(
        one.issue(&"x".repeat(20_000), &identity(), now()),
        Err(IdentityError::RequestSize { .. })
    ));
    assert!(FleetAuthority::create("a/b", now()).is_err());
    assert!(fleet.cluster_authority("../two", now()).is_err());
    assert!(one.server_certificate(&[], now()).is_err());
    assert!(one.server_certificate(&["a b".to_owned()], now()).is_err());
    let garbage = AuthorityPem { certificate: "no".into(), key: KeyPem::new("no".into()) };
    assert!(
        FleetAuthority::from_pem(garbage.clone()).is_err() && ClusterAuthority::from_pem(garbage).is_err()
    );
}

#[test]
fn a_leaf_never_outlives_its_intermediate() {
    let fleet = FleetAuthority::create("fleet.test", now()).unwrap();
    let cluster = fleet.cluster_authority("one", now()).unwrap();
    let late = cluster.validity().not_after - SignedDuration::from_hours(1);
    let issued = cluster.issue(&request(), &identity(), late).unwrap();
    assert_eq!(issued.not_after, cluster.validity().not_after);
    let past = cluster.validity().not_after + SignedDuration::from_secs(1);
    assert!(matches!(cluster.issue(&request(), &identity(), past), Err(IdentityError::Expired(_))));
}
