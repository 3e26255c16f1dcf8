// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! One ADS stream over gRPC: dialling, opening, sending.

use crate::{ClientError, Session, Subscriptions, WorkloadCertificate};
use gateway_xds_api::pb::envoy::config::core::v3::Node;
use gateway_xds_api::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use gateway_xds_api::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use std::path::Path;
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
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

impl Stream {
    /// Opens a stream on a channel with everything that is wanted now.
    pub(crate) async fn open(
        channel: Channel,
        subscriptions: &Subscriptions,
        node: Node,
    ) -> Result<Self, ClientError> {
        let (session, opening) = Session::open(subscriptions, node);
        let (requests, outgoing) = mpsc::channel(REQUESTS);
        for request in opening {
            requests.try_send(request).map_err(|_| ClientError::Stalled)?;
        }
        let mut service =
            AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(RESPONSE_BYTES);
        let opened = service.delta_aggregated_resources(ReceiverStream::new(outgoing));
        let opened = tokio::time::timeout(OPEN, opened).await;
        let responses = opened.map_err(|_| ClientError::Timeout("opening the stream", OPEN))??.into_inner();
        Ok(Self { session, requests, responses })
    }

    pub(crate) fn send(&self, request: DeltaDiscoveryRequest) -> Result<(), ClientError> {
        self.requests.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ClientError::Stalled,
            mpsc::error::TrySendError::Closed(_) => ClientError::Closed,
        })
    }

    /// The next response. Cancellation loses nothing.
    pub(crate) async fn next(&mut self) -> Result<DeltaDiscoveryResponse, ClientError> {
        self.responses.message().await?.ok_or(ClientError::Closed)
    }
}

/// Connects without TLS, for control planes on the same machine.
pub(crate) async fn dial_plaintext(address: &str) -> Result<Channel, ClientError> {
    connect(address, endpoint("http", address)?).await
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
    let connected = connected.map_err(|_| ClientError::Timeout("connecting to the relay", CONNECT * 2))?;
    connected.map_err(|error| ClientError::Connect(address.to_owned(), error))
}
