// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The shell around subscriptions: keeps one stream alive, hands updates to the consumer, answers them.

use crate::node::NodeIdentity;
use crate::status::chain;
use crate::stream::{Stream, dial, dial_plaintext, dial_tls};
use crate::{
    Backoff, CertificateWatch, ClientError, ClientStatus, Consumer, Protocol, Received, Rejection, Session,
    Subscriptions,
};
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use gateway_xds_api::ResourceType;
use gateway_xds_api::pb::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

/// Pauses between attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Whom to connect to, and as whom.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// `host:port` of the server's ADS port.
    pub address: String,
    /// Who this client is.
    pub node: NodeIdentity,
    /// The form of ADS.
    pub protocol: Protocol,
    /// How the two know each other.
    pub security: Security,
    /// Time after which resources are asked for again that could not be used for a passing reason.
    pub ask_again: Duration,
}

/// How client and server know each other.
#[derive(Clone, Debug)]
pub enum Security {
    /// They do not; for control planes on the same machine or a trusted network.
    Plaintext,
    /// TLS with files, read anew for each connection.
    Tls {
        /// The name in the server's certificate.
        server_name: String,
        /// Roots that it must come from.
        trust_bundle: PathBuf,
        /// Our certificate chain and its key, where the server asks for one.
        identity: Option<(PathBuf, PathBuf)>,
    },
    /// Mutual TLS with a certificate that a relay issues.
    MutualTls {
        /// The name in the server's certificate.
        server_name: String,
        /// Roots that it must come from; read anew for each connection.
        trust_bundle: PathBuf,
        /// Our certificate, the newest for each connection.
        certificate: CertificateWatch,
    },
}

/// The ADS client.
#[derive(Debug)]
pub struct Client<C> {
    options: ClientOptions,
    consumer: C,
    subscriptions: Subscriptions,
    status: Arc<ClientStatus>,
    /// Responses answered so far.
    answered: u64,
}

/// An update whose preparation is done.
type Prepared = (Received, Vec<Rejection>);

/// What the loop of one stream waits for.
enum Event {
    Response(Result<DeltaDiscoveryResponse, ClientError>),
    Prepared(Prepared),
    Renewed,
    Dialled(Channel),
    AskAgain,
}

/// One stream with what is under way on it.
struct Following {
    stream: Stream,
    preparing: FuturesUnordered<BoxFuture<'static, Prepared>>,
    /// Types that a preparation is under way for; a further response of such a type waits.
    kinds: BTreeSet<ResourceType>,
    /// The response that waits; while there is one, nothing more is read.
    parked: Option<DeltaDiscoveryResponse>,
    /// Resources to ask for again, and when.
    again: BTreeMap<ResourceType, BTreeSet<String>>,
    again_at: Option<Instant>,
}

impl<C: Consumer> Client<C> {
    /// A client; it connects in [`Self::run`]. `subscriptions` names the types that are subscribed as a whole and what
    /// is held already.
    #[must_use]
    pub fn new(options: ClientOptions, subscriptions: Subscriptions, consumer: C) -> Self {
        Self { options, consumer, subscriptions, status: Arc::default(), answered: 0 }
    }

    /// What it does, to be looked at.
    #[must_use]
    pub fn status(&self) -> Arc<ClientStatus> {
        self.status.clone()
    }

