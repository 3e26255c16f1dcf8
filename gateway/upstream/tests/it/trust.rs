// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Whom TLS trusts beyond roots and names: names of requests and handshakes, fingerprints, revocation lists, the system's roots.

use crate::tls::{Authority, Recorder, encrypted};
use crate::{Worker, body_text, endpoints, get, run, server};
use gateway_config::UpstreamProtocol::{Downstream, Http1};
use gateway_config::{
    Cluster, ConfigStore, RequestNames, Secret, SecretKind, SecretSource, Update, UpstreamSocket,
};
use gateway_upstream::SendErrorKind;
use gateway_xds_api::ResourceType;
use gateway_xds_api::pb::envoy::config::core::v3::{DataSource, data_source::Specifier};
use gateway_xds_api::pb::envoy::extensions::transport_sockets::tls::v3 as pb;
use http::{Request, Version};
use rcgen::{
    CertificateParams, CertificateRevocationListParams, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};
use std::sync::Arc;

fn for_host(host: &str) -> Request<crate::RequestBody> {
    Request::get("/").header("host", host).body(Default::default()).unwrap()
}

#[test]
fn the_requests_own_name_is_asked_for() {
    run(async {
        let authority = Authority::new();
        let asked = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let mut config = authority.server("*.backend.example", &[]);
        config.cert_resolver =
            Arc::new(Recorder { inner: Arc::clone(&config.cert_resolver), asked: Arc::clone(&asked) });
        let server = server::start_tls(false, config).await;
        let mut settings = encrypted(Http1, Some(authority.roots()), None);
        settings.request_names = Some(RequestNames { header: None, verify: true });
        let worker = Worker::new(settings.clone(), endpoints(&[server.address]));
        for _ in 0..2 {
            for host in ["a.backend.example", "B.backend.example:8443"] {
                body_text(worker.send(for_host(host)).await.unwrap()).await;
            }
        }
        assert_eq!(*asked.lock(), ["a.backend.example", "b.backend.example"], "one connection for each name");
        for host in ["a.b.backend.example", "other.test", "127.0.0.1", "a_b.test"] {
            let error = worker.send(for_host(host)).await.unwrap_err();
            assert_eq!(error.kind, SendErrorKind::Connect, "{host}");
        }
        // Without the check any name that the roots vouch for will do.
        settings.request_names =
            Some(RequestNames { header: Some("x-name".parse().unwrap()), verify: false });
        let worker = Worker::new(settings, endpoints(&[server.address]));
        let mut request = for_host("other.test");
        body_text(worker.send(request.clone()).await.unwrap()).await;
        request.headers_mut().insert("x-name", "named.test".parse().unwrap());
        body_text(worker.send(request).await.unwrap()).await;
        let asked = asked.lock();
        assert_eq!(asked[asked.len() - 2..], ["other.test", "named.test"]);
    });
}

#[test]
fn the_certificate_is_for_the_name_that_was_sent() {
    run(async {
        let authority = Authority::new();
        for (certificate, names, accepted) in [
            ("backend.example", None, true),
            ("backend.example", Some("other.example"), true),
            ("other.example", Some("other.example"), false),
        ] {
            let server = server::start_tls(false, authority.server(certificate, &[])).await;
            let mut settings = encrypted(Http1, Some(authority.roots()), names);
            settings.socket.tls.as_mut().unwrap().verify_sni = true;
            let worker = Worker::new(settings, endpoints(&[server.address]));
            assert_eq!(worker.send(get("/")).await.is_ok(), accepted, "{certificate} {names:?}");
        }
    });
}

/// A secret by the way that the control plane's go.
fn validation(context: pb::CertificateValidationContext) -> Result<SecretSource, String> {
    let secret =
        pb::Secret { name: "roots".to_owned(), r#type: Some(pb::secret::Type::ValidationContext(context)) };
    let packed = gateway_xds_api::pack(ResourceType::Secret, "roots", &secret, "");
    let any = gateway_xds_api::pb::google::protobuf::Any {
        type_url: ResourceType::Secret.type_url().to_owned(),
        value: packed.value.to_vec(),
    };
    let mut store = ConfigStore::new();
    let applied = store.apply(Update {
        kind: ResourceType::Secret,
        upserts: vec![("roots".to_owned(), any)],
        removals: Vec::new(),
    });
    match applied.rejections.first() {
        Some(rejection) => Err(rejection.to_string()),
        None => Ok(SecretSource::Inline(Arc::clone(store.snapshot().secrets.get("roots").unwrap()))),
    }
}

fn text(text: String) -> Option<DataSource> {
    Some(DataSource { specifier: Some(Specifier::InlineString(text)), ..DataSource::default() })
}

/// A server with a certificate of its own, and that certificate.
fn served(authority: &Authority, serial: u64) -> (rustls::ServerConfig, CertificateDer<'static>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["backend.example".to_owned()]).unwrap();
    params.serial_number = Some(SerialNumber::from(serial));
    let certificate = params.signed_by(&key, &authority.0).unwrap();
    let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], der)
        .unwrap();
    (config, certificate.der().clone())
}

fn trusting(roots: SecretSource) -> Cluster {
    encrypted(Http1, Some(roots), None)
}

async fn answers(config: rustls::ServerConfig, settings: Cluster) -> bool {
    let server = server::start_tls(false, config).await;
    Worker::new(settings, endpoints(&[server.address])).send(get("/")).await.is_ok()
}

