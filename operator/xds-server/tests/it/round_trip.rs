// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Real streams over TLS on loopback: certificates are issued, taken, refused; acknowledgements reach the ledger.

use crate::snapshots::set;
use async_trait::async_trait;
use bytes::Bytes;
use gateway_xds_api::ResourceType::{self, Cluster, ClusterLoadAssignment, Listener, VirtualHost};
use gateway_xds_api::pb::envoy::config::core::v3::Node;
use gateway_xds_api::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use gateway_xds_api::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest,
};
use gateway_xds_api::pb::google::rpc::Status as RpcStatus;
use http_body_util::{BodyExt, Full};
use jiff::Timestamp;
use operator_identity::{ClusterAuthority, FleetAuthority, FleetName, KeyPem, WorkloadIdentity};
use operator_xds_server::{
    Ads, AttestError, Attestor, Form, Group, GroupSummary, Issuer, Ledger, LedgerEvent, Limits, Metrics,
    PluginError, PluginStore, Publisher, ServerTls, SharedAuthority, serve_ads, serve_issuer,
};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status, Streaming};

const SERVER: &str = "gatefleet-relay";
const WAIT: Duration = Duration::from_secs(20);

/// A relay with its fleet, on loopback.
struct Relay {
    fleet: FleetAuthority,
    cluster: SharedAuthority,
    publisher: Publisher,
    tls: Arc<ServerTls>,
    metrics: Metrics,
    ads: SocketAddr,
    issuer: SocketAddr,
    stop: CancellationToken,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Tokens;

#[async_trait]
impl Attestor for Tokens {
    async fn attest(&self, token: &str) -> Result<WorkloadIdentity, AttestError> {
        match token.split_once(':') {
            Some(("pod", pod)) => Ok(identity("edge", pod)),
            Some(("down", _)) => Err(AttestError::Unavailable("the API server is away".into())),
            Some(("foreign", pod)) => {
                Ok(WorkloadIdentity { cluster: "other".into(), ..identity("edge", pod) })
            }
            _ => Err(AttestError::Refused("not a token".into())),
        }
    }
}

struct Plugins;

#[async_trait]
impl PluginStore for Plugins {
    async fn plugin(&self, sha256: &str) -> Result<Option<Bytes>, PluginError> {
        Ok((sha256 == "a".repeat(64)).then(|| Bytes::from_static(b"\0asm")))
    }
}

fn identity(service_account: &str, pod: &str) -> WorkloadIdentity {
    WorkloadIdentity {
        trust_domain: "fleet.test".into(),
        cluster: "one".into(),
        namespace: "gateways".into(),
        service_account: service_account.into(),
        fleet: FleetName { namespace: "gateways".into(), name: "edge".into() },
        pod: pod.into(),
    }
}

fn group_of(identity: &WorkloadIdentity) -> Option<Group> {
    let known = ["edge", "inner"].contains(&identity.service_account.as_str());
    known.then(|| Group::new(format!("{}/{}", identity.namespace, identity.service_account)))
}

fn server_certificate(cluster: &ClusterAuthority) -> operator_identity::ServerCertificate {
    cluster.server_certificate(&[SERVER.to_owned()], Timestamp::now()).unwrap()
}

async fn relay(limits: Limits) -> Relay {
    // Another test may have been first.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let fleet = FleetAuthority::create("fleet.test", Timestamp::now()).unwrap();
    let cluster = SharedAuthority::new(fleet.cluster_authority("one", Timestamp::now()).unwrap());
    let tls = ServerTls::new(&server_certificate(&cluster.current()), &fleet.pem().certificate).unwrap();
    let tls = Arc::new(tls);
    let (publisher, metrics, stop) =
        (Publisher::new(Ledger::new()), Metrics::default(), CancellationToken::new());
    let ads = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuing = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addresses = (ads.local_addr().unwrap(), issuing.local_addr().unwrap());
    let service = Ads::new(publisher.clone(), Arc::new(group_of), limits, metrics.clone(), stop.clone());
    let issuer = Issuer {
        authority: cluster.clone(),
        attestor: Arc::new(Tokens),
        plugins: Arc::new(Plugins),
        limits,
        metrics: metrics.clone(),
    };
    tokio::spawn(serve_ads(ads, tls.clone(), service));
    tokio::spawn(serve_issuer(issuing, tls.clone(), issuer, stop.clone()));
    Relay { fleet, cluster, publisher, tls, metrics, ads: addresses.0, issuer: addresses.1, stop }
}

/// A key and a request for a certificate.
fn request() -> (KeyPem, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    // What a request asks for is not what it gets.
    let mut params = rcgen::CertificateParams::new(vec!["admin.example".to_owned()]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, "one/gateways/somebody-else");
    let csr = params.serialize_request(&key).unwrap().pem().unwrap();
    (KeyPem::new(key.serialize_pem()), csr)
}

fn credentials(cluster: &ClusterAuthority, identity: &WorkloadIdentity) -> Identity {
    let (key, csr) = request();
    let issued = cluster.issue(&csr, identity, Timestamp::now()).unwrap();
    Identity::from_pem(issued.chain_pem, key.expose())
}

async fn channel(relay: &Relay, identity: Identity) -> Result<Channel, tonic::transport::Error> {
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(&relay.fleet.pem().certificate))
        .identity(identity)
        .domain_name(SERVER);
    Endpoint::from_shared(format!("https://{}", relay.ads)).unwrap().tls_config(tls)?.connect().await
}

