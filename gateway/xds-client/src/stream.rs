// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! One ADS stream over gRPC: dialling, opening, sending.

use crate::sotw::Sotw;
use crate::{ClientError, Session, Subscriptions, WorkloadCertificate};
use gateway_xds_api::pb::envoy::config::core::v3::Node;
use gateway_xds_api::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use gateway_xds_api::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// Time for TCP and TLS.
const CONNECT: Duration = Duration::from_secs(5);
/// Time for the server to accept the stream.
const OPEN: Duration = Duration::from_secs(10);
/// A silent connection is probed this often, and given up after [`PROBE_ANSWER`].
const PROBE: Duration = Duration::from_secs(10);
const PROBE_ANSWER: Duration = Duration::from_secs(5);
/// Largest response: some 100,000 virtual hosts at once.
const RESPONSE_BYTES: usize = 256 * 1024 * 1024;
/// Flow control windows: a full configuration should not wait for round trips.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// Requests that may wait for the server; it reads them at once unless it hangs.
const REQUESTS: usize = 1024;

/// A stream that the server accepted.
pub(crate) struct Stream {
    pub(crate) session: Session,
    wire: Wire,
}

/// The form of ADS that is spoken.
enum Wire {
    Delta(mpsc::Sender<DeltaDiscoveryRequest>, Streaming<DeltaDiscoveryResponse>),
    Sotw(mpsc::Sender<DiscoveryRequest>, Streaming<DiscoveryResponse>, Box<Sotw>),
}

/// The forms of ADS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Differences.
    #[default]
    Delta,
    /// The state of the world, for servers that know nothing else.
    Sotw,
}

impl Stream {
    /// Opens a stream on a channel with everything that is wanted now.
    pub(crate) async fn open(
        channel: Channel,
        subscriptions: &Subscriptions,
        node: Node,
        protocol: Protocol,
    ) -> Result<Self, ClientError> {
        let (session, opening) = Session::open(subscriptions, node);
        let service =
            AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(RESPONSE_BYTES);
        let opened = match protocol {
            Protocol::Delta => tokio::time::timeout(OPEN, delta(service, opening)).await,
            Protocol::Sotw => tokio::time::timeout(OPEN, sotw(service, opening)).await,
        };
        let wire = opened.map_err(|_| ClientError::Timeout("opening the stream", OPEN))??;
        Ok(Self { session, wire })
    }

    pub(crate) fn send(&mut self, request: DeltaDiscoveryRequest) -> Result<(), ClientError> {
        match &mut self.wire {
            Wire::Delta(requests, _) => push(requests, request),
            Wire::Sotw(requests, _, state) => push(requests, state.request(request)),
        }
    }

    /// The next response. Cancellation loses nothing.
    pub(crate) async fn next(&mut self) -> Result<DeltaDiscoveryResponse, ClientError> {
        match &mut self.wire {
            Wire::Delta(_, responses) => responses.message().await?.ok_or(ClientError::Closed),
            Wire::Sotw(_, responses, state) => {
                let response = responses.message().await?.ok_or(ClientError::Closed)?;
                Ok(state.response(response))
            }
        }
    }
}

async fn delta(
    mut service: AggregatedDiscoveryServiceClient<Channel>,
    opening: Vec<DeltaDiscoveryRequest>,
) -> Result<Wire, ClientError> {
    let (requests, outgoing) = mpsc::channel(REQUESTS);
    opening.into_iter().try_for_each(|request| push(&requests, request))?;
    let responses = service.delta_aggregated_resources(ReceiverStream::new(outgoing)).await?.into_inner();
    Ok(Wire::Delta(requests, responses))
}

async fn sotw(
    mut service: AggregatedDiscoveryServiceClient<Channel>,
    opening: Vec<DeltaDiscoveryRequest>,
) -> Result<Wire, ClientError> {
    let (requests, outgoing) = mpsc::channel(REQUESTS);
    let mut state = Box::new(Sotw::default());
    opening.into_iter().try_for_each(|request| push(&requests, state.request(request)))?;
    let responses = service.stream_aggregated_resources(ReceiverStream::new(outgoing)).await?.into_inner();
    Ok(Wire::Sotw(requests, responses, state))
}

fn push<T>(requests: &mpsc::Sender<T>, request: T) -> Result<(), ClientError> {
    requests.try_send(request).map_err(|error| match error {
        mpsc::error::TrySendError::Full(_) => ClientError::Stalled,
        mpsc::error::TrySendError::Closed(_) => ClientError::Closed,
    })
}

/// Connects without TLS, for control planes on the same machine.
pub(crate) async fn dial_plaintext(address: &str) -> Result<Channel, ClientError> {
    connect(address, endpoint("http", address)?).await
}

/// Connects with TLS to a server that is no relay; with a certificate where one is given.
pub(crate) async fn dial_tls(
    address: &str,
    server_name: &str,
    trust_bundle: &Path,
    identity: Option<&(PathBuf, PathBuf)>,
) -> Result<Channel, ClientError> {
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(read_file(trust_bundle).await?))
        .domain_name(server_name);
    if let Some((certificate, key)) = identity {
        tls = tls.identity(Identity::from_pem(read_file(certificate).await?, read_file(key).await?));
    }
    connect(address, endpoint("https", address)?.tls_config(tls).map_err(ClientError::Tls)?).await
}

async fn read_file(path: &Path) -> Result<Vec<u8>, ClientError> {
    tokio::fs::read(path).await.map_err(|source| ClientError::File { path: path.to_owned(), source })
}

/// Connects with mutual TLS.
pub(crate) async fn dial(
    address: &str,
    server_name: &str,
    trust_bundle: &Path,
    certificate: &WorkloadCertificate,
) -> Result<Channel, ClientError> {
    let roots = tokio::fs::read(trust_bundle).await;
    let roots = roots.map_err(|source| ClientError::TrustBundle { path: trust_bundle.to_owned(), source })?;
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(roots))
        .domain_name(server_name)
        .identity(Identity::from_pem(certificate.chain(), certificate.key()));
    let endpoint = endpoint("https", address)?.tls_config(tls).map_err(ClientError::Tls)?;
    connect(address, endpoint).await
}

fn endpoint(scheme: &str, address: &str) -> Result<Endpoint, ClientError> {
    let endpoint = Endpoint::from_shared(format!("{scheme}://{address}"));
    let endpoint = endpoint.map_err(|error| ClientError::Address(address.to_owned(), error))?;
    Ok(endpoint
        .connect_timeout(CONNECT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PROBE)
        .keep_alive_timeout(PROBE_ANSWER)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW))
}

async fn connect(address: &str, endpoint: Endpoint) -> Result<Channel, ClientError> {
    let connected = tokio::time::timeout(CONNECT * 2, endpoint.connect()).await;
    let connected =
        connected.map_err(|_| ClientError::Timeout("connecting to the control plane", CONNECT * 2))?;
    connected.map_err(|error| ClientError::Connect(address.to_owned(), error))
}
