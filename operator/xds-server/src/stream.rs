// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! One ADS stream: requests, wake-ups and responses between the wire and the pure state.

mod protocol;

use crate::delta::Answer;
use crate::ledger::StreamId;
use crate::server::{Peer, Shared};
use crate::snapshot::Watcher;
use crate::{Form, Group};
use futures::Stream;
use gateway_xds_api::ResourceType;
use prost::Message;
pub(crate) use protocol::{Delta, Protocol, Sotw};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::StreamExt;
use tonic::Status;
use tracing::{debug, info, warn};

/// Responses that may wait for the wire: one for each type, and the closing status.
pub(crate) const OUTBOUND: usize = ResourceType::ALL.len() + 2;

/// Serves one stream to its end; the reason goes to the proxy and to the log.
pub(crate) async fn serve<P: Protocol>(
    shared: Arc<Shared>,
    peer: Peer,
    inbound: impl Stream<Item = Result<P::Request, Status>> + Send,
    outbound: mpsc::Sender<Result<P::Response, Status>>,
) {
    let node = peer.chain.identity.node_id();
    match run::<P>(&shared, &peer, inbound, &outbound).await {
        Ok(()) => debug!(node, "stream ended"),
        Err(status) => {
            shared.metrics.refused.inc();
            warn!(node, peer = %peer.address, code = ?status.code(), reason = status.message(), "stream refused");
            // The proxy may have gone already.
            let _ = outbound.try_send(Err(status));
        }
    }
}

async fn run<P: Protocol>(
    shared: &Arc<Shared>,
    peer: &Peer,
    inbound: impl Stream<Item = Result<P::Request, Status>> + Send,
    outbound: &mpsc::Sender<Result<P::Response, Status>>,
) -> Result<(), Status> {
    let identity = &peer.chain.identity;
    let group = shared.groups.group(identity).ok_or_else(|| {
        Status::permission_denied("the certificate's service account is no gateway of this relay")
    })?;
    let mut inbound = pin!(inbound);
    let first = match timeout(shared.limits.handshake, inbound.next()).await {
        Err(_) => return Err(Status::deadline_exceeded("no request on a new stream")),
        Ok(None) => return Ok(()),
        Ok(Some(first)) => first?,
    };
    let node = P::node(&first).ok_or_else(|| Status::invalid_argument("the first request names no node"))?;
    let node_id: Arc<str> = identity.node_id().into();
    if *node.id != *node_id {
        return Err(Status::permission_denied("node.id differs from the certificate's common name"));
    }
    let form = P::form(&node.user_agent_name);
    let joining = join(shared).await;
    let mut session = Session::<P>::open(shared.clone(), group, form, node_id, joining);
    session.request(&first)?;
    let expiry = sleep_until(until(peer));
    let mut expiry = pin!(expiry);
    loop {
        session.pump(outbound).await?;
        tokio::select! {
            request = inbound.next() => match request {
                None => return Ok(()),
                // The proxy went away; nothing to tell it.
                Some(Err(status)) => {
                    debug!(node = %session.node, reason = status.message(), "stream broke");
                    return Ok(());
                }
                Some(Ok(request)) => session.request(&request)?,
            },
            () = session.watcher.woken() => {}
            () = sleep_until(session.join_until), if session.joining.is_some() => session.joining = None,
            () = outbound.closed() => return Ok(()),
            () = shared.stop.cancelled() => return Err(Status::unavailable("the relay is stopping")),
            () = &mut expiry => return Err(Status::unauthenticated("the client certificate has expired")),
        }
    }
}

/// Waits for a place among the streams that receive their first configuration.
async fn join(shared: &Arc<Shared>) -> Option<OwnedSemaphorePermit> {
    // Past the wait it joins anyway: slow proxies must not keep others out.
    timeout(shared.limits.join_wait, shared.joining.clone().acquire_owned()).await.ok()?.ok()
}

/// When the peer's certificate ends.
fn until(peer: &Peer) -> Instant {
    let end = SystemTime::from(peer.chain.validity.not_after);
    Instant::now() + end.duration_since(SystemTime::now()).unwrap_or(Duration::ZERO)
}

/// A stream's state and its places in the publisher and the ledger, which it leaves when dropped.
struct Session<P: Protocol> {
    shared: Arc<Shared>,
    state: P,
    group: Group,
    form: Form,
    node: Arc<str>,
    stream: StreamId,
    watcher: Arc<Watcher>,
    joining: Option<OwnedSemaphorePermit>,
    join_until: Instant,
}

impl<P: Protocol> Session<P> {
    fn open(
        shared: Arc<Shared>,
        group: Group,
        form: Form,
        node: Arc<str>,
        joining: Option<OwnedSemaphorePermit>,
    ) -> Self {
        let (stream, watcher) = shared.publisher.join(&group, form, node.clone());
        shared.metrics.streams.inc();
        info!(%node, %group, ?form, "proxy connected");
        let join_until = Instant::now() + shared.limits.join_wait;
        let state = P::new(form, shared.limits);
        Self { shared, state, group, form, node, stream, watcher, joining, join_until }
    }

    fn request(&mut self, request: &P::Request) -> Result<(), Status> {
        let Some(kind) = ResourceType::from_type_url(P::type_url(request)) else {
            debug!(node = %self.node, type_url = P::type_url(request), "unknown type is not answered");
            return Ok(());
        };
        let answer = self
            .state
            .on_request(kind, request)
            .map_err(|violation| Status::resource_exhausted(violation.to_string()))?;
        if let Some(interest) = self.state.interest(kind).filter(|_| P::subscribes(request)) {
            self.watcher.set_interest(kind, interest);
        }
        let nack = match answer {
            Answer::None => return Ok(()),
            Answer::Taken => None,
            Answer::Refused(nack) => Some(nack),
        };
        self.shared.metrics.answered(kind, nack.is_none());
        if let Some(nack) = &nack {
            let (resource, origin) = (nack.resource.as_deref(), nack.origin.as_deref());
            warn!(node = %self.node, r#type = %kind, resource, origin, text = nack.text, "proxy refused configuration");
        }
        self.shared.publisher.ledger().answered(&self.group, self.stream, kind, nack);
        Ok(())
    }

    /// Sends all that may be sent now.
    async fn pump(&mut self, outbound: &mpsc::Sender<Result<P::Response, Status>>) -> Result<(), Status> {
        let publisher = self.shared.publisher.clone();
        loop {
            let Some(current) = publisher.current(&self.group, self.form) else { return Ok(()) };
            if self.state.sequence() < Some(current.sequence) {
                self.state.on_snapshot(current.clone());
            }
            while let Some(response) = self.state.next_response() {
                self.shared.metrics.pushed(response.kind, response.count, response.message.encoded_len());
                let ledger = publisher.ledger();
                ledger.sent(&self.group, self.stream, response.kind, &response.nonce, &current.version);
                if outbound.send(Ok(response.message)).await.is_err() {
                    return Ok(());
                }
            }
            if self.state.settled() {
                self.joining = None;
                publisher.ledger().settled(&self.group, self.stream, &current);
            }
            // A set that was published meanwhile either woke this stream or carries on what was settled above.
            if publisher.current(&self.group, self.form).is_none_or(|s| s.sequence <= current.sequence) {
                return Ok(());
            }
        }
    }
}

impl<P: Protocol> Drop for Session<P> {
    fn drop(&mut self) {
        self.shared.publisher.leave(&self.group, self.form, self.stream);
        self.shared.metrics.streams.dec();
        info!(node = %self.node, group = %self.group, "proxy disconnected");
    }
}