/// A proxy on a delta stream.
struct Proxy {
    node: Node,
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

impl Proxy {
    async fn connect(relay: &Relay, service_account: &str, pod: &str, node: &str) -> Self {
        let identity = credentials(&relay.cluster.current(), &identity(service_account, pod));
        let channel = channel(relay, identity).await.unwrap();
        let mut client = AggregatedDiscoveryServiceClient::new(channel);
        let (requests, receiver) = mpsc::channel(16);
        let responses =
            client.delta_aggregated_resources(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        let node =
            Node { id: node.to_owned(), user_agent_name: "gatefleet-gateway".to_owned(), ..Node::default() };
        Self { node, requests, responses }
    }

    async fn send(&self, kind: ResourceType, request: DeltaDiscoveryRequest) {
        let request = DeltaDiscoveryRequest {
            node: Some(self.node.clone()),
            type_url: kind.type_url().to_owned(),
            ..request
        };
        // A refused stream may be gone already; its status says why.
        let _ = self.requests.send(request).await;
    }

    async fn subscribe(&self, kind: ResourceType, names: &[&str]) {
        self.send(kind, crate::snapshots::subscribe(names)).await;
    }

    async fn read(&mut self) -> Result<DeltaDiscoveryResponse, Status> {
        let message = timeout(WAIT, self.responses.message()).await.expect("a response in time")?;
        message.ok_or_else(|| Status::new(Code::Ok, "the stream ended"))
    }

    /// Reads a response and answers it; with a text, by a refusal.
    async fn take(&mut self, kind: ResourceType, refusal: Option<&str>) -> Vec<String> {
        let response = self.read().await.unwrap();
        assert_eq!(response.type_url, kind.type_url());
        let error_detail =
            refusal.map(|text| RpcStatus { code: 3, message: text.into(), ..RpcStatus::default() });
        let answer = DeltaDiscoveryRequest {
            response_nonce: response.nonce,
            error_detail,
            ..DeltaDiscoveryRequest::default()
        };
        self.send(kind, answer).await;
        let upserts = response.resources.iter().map(|r| format!("+{}={}", r.name, r.version));
        upserts.chain(response.removed_resources.iter().map(|name| format!("-{name}"))).collect()
    }
}

async fn summary_when(ledger: &Ledger, group: &Group, holds: impl Fn(&GroupSummary) -> bool) -> GroupSummary {
    let mut changes = ledger.changes();
    timeout(WAIT, async {
        loop {
            let summary = ledger.summary(group);
            if holds(&summary) {
                return summary;
            }
            changes.changed().await.unwrap();
        }
    })
    .await
    .expect("the ledger says so in time")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_is_configured_and_its_answers_are_recorded() {
    let relay = relay(Limits::default()).await;
    let (edge, inner) = (Group::new("gateways/edge"), Group::new("gateways/inner"));
    let ledger = relay.publisher.ledger().clone();
    let mut events = ledger.events();
    let first =
        set(&[(Cluster, "c=1"), (ClusterLoadAssignment, "c=1"), (Listener, "l=1"), (VirtualHost, "h=1 i=1")]);
    relay.publisher.publish(&edge, Form::Gateway, "one", Arc::new(first.clone()));
    relay.publisher.publish(&inner, Form::Gateway, "secret", Arc::new(set(&[(Cluster, "other=1")])));

    let mut proxy = Proxy::connect(&relay, "edge", "pod-1", "one/gateways/pod-1").await;
    proxy.subscribe(Cluster, &["*"]).await;
    proxy.subscribe(ClusterLoadAssignment, &["c", "other"]).await;
    proxy.subscribe(Listener, &["*"]).await;
    proxy.subscribe(VirtualHost, &["*"]).await;
    assert_eq!(proxy.take(Cluster, None).await, ["+c=1"]);
    assert_eq!(
        proxy.take(ClusterLoadAssignment, None).await,
        ["+c=1", "-other"],
        "another group is not there"
    );
    assert_eq!(proxy.take(Listener, None).await, ["+l=1"]);
    assert_eq!(proxy.take(VirtualHost, None).await, ["+h=1", "+i=1"]);
    let summary = summary_when(&ledger, &edge, |s| s.acked("one") == 1).await;
    assert_eq!((summary.connected(), &*summary.nodes[0].node), (1, "one/gateways/pod-1"));

    // One changed virtual host is one resource on the wire.
    let sent = relay.metrics.bytes_sent(VirtualHost);
    let second =
        set(&[(Cluster, "c=1"), (ClusterLoadAssignment, "c=1"), (Listener, "l=1"), (VirtualHost, "h=1 i=2")]);
    relay.publisher.publish(&edge, Form::Gateway, "two", Arc::new(second));
    assert_eq!(
        proxy.take(VirtualHost, Some("i: route httproute/shop/cart/2/0: regex is too large")).await,
        ["+i=2"]
    );
    assert!(relay.metrics.bytes_sent(VirtualHost) - sent < 200);
    let summary = summary_when(&ledger, &edge, |s| s.nacks().count() == 1).await;
    let (node, nack) = summary.nacks().next().unwrap();
    assert_eq!((node, nack.kind, nack.resource.as_deref()), ("one/gateways/pod-1", VirtualHost, Some("i")));
    assert_eq!(nack.origin.as_deref(), Some("HTTPRoute shop/cart rule 2"));
    assert_eq!((summary.acked("one"), summary.acked("two")), (1, 0), "it still serves the version before");

    // Back to what it took: the refusal is gone.
    relay.publisher.publish(&edge, Form::Gateway, "three", Arc::new(first));
    assert_eq!(proxy.take(VirtualHost, None).await, ["+i=1"]);
    let summary = summary_when(&ledger, &edge, |s| s.acked("three") == 1).await;
    assert_eq!(summary.nacks().count(), 0);

    // A set that differs by nothing that the proxy wants counts at once.
    let same = set(&[
        (Cluster, "c=1"),
        (ClusterLoadAssignment, "c=1 x=1"),
        (Listener, "l=1"),
        (VirtualHost, "h=1 i=1"),
    ]);
    relay.publisher.publish(&edge, Form::Gateway, "four", Arc::new(same));
    assert_eq!(summary_when(&ledger, &edge, |s| s.acked("four") == 1).await.connected(), 1);

    drop(proxy);
    summary_when(&ledger, &edge, |s| s.connected() == 0).await;
    let mut acked = Vec::new();
    while let Ok(event) = events.try_recv() {
        if let LedgerEvent::Acked { version, .. } = event {
            acked.push(version.to_string());
        }
    }
    assert_eq!(acked, ["one", "three", "four"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_id_that_is_not_the_certificates_is_refused() {
    let relay = relay(Limits::default()).await;
    for (account, node, reason) in
        [("edge", "one/gateways/pod-2", "node.id differs"), ("stranger", "one/gateways/pod-1", "no gateway")]
    {
        let mut proxy = Proxy::connect(&relay, account, "pod-1", node).await;
        proxy.subscribe(Cluster, &["*"]).await;
        let status = proxy.read().await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied);
        assert!(status.message().contains(reason), "{}", status.message());
    }
}

/// Opens a stream and waits for the refusal, wherever it comes.
async fn refused(relay: &Relay, identity: Identity) -> bool {
    let Ok(channel) = channel(relay, identity).await else { return true };
    let (requests, receiver) = mpsc::channel(1);
    requests.send(DeltaDiscoveryRequest::default()).await.unwrap();
    let mut client = AggregatedDiscoveryServiceClient::new(channel);
    match timeout(WAIT, client.delta_aggregated_resources(ReceiverStream::new(receiver))).await.unwrap() {
        Err(_) => true,
        Ok(response) => timeout(WAIT, response.into_inner().message()).await.unwrap().is_err(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_of_others_are_refused() {
    let relay = relay(Limits::default()).await;
    let now = Timestamp::now();
    // Another fleet with the same names.
    let foreign = FleetAuthority::create("fleet.test", now).unwrap().cluster_authority("one", now).unwrap();
    assert!(refused(&relay, credentials(&foreign, &identity("edge", "pod-1"))).await);
    // A cluster of this fleet cannot speak for another one: its leaf under that one's intermediate does not verify.
    let two = relay.fleet.cluster_authority("two", now).unwrap();
    let (key, csr) = request();
    let leaf = two
        .issue(&csr, &WorkloadIdentity { cluster: "two".into(), ..identity("edge", "pod-1") }, now)
        .unwrap();
    let leaf_pem = leaf.chain_pem.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap().to_owned();
    let one = relay.cluster.current().pem().certificate.clone();
    assert!(refused(&relay, Identity::from_pem(format!("{leaf_pem}{one}"), key.expose())).await);
    // Both intermediates, so that the chain verifies by one and the names fit the other.
    let chain = format!("{leaf_pem}{one}{}", two.pem().certificate);
    assert!(refused(&relay, Identity::from_pem(chain, key.expose())).await);
    // The relay's own server certificate is not a client's.
    let server = server_certificate(&relay.cluster.current());
    assert!(refused(&relay, Identity::from_pem(server.chain_pem, server.key.expose())).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_have_limits_and_certificates_are_swapped() {
    let relay = relay(Limits { streams: 1, ..Limits::default() }).await;
    let group = Group::new("gateways/edge");
    relay.publisher.publish(&group, Form::Gateway, "one", Arc::new(set(&[(Cluster, "c=1")])));
    let mut first = Proxy::connect(&relay, "edge", "pod-1", "one/gateways/pod-1").await;
    first.subscribe(Cluster, &["*"]).await;
    first.take(Cluster, None).await;
    let identity = credentials(&relay.cluster.current(), &identity("edge", "pod-2"));
    let mut client = AggregatedDiscoveryServiceClient::new(channel(&relay, identity).await.unwrap());
    let (_requests, receiver) = mpsc::channel::<DeltaDiscoveryRequest>(1);
    let status = client.delta_aggregated_resources(ReceiverStream::new(receiver)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);

    // New connections see the new certificate, the old stream goes on.
    let renewed = relay.fleet.cluster_authority("one", Timestamp::now()).unwrap();
    relay.tls.replace(&server_certificate(&renewed), &relay.fleet.pem().certificate).unwrap();
    relay.cluster.replace(renewed);
    relay.publisher.publish(&group, Form::Gateway, "two", Arc::new(set(&[(Cluster, "c=2")])));
    assert_eq!(first.take(Cluster, None).await, ["+c=2"]);
    assert!(relay.tls.replace(&server_certificate(&relay.cluster.current()), "no roots").is_err());
    drop(first);
    summary_when(relay.publisher.ledger(), &group, |s| s.connected() == 0).await;
    let mut second = Proxy::connect(&relay, "edge", "pod-2", "one/gateways/pod-2").await;
    second.subscribe(Cluster, &["*"]).await;
    assert_eq!(second.take(Cluster, None).await, ["+c=2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stock_client_gets_its_own_form_when_it_asks() {
    let relay = relay(Limits::default()).await;
    let group = Group::new("gateways/edge");
    let mut demand = relay.publisher.demand();
    let identity = credentials(&relay.cluster.current(), &identity("edge", "pod-1"));
    let mut client = AggregatedDiscoveryServiceClient::new(channel(&relay, identity).await.unwrap());
    let (requests, receiver) = mpsc::channel(4);
    let mut responses =
        client.stream_aggregated_resources(ReceiverStream::new(receiver)).await.unwrap().into_inner();
    let node = Node { id: "one/gateways/pod-1".into(), user_agent_name: "envoy".into(), ..Node::default() };
    let type_url = Cluster.type_url().to_owned();
    requests
        .send(DiscoveryRequest { node: Some(node), type_url, ..DiscoveryRequest::default() })
        .await
        .unwrap();
    let wanted = (group.clone(), Form::Envoy);
    timeout(WAIT, demand.wait_for(|demand| demand.contains(&wanted))).await.unwrap().unwrap();
    relay.publisher.publish(&group, Form::Envoy, "one", Arc::new(set(&[(Cluster, "c=1")])));
    let response = timeout(WAIT, responses.message()).await.unwrap().unwrap().unwrap();
    assert_eq!((response.resources.len(), &*response.version_info), (1, "one"));
    drop((requests, responses, client));
    timeout(WAIT, demand.wait_for(|demand| demand.is_empty())).await.unwrap().unwrap();
}

/// One exchange with the issuance port.
async fn exchange(relay: &Relay, request: http::Request<Full<Bytes>>) -> (u16, Bytes) {
    let mut roots = rustls::RootCertStore::empty();
    for root in operator_identity::certificates_from_pem(&relay.fleet.pem().certificate).unwrap() {
        roots.add(root).unwrap();
    }
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let tcp = TcpStream::connect(relay.issuer).await.unwrap();
    let name = rustls_pki_types::ServerName::try_from(SERVER).unwrap();
    let tls = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(tls)).await.unwrap();
    tokio::spawn(connection);
    let response = timeout(WAIT, sender.send_request(request)).await.unwrap().unwrap();
    let status = response.status().as_u16();
    (status, response.into_body().collect().await.unwrap().to_bytes())
}

fn post(body: impl Into<Bytes>) -> http::Request<Full<Bytes>> {
    let request = http::Request::post("/v1/certificate").header("host", SERVER);
    request.body(Full::new(body.into())).unwrap()
}

fn get(path: &str) -> http::Request<Full<Bytes>> {
    http::Request::get(path).header("host", SERVER).body(Full::default()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_and_plugins_are_handed_out() {
    let relay = relay(Limits { issue_burst: 8, issue_per_second: 0.0, ..Limits::default() }).await;
    let (key, csr) = request();
    let ask = |token: &str| post(serde_json::json!({ "csr": csr, "token": token }).to_string());
    let (status, body) = exchange(&relay, ask("pod:pod-9")).await;
    assert_eq!(status, 200, "{body:?}");
    let answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let chain = answer["chain"].as_str().unwrap();
    let certificates = operator_identity::certificates_from_pem(chain).unwrap();
    let peer = operator_identity::peer_identity(&certificates).unwrap();
    assert_eq!(peer.identity, identity("edge", "pod-9"), "the attested identity, not the requested one");
    let ends: Timestamp = answer["notAfter"].as_str().unwrap().parse().unwrap();
    assert_eq!(ends, peer.validity.not_after);
    assert!(ends.duration_since(Timestamp::now()).as_hours() <= 12);
    assert!(channel(&relay, Identity::from_pem(chain, key.expose())).await.is_ok());

    for (request, expected) in [
        (ask("nonsense"), 403),
        (ask("foreign:pod"), 403),
        (ask("down:pod"), 503),
        (ask("pod:../x"), 403),
        (post("{"), 400),
        (post(serde_json::json!({ "csr": "no", "token": "pod:p" }).to_string()), 400),
        (post("x".repeat(100_000)), 413),
        (ask("pod:past-the-limit"), 429),
        (get("/v1/certificate"), 404),
        (get("/v1/plugins/nothex"), 400),
        (get(&format!("/v1/plugins/{}", "b".repeat(64))), 404),
        (get(&format!("/v1/plugins/{}", "a".repeat(64))), 200),
    ] {
        let uri = request.uri().to_string();
        let (status, body) = exchange(&relay, request).await;
        assert_eq!(status, expected, "{uri}: {body:?}");
    }
}