    /// Runs until cancelled; gives the consumer back.
    pub async fn run(mut self, cancel: CancellationToken) -> C {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        for (kind, names) in self.consumer.wanted() {
            names.iter().for_each(|name| self.subscriptions.want(kind, name));
        }
        self.status.waiting_for(&self.subscriptions.unanswered());
        loop {
            let answered = self.answered;
            let ended = tokio::select! {
                () = cancel.cancelled() => break,
                ended = self.connect_and_follow() => ended,
            };
            if self.answered != answered {
                backoff.reset();
            }
            let Err(error) = ended;
            let cause = chain(&error);
            let pause = backoff.pause();
            tracing::warn!(cause, address = %self.options.address, retry_in = ?pause, "no xds stream");
            self.status.closed(Some(cause));
            tokio::select! {
                () = cancel.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.status.closed(None);
        self.consumer
    }

    async fn connect_and_follow(&mut self) -> Result<Infallible, ClientError> {
        let channel = self.options.dial().await?;
        let mut following = Following::new(self.open(channel).await?);
        tracing::info!(address = %self.options.address, "xds stream opened");
        let mut certificate = self.options.security.watch();
        let mut redial: Option<BoxFuture<'static, Channel>> = None;
        loop {
            let event = tokio::select! {
                biased;
                () = renewed(&mut certificate) => Event::Renewed,
                channel = optional(&mut redial) => Event::Dialled(channel),
                event = following.next() => event,
            };
            match event {
                Event::Response(response) => self.respond(&mut following, response?).await?,
                Event::Prepared((received, rejections)) => {
                    following.kinds.remove(&received.update.kind);
                    self.apply(&mut following, received, rejections).await?;
                    if let Some(response) = following.parked.take() {
                        self.respond(&mut following, response).await?;
                    }
                }
                Event::AskAgain => following.ask_again()?,
                Event::Renewed => redial = Some(self.options.redial()),
                // Make before break: the old stream is dropped only now that the server took the new one. What was being
                // prepared belongs to the old one; the new one sends it again.
                Event::Dialled(channel) => match self.open(channel).await {
                    Ok(stream) => {
                        (following, redial) = (Following::new(stream), None);
                        tracing::info!("xds stream moved to a renewed certificate");
                    }
                    Err(error) => {
                        tracing::warn!(
                            cause = chain(&error),
                            "no xds stream with the renewed certificate yet"
                        );
                        redial = Some(self.options.redial());
                    }
                },
            }
        }
    }

    async fn open(&self, channel: Channel) -> Result<Stream, ClientError> {
        let stream =
            Stream::open(channel, &self.subscriptions, self.options.node.to_node(), self.options.protocol)
                .await?;
        self.status.opened();
        Ok(stream)
    }

    /// Takes a response: applies it at once, or after the preparation that it needs.
    async fn respond(
        &mut self,
        following: &mut Following,
        response: DeltaDiscoveryResponse,
    ) -> Result<(), ClientError> {
        let kind = ResourceType::from_type_url(&response.type_url);
        if kind.is_some_and(|kind| following.kinds.contains(&kind)) {
            following.parked = Some(response);
            return Ok(());
        }
        let nonce = response.nonce.clone();
        let received = match self.subscriptions.receive(response) {
            Ok(received) => received,
            Err(type_url) => {
                tracing::warn!(type_url, "response of a type that is not subscribed");
                return following.stream.send(Session::refuse_type(type_url, nonce));
            }
        };
        let Some(preparation) = self.consumer.prepare(&received.update) else {
            return self.apply(following, received, Vec::new()).await;
        };
        following.kinds.insert(received.update.kind);
        following.preparing.push(preparation.map(|rejections| (received, rejections)).boxed());
        Ok(())
    }

    /// Applies what was received, but for what the preparation rejected; then answers and follows new references.
    async fn apply(
        &mut self,
        following: &mut Following,
        received: Received,
        mut rejections: Vec<Rejection>,
    ) -> Result<(), ClientError> {
        let mut update = received.update.clone();
        update.upserts.retain(|upsert| !rejections.iter().any(|rejection| rejection.name == upsert.name));
        let applied = self.consumer.apply(update).await;
        rejections.extend(applied.rejections);
        self.subscriptions.applied(&received, &rejections);
        applied.wanted.iter().for_each(|(kind, name)| self.subscriptions.want(*kind, name));
        applied.unwanted.iter().for_each(|(kind, name)| self.subscriptions.unwant(*kind, name));
        let answer = Session::answer(&received, &rejections);
        let kind = received.update.kind;
        let rejection = answer.error_detail.as_ref().map(|detail| detail.message.clone());
        if let Some(text) = &rejection {
            tracing::warn!(%kind, rejected = text, "resources rejected");
        }
        self.answered += 1;
        self.status.answered(kind, self.subscriptions.held_count(kind), rejection);
        self.status.waiting_for(&self.subscriptions.unanswered());
        following.note_transient(kind, &rejections, self.options.ask_again);
        let stream = &mut following.stream;
        stream.send(answer)?;
        for request in stream.session.tell(&self.subscriptions, &applied.wanted, &applied.unwanted) {
            stream.send(request)?;
        }
        Ok(())
    }
}

impl Following {
    fn new(stream: Stream) -> Self {
        Self {
            stream,
            preparing: FuturesUnordered::new(),
            kinds: BTreeSet::new(),
            parked: None,
            again: BTreeMap::new(),
            again_at: None,
        }
    }

    async fn next(&mut self) -> Event {
        tokio::select! {
            biased;
            Some(prepared) = self.preparing.next() => Event::Prepared(prepared),
            () = until(self.again_at) => Event::AskAgain,
            response = self.stream.next(), if self.parked.is_none() => Event::Response(response),
        }
    }

    /// Notes what was rejected for a passing reason, to be asked for after a while.
    fn note_transient(&mut self, kind: ResourceType, rejections: &[Rejection], after: Duration) {
        let transient = rejections.iter().filter(|rejection| rejection.transient);
        let names: BTreeSet<String> = transient.map(|rejection| rejection.name.clone()).collect();
        if !names.is_empty() {
            self.again.entry(kind).or_default().extend(names);
            self.again_at.get_or_insert(Instant::now() + after);
        }
    }

    fn ask_again(&mut self) -> Result<(), ClientError> {
        self.again_at = None;
        for (kind, names) in std::mem::take(&mut self.again) {
            self.stream.send(Session::ask_again(kind, names.into_iter().collect()))?;
        }
        Ok(())
    }
}

impl ClientOptions {
    fn dial(&self) -> BoxFuture<'static, Result<Channel, ClientError>> {
        let (address, security) = (self.address.clone(), self.security.clone());
        async move {
            match security {
                Security::Plaintext => dial_plaintext(&address).await,
                Security::Tls { server_name, trust_bundle, identity } => {
                    dial_tls(&address, &server_name, &trust_bundle, identity.as_ref()).await
                }
                Security::MutualTls { server_name, trust_bundle, mut certificate } => {
                    let newest =
                        certificate.wait_for(Option::is_some).await.ok().and_then(|newest| newest.clone());
                    // None: whoever renews it is gone, that is, the process ends.
                    let newest = newest.ok_or(ClientError::Closed)?;
                    dial(&address, &server_name, &trust_bundle, &newest).await
                }
            }
        }
        .boxed()
    }

    /// Connects with the newest certificate, as often as it takes; the stream before goes on meanwhile.
    fn redial(&self) -> BoxFuture<'static, Channel> {
        let options = self.clone();
        async move {
            let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
            loop {
                match options.dial().await {
                    Ok(channel) => return channel,
                    Err(error) => {
                        tracing::warn!(cause = chain(&error), "cannot connect with the renewed certificate")
                    }
                }
                tokio::time::sleep(backoff.pause()).await;
            }
        }
        .boxed()
    }
}

impl Security {
    fn watch(&self) -> Option<CertificateWatch> {
        match self {
            Self::Plaintext | Self::Tls { .. } => None,
            Self::MutualTls { certificate, .. } => {
                let mut certificate = certificate.clone();
                certificate.mark_unchanged();
                Some(certificate)
            }
        }
    }
}

/// Ends when a newer certificate is there; never without certificates.
async fn renewed(certificate: &mut Option<CertificateWatch>) {
    let alive = match certificate {
        Some(certificate) => certificate.changed().await.is_ok(),
        None => false,
    };
    if !alive {
        std::future::pending().await
    }
}

/// Waits for a future that may not be there.
async fn optional<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Ends at a moment; never without one.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