#[test]
fn fingerprints_are_checked() {
    run(async {
        let (authority, other) = (Authority::new(), Authority::new());
        let hex = |bytes: &[u8], colons: &str| -> String {
            let digest = Sha256::digest(bytes);
            digest.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(colons)
        };
        for (own, roots, accepted) in [
            (true, None, true),
            (false, None, false),
            (true, Some(&authority), true),
            (true, Some(&other), false),
            (false, Some(&authority), false),
        ] {
            let (config, certificate) = served(&authority, 1);
            let pinned = if own { certificate } else { served(&authority, 1).1 };
            let context = pb::CertificateValidationContext {
                trusted_ca: roots.and_then(|roots| text(roots.0.pem())),
                verify_certificate_hash: vec!["0".repeat(64), hex(&pinned, ":")],
                ..Default::default()
            };
            let seen = answers(config, trusting(validation(context).unwrap())).await;
            assert_eq!(seen, accepted, "own {own}, roots {}", roots.is_some());
        }
        for own in [true, false] {
            let (config, certificate) = served(&authority, 1);
            let pinned = if own { certificate } else { served(&authority, 1).1 };
            let parsed = rustls::server::ParsedCertificate::try_from(&pinned).unwrap();
            let digest = Sha256::digest(parsed.subject_public_key_info());
            let context = pb::CertificateValidationContext {
                verify_certificate_spki: vec![base64(&digest)],
                ..Default::default()
            };
            assert_eq!(answers(config, trusting(validation(context).unwrap())).await, own);
        }
        for (hashes, keys) in [(vec!["12".to_owned()], vec![]), (vec![], vec!["=".to_owned()])] {
            let context = pb::CertificateValidationContext {
                verify_certificate_hash: hashes,
                verify_certificate_spki: keys,
                ..Default::default()
            };
            assert!(validation(context).unwrap_err().contains("is not a SHA-256"));
        }
    });
}

/// Base64 as RFC 4648 has it.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |group: u32, shift: u32| char::from(DIGITS[(group >> shift & 63) as usize]);
    bytes
        .chunks(3)
        .map(|chunk| {
            let group = chunk.iter().chain(&[0, 0]).take(3).fold(0, |all, byte| all << 8 | u32::from(*byte));
            let all: String = [18, 12, 6, 0].map(|shift| digit(group, shift)).iter().collect();
            format!("{:=<4}", &all[..=chunk.len()])
        })
        .collect()
}

#[test]
fn revoked_certificates_are_refused() {
    run(async {
        let (authority, other) = (Authority::new(), Authority::new());
        let list = |issuer: &Authority, serials: &[u64], next_update| {
            let revoked = serials.iter().map(|serial| RevokedCertParams {
                serial_number: SerialNumber::from(*serial),
                revocation_time: rcgen::date_time_ymd(2024, 1, 1),
                reason_code: None,
                invalidity_date: None,
            });
            let params = CertificateRevocationListParams {
                this_update: rcgen::date_time_ymd(2024, 1, 1),
                next_update,
                crl_number: SerialNumber::from(1),
                issuing_distribution_point: None,
                revoked_certs: revoked.collect(),
                key_identifier_method: KeyIdMethod::Sha256,
            };
            params.signed_by(&issuer.0).unwrap().pem().unwrap()
        };
        let later = rcgen::date_time_ymd(2099, 1, 1);
        for (name, crl, accepted) in [
            ("not on the list", list(&authority, &[7], later), true),
            ("on the list", list(&authority, &[7, 8], later), false),
            ("another issuer's list", list(&other, &[], later), false),
            ("an old list", list(&authority, &[7], rcgen::date_time_ymd(2024, 2, 1)), false),
        ] {
            let context = pb::CertificateValidationContext {
                trusted_ca: text(authority.0.pem()),
                crl: text(crl),
                ..Default::default()
            };
            let (config, _) = served(&authority, 8);
            let seen = answers(config, trusting(validation(context).unwrap())).await;
            assert_eq!(seen, accepted, "{name}");
        }
        let context = pb::CertificateValidationContext {
            trusted_ca: text(authority.0.pem()),
            crl: text("nothing".to_owned()),
            ..Default::default()
        };
        assert!(validation(context).unwrap_err().contains("crl: has no revocation list"));
    });
}

#[test]
fn the_systems_roots_do_not_vouch_for_everybody() {
    run(async {
        let context = pb::CertificateValidationContext {
            system_root_certs: Some(Default::default()),
            ..Default::default()
        };
        let roots = validation(context).unwrap();
        let SecretSource::Inline(secret) = &roots else { unreachable!() };
        let Secret { kind: SecretKind::Validation(validation), .. } = &**secret else { unreachable!() };
        assert!(validation.system_roots && validation.roots.is_empty());
        let (config, _) = served(&Authority::new(), 1);
        assert!(!answers(config, trusting(roots)).await);
    });
}

#[test]
fn each_protocol_offers_itself() {
    run(async {
        let authority = Authority::new();
        for (version, http2, offered) in
            [(Version::HTTP_11, false, "http/1.1"), (Version::HTTP_2, true, "h2")]
        {
            let server = server::start_tls(http2, authority.server("c.example", &[offered])).await;
            let tls = encrypted(Downstream, Some(authority.roots()), None).socket.tls;
            let settings = Cluster { socket: UpstreamSocket::of_tls(tls), ..crate::cluster(Downstream) };
            let worker = Worker::new(settings, endpoints(&[server.address]));
            let mut request = get("/");
            *request.version_mut() = version;
            assert_eq!(worker.send(request).await.unwrap().version(), version);
        }
    });
}
