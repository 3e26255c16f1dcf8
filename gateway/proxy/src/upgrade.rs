// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Upgrades (WebSocket): after 101 on both sides, bytes pass both ways until either side ends (RFC 9110, section 7.8).

use crate::answer::{Answer, Failure, Source};
use crate::connection::Connection;
use crate::http_settings::HttpSettings;
use crate::listener::Phase;
use crate::record::Record;
use crate::request_body::RequestBody;
use crate::response_body::Payload;
use gateway_config::Forward;
use gateway_filter_api::{ResponseFlags, ResponseHead};
use gateway_upstream::UpstreamBody;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::rc::Rc;
use tokio::io::copy_bidirectional;

/// What a client offers to change to.
#[derive(Debug)]
pub(crate) struct Upgrade {
    client: OnUpgrade,
    protocol: HeaderValue,
}

impl Upgrade {
    /// Takes the handle for an upgrade out of a request that asks for one.
    pub(crate) fn offered(request: &mut Request<Incoming>) -> Option<Self> {
        let asks = request.version() == Version::HTTP_11 && request.headers().contains_key(UPGRADE);
        asks.then(|| Self { client: hyper::upgrade::on(request), protocol: HeaderValue::from_static("") })
    }

    /// Checks the protocol against the route's and the listener's rules. `protocol` is none where the request asked wrongly (no
    /// `Connection: upgrade`) or for something that is always ignored.
    ///
    /// # Errors
    /// 403, as Envoy answers an upgrade that is not allowed.
    pub(crate) fn allow(
        offered: Option<Self>,
        protocol: Option<&HeaderValue>,
        settings: &HttpSettings,
        forward: &Forward,
    ) -> Result<Option<Self>, Failure> {
        let (Some(offered), Some(protocol)) = (offered, protocol) else { return Ok(None) };
        let rules = forward.upgrades.iter().chain(&settings.http.upgrades);
        let rule =
            rules.into_iter().find(|rule| rule.protocol.as_bytes().eq_ignore_ascii_case(protocol.as_bytes()));
        match rule {
            Some(rule) if rule.enabled => Ok(Some(Self { protocol: protocol.clone(), ..offered })),
            _ => Err(Failure::UPGRADE),
        }
    }

    /// What the upstream is asked for.
    pub(crate) fn protocol(&self) -> &HeaderValue {
        &self.protocol
    }

    /// The upstream agreed: answers 101 and starts the tunnel.
    pub(crate) fn accept<'a>(
        self,
        record: &mut Record,
        response: Response<UpstreamBody<RequestBody>>,
    ) -> Answer<'a> {
        let connection = Rc::clone(&record.connection);
        if connection.stream().refusal().is_some() {
            // The client sent something behind its request that was no request: it must not become part of the tunnel.
            record.flags |= ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR;
            return Failure::bad_request("data_before_upgrade").answer(false);
        }
        connection.stream().become_tunnel();
        let mut response = response;
        let upstream = hyper::upgrade::on(&mut response);
        let (parts, body) = response.into_parts();
        tokio::task::spawn_local(tunnel(self.client, upstream, body, connection));
        let mut headers = parts.headers;
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.entry(UPGRADE).or_insert(self.protocol);
        let head = ResponseHead { status: StatusCode::SWITCHING_PROTOCOLS, headers };
        Answer { head, payload: Payload::Empty, source: Source::Tunnel, form: None }
    }
}

/// Passes bytes both ways; `body` keeps the request counted at its host until the end.
async fn tunnel(
    client: OnUpgrade,
    upstream: OnUpgrade,
    body: UpstreamBody<RequestBody>,
    connection: Rc<Connection>,
) {
    let settings = connection.settings();
    settings.metrics.downstream_cx_upgrades_total.increment();
    settings.metrics.downstream_cx_upgrades_active.increment();
    let closing = Rc::clone(connection.listener()).reached(Phase::Closed);
    let pass = async {
        let (Ok(client), Ok(upstream)) = (client.await, upstream.await) else { return };
        let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
        if let Err(error) = copy_bidirectional(&mut client, &mut upstream).await {
            tracing::debug!(%error, "tunnel ended");
        }
    };
    tokio::select! {
        () = pass => {}
        () = closing => settings.metrics.drain_forced.increment(),
    }
    settings.metrics.downstream_cx_upgrades_active.decrement();
    drop(body);
}
