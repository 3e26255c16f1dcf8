// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Clients with certificates: who is let in, and what the upstream is told.

use crate::client::{Answer, Client};
use crate::config::{Certificate, Resources, any, cluster, host, http, listener, route, tls_chain, to};
use crate::gateway::{Gateway, options};
use crate::origin::{Origin, full};
use crate::tls::connect;
use gateway_xds_api::ResourceType;
use gateway_xds_api::pb::envoy::config::core::v3::{
    DataSource, TransportSocket, data_source, transport_socket,
};
use gateway_xds_api::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    ForwardClientCertDetails as Mode, SetCurrentClientCertDetails,
};
use gateway_xds_api::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, SdsSecretConfig, Secret,
    SubjectAltNameMatcher, common_tls_context, secret, subject_alt_name_matcher,
};
use gateway_xds_api::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher};
use gateway_xds_api::pb::google::protobuf::BoolValue;
use http::Request;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;

/// An authority for clients.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Client settings with a certificate for a URI and a DNS name.
    fn client(&self, server: &Certificate, uri: &str, dns: &str) -> Arc<ClientConfig> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![dns.to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::URI(uri.try_into().unwrap()));
        params.distinguished_name.push(rcgen::DnType::CommonName, "the, client");
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(server.der.clone()).unwrap();
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        Arc::new(config)
    }
}

struct Setup {
    mode: Mode,
    required: bool,
    names: Vec<SubjectAltNameMatcher>,
}

async fn gateway(origin: &Origin, server: &Certificate, authority: &Authority, setup: Setup) -> Gateway {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut resources = Resources::default();
    resources.clusters([cluster("one", &[origin.address])]);
    resources.certificate("server", server);
    let trusted = DataSource {
        specifier: Some(data_source::Specifier::InlineString(authority.0.pem())),
        ..DataSource::default()
    };
    let context = CertificateValidationContext {
        trusted_ca: Some(trusted),
        match_typed_subject_alt_names: setup.names,
        ..CertificateValidationContext::default()
    };
    let roots = Secret { name: "roots".to_owned(), r#type: Some(secret::Type::ValidationContext(context)) };
    resources.set(ResourceType::Secret, "roots", &roots);
    let mut settings = http(vec![host(vec![route("/", to("one"))])]);
    settings.forward_client_cert_details = setup.mode.into();
    settings.set_current_client_cert_details = Some(SetCurrentClientCertDetails {
        subject: Some(BoolValue { value: true }),
        uri: true,
        dns: true,
        ..SetCurrentClientCertDetails::default()
    });
    let mut chain = tls_chain(&settings, &["a.example"], "server");
    let Some(transport_socket::ConfigType::TypedConfig(old)) =
        chain.transport_socket.take().unwrap().config_type
    else {
        unreachable!("tls_chain makes one")
    };
    let mut tls: DownstreamTlsContext = prost::Message::decode(&*old.value).unwrap();
    let common: &mut CommonTlsContext = tls.common_tls_context.as_mut().unwrap();
    let ads = common.tls_certificate_sds_secret_configs[0].sds_config.clone();
    common.validation_context_type =
        Some(common_tls_context::ValidationContextType::ValidationContextSdsSecretConfig(SdsSecretConfig {
            name: "roots".to_owned(),
            sds_config: ads,
        }));
    tls.require_client_certificate = Some(BoolValue { value: setup.required });
    chain.transport_socket = Some(TransportSocket {
        name: "tls".to_owned(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(any(&tls))),
    });
    Gateway::start(options(), resources, &listener(vec![chain])).await
}

async fn ask(gateway: &Gateway, config: &Arc<ClientConfig>) -> Result<Answer, String> {
    let stream = connect(gateway, "a.example", config).await.map_err(|error| error.to_string())?;
    let request =
        Request::get("/").header("host", "a.example").header("x-forwarded-client-cert", "Hash=forged");
    Client::http1_over(stream)
        .await
        .try_send(request.body(full("")).unwrap())
        .await
        .map_err(|e| e.to_string())
}

fn without(server: &Certificate) -> Arc<ClientConfig> {
    crate::tls::trusting(&[server], &["http/1.1"])
}

#[tokio::test]
async fn the_upstream_is_told_by_the_mode() {
    let origin = Origin::echo().await;
    let (server, authority) = (Certificate::new(&["a.example"]), Authority::new());
    let client = authority.client(&server, "spiffe://a/b", "c.example");
    let own = ";Subject=\"CN=the, client\";URI=spiffe://a/b;DNS=c.example";
    for (mode, with, bare) in [
        (Mode::Sanitize, None, None),
        (Mode::ForwardOnly, Some(("Hash=forged", "")), None),
        (Mode::AppendForward, Some(("Hash=forged,Hash=", own)), None),
        (Mode::SanitizeSet, Some(("Hash=", own)), None),
        (Mode::AlwaysForwardOnly, Some(("Hash=forged", "")), Some("Hash=forged")),
    ] {
        let setup = Setup { mode, required: false, names: Vec::new() };
        let gateway = gateway(&origin, &server, &authority, setup).await;
        let told = |answer: &Answer| {
            let lines = answer.lines("x-forwarded-client-cert: ");
            assert!(lines.len() <= 1, "{lines:?}");
            lines.first().map(|line| line["x-forwarded-client-cert: ".len()..].to_owned())
        };
        let got = told(&ask(&gateway, &client).await.unwrap());
        match (&got, with) {
            (None, None) => {}
            (Some(got), Some((start, end))) if got.starts_with(start) && got.ends_with(end) => {
                let hash = &got[start.len()..got.len() - end.len()];
                assert!(end.is_empty() || hash.len() == 64, "{got}");
            }
            _ => panic!("{mode:?}: {got:?}"),
        }
        assert_eq!(told(&ask(&gateway, &without(&server)).await.unwrap()).as_deref(), bare, "{mode:?}");
    }
}

#[tokio::test]
async fn only_certificates_of_the_authority_with_a_wanted_name_come_in() {
    let origin = Origin::echo().await;
    let (server, authority) = (Certificate::new(&["a.example"]), Authority::new());
    let wanted = SubjectAltNameMatcher {
        san_type: subject_alt_name_matcher::SanType::Uri.into(),
        matcher: Some(StringMatcher {
            match_pattern: Some(string_matcher::MatchPattern::Prefix("spiffe://good/".to_owned())),
            ignore_case: false,
        }),
        ..SubjectAltNameMatcher::default()
    };
    let setup = Setup { mode: Mode::Sanitize, required: true, names: vec![wanted] };
    let gateway = gateway(&origin, &server, &authority, setup).await;
    let good = authority.client(&server, "spiffe://good/one", "c.example");
    assert_eq!(ask(&gateway, &good).await.unwrap().status.as_u16(), 200);
    let other_name = authority.client(&server, "spiffe://bad/one", "good.example");
    let other_authority = Authority::new().client(&server, "spiffe://good/one", "c.example");
    for config in [other_name, other_authority, without(&server)] {
        assert!(ask(&gateway, &config).await.is_err());
    }
    assert_eq!(origin.count(), 1);
    gateway.until("refused handshakes", |g| g.metric("envoy_listener_ssl_connection_error", "") == 3).await;
}
