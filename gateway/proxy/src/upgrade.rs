// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Requests that want their connection, or stream, for bytes of another kind: upgrades such as WebSocket (RFC 9110, section 7.8; RFC 8441
//! over HTTP/2) and CONNECT. Once granted, bytes pass both ways until either side or a limit ends them.

use crate::answer::Failure;
use crate::http_settings::HttpSettings;
use crate::record::Record;
use crate::request_body::RequestBody;
use crate::tunnel::{self, Traffic, TunnelEnd, TunnelLimits};
use crate::websocket::Handshake;
use gateway_config::{Forward, UpgradeRule};
use gateway_filter_api::{RequestHead, ResponseFlags};
use gateway_upstream::{Switch, UpstreamBody, UpstreamTunnel};
use http::header::{CONNECTION, CONTENT_LENGTH, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::fmt;
use std::rc::Rc;

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wish {
    /// Another protocol.
    Protocol(HeaderValue),
    /// Bytes for the host that the request names.
    Connect,
}

impl Wish {
    /// As the rules name it.
    fn name(&self) -> &[u8] {
        match self {
            Self::Protocol(name) => name.as_bytes(),
            Self::Connect => b"connect",
        }
    }
}

/// A request that may want its connection; of HTTP/1.1, `Connection` has to say so as well.
#[derive(Debug)]
pub(crate) struct Offer {
    client: OnUpgrade,
    wish: Option<Wish>,
}

/// A request that wants its connection or stream.
#[derive(Debug)]
pub(crate) struct Upgrade {
    client: OnUpgrade,
    wish: Wish,
    websocket: Option<Handshake>,
}

impl Offer {
    /// Takes the handle of the connection or stream out of a request that asks for it. A request for an upgrade over HTTP/2 is from here
    /// on what it would be over HTTP/1.1.
    pub(crate) fn of(request: &mut Request<Incoming>) -> Option<Self> {
        let wish = if *request.method() == Method::CONNECT {
            match request.extensions_mut().remove::<Protocol>() {
                None => Some(Wish::Connect),
                Some(protocol) => {
                    *request.method_mut() = Method::GET;
                    Some(Wish::Protocol(HeaderValue::from_str(protocol.as_str()).ok()?))
                }
            }
        } else if request.version() == Version::HTTP_11 && request.headers().contains_key(UPGRADE) {
            None
        } else {
            return None;
        };
        Some(Self { client: hyper::upgrade::on(request), wish })
    }

    /// The request for an upgrade, where it is one; `protocol` is what `Upgrade` and `Connection` say together.
    pub(crate) fn confirm(self, protocol: Option<HeaderValue>) -> Option<Upgrade> {
        let wish = self.wish.or_else(|| protocol.map(Wish::Protocol))?;
        Some(Upgrade { client: self.client, wish, websocket: None })
    }
}

impl Upgrade {
    /// Checks the wish against the route's and the listener's rules.
    ///
    /// # Errors
    /// 403, as Envoy answers what is not allowed.
    pub(crate) fn check(&self, settings: &HttpSettings, forward: Option<&Forward>) -> Result<(), Failure> {
        let own = forward.map_or(&[][..], |forward| &forward.upgrades);
        let rule = own.iter().chain(&settings.http.upgrades).find(|rule| self.is_meant(rule));
        if rule.is_some_and(|rule| rule.enabled) { Ok(()) } else { Err(Failure::UPGRADE) }
    }

    fn is_meant(&self, rule: &UpgradeRule) -> bool {
        rule.protocol.as_bytes().eq_ignore_ascii_case(self.wish.name())
    }

    /// Looks after WebSocket's own handshake, which HTTP/2 does without.
    pub(crate) fn shake_hands(&mut self, head: &mut RequestHead) {
        if self.wish.name().eq_ignore_ascii_case(b"websocket") {
            self.websocket = Handshake::of(&mut head.headers, head.version == Version::HTTP_2);
        }
    }

    /// Whether an answer that grants the wish is one to this request.
    pub(crate) fn is_answered_by<B>(&self, response: &Response<B>) -> bool {
        response.version() == Version::HTTP_2
            || self.websocket.as_ref().is_none_or(|websocket| websocket.is_answered_by(response.headers()))
    }

    /// What the upstream is asked for; none where CONNECT goes on as it is.
    pub(crate) fn switch(&self, forward: &Forward, method: &Method) -> Option<Switch> {
        match &self.wish {
            Wish::Protocol(protocol) => {
                Some(Switch::Upgrade { protocol: protocol.clone(), method: method.clone() })
            }
            Wish::Connect => {
                let rule = forward.upgrades.iter().find(|rule| self.is_meant(rule));
                rule.is_some_and(|rule| rule.terminates).then_some(Switch::Terminate)
            }
        }
    }

    /// Whether an answer grants the wish.
    pub(crate) fn is_granted<B>(&self, response: &Response<B>) -> bool {
        let success = response.status().is_success();
        match self.wish {
            Wish::Protocol(_) if response.version() == Version::HTTP_2 => success,
            Wish::Protocol(_) => response.status() == StatusCode::SWITCHING_PROTOCOLS,
            Wish::Connect => success,
        }
    }

    /// The tunnel that an answer opens, and the answer's head.
    pub(crate) fn open(
        self,
        response: Response<UpstreamBody<RequestBody>>,
        limits: TunnelLimits,
    ) -> (StatusCode, HeaderMap, Box<Tunnel>) {
        let (parts, upstream) = UpstreamTunnel::of(response);
        let status = match self.wish {
            Wish::Protocol(_) => StatusCode::SWITCHING_PROTOCOLS,
            Wish::Connect => parts.status,
        };
        let Self { client, wish, websocket } = self;
        (status, parts.headers, Box::new(Tunnel { client, wish, websocket, upstream, limits }))
    }
}

/// A tunnel that begins with the answer to its request.
pub(crate) struct Tunnel {
    client: OnUpgrade,
    wish: Wish,
    websocket: Option<Handshake>,
    upstream: UpstreamTunnel<RequestBody>,
    limits: TunnelLimits,
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel").field("wish", &self.wish).finish_non_exhaustive()
    }
}

impl Tunnel {
    /// The answer's status on the client's connection, and its headers.
    pub(crate) fn dress(&self, status: StatusCode, headers: &mut HeaderMap, version: Version) -> StatusCode {
        // RFC 9110, 9.3.6 and 15.2: neither has a body.
        headers.remove(CONTENT_LENGTH);
        if let Some(websocket) = &self.websocket {
            websocket.answer(headers);
        }
        match &self.wish {
            Wish::Connect => status,
            Wish::Protocol(_) if version == Version::HTTP_2 => StatusCode::OK,
            Wish::Protocol(protocol) => {
                headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
                headers.insert(UPGRADE, protocol.clone());
                status
            }
        }
    }

    /// Lets bytes pass as soon as the answer is out; the request lasts until the tunnel ends.
    pub(crate) fn start(self, record: Box<Record>, version: Version) {
        let connection = Rc::clone(&record.connection);
        let task = tokio::task::spawn_local(self.run(record));
        if version != Version::HTTP_2 {
            connection.stream().become_tunnel();
            connection.keep_tunnel(task);
        }
    }

    async fn run(self, mut record: Box<Record>) {
        let settings = Rc::clone(&record.serving.settings);
        settings.metrics.downstream_cx_upgrades_total.increment();
        settings.metrics.downstream_cx_upgrades_active.increment();
        let traffic = Traffic::default();
        let listener = Rc::clone(record.connection.listener());
        let end = match (self.client.await, self.upstream.open().await) {
            (Ok(client), Ok(upstream)) => {
                let (mut client, mut upstream) = (TokioIo::new(client), upstream);
                let sides = (&mut client, &mut upstream);
                Some(tunnel::pass(sides, (&traffic, None), self.limits, &listener).await)
            }
            (Err(error), _) | (_, Err(error)) => {
                tracing::debug!(%error, "tunnel did not begin");
                None
            }
        };
        settings.metrics.downstream_cx_upgrades_active.decrement();
        record.bytes_sent += traffic.sent.get();
        record.tunnelled += traffic.received.get();
        let (flags, details) = match end {
            Some(TunnelEnd::Idle) => (ResponseFlags::STREAM_IDLE_TIMEOUT, "stream_idle_timeout"),
            Some(TunnelEnd::Late) => (ResponseFlags::NONE, "max_duration_timeout"),
            Some(TunnelEnd::Closed) => {
                settings.metrics.drain_forced.increment();
                (ResponseFlags::NONE, "listener_closed")
            }
            Some(TunnelEnd::Broken(error)) => {
                tracing::debug!(%error, "tunnel ended");
                (ResponseFlags::NONE, "")
            }
            Some(TunnelEnd::Finished) => (ResponseFlags::NONE, ""),
            // The client went before its answer was out.
            None => return,
        };
        // A tunnel has no end that could be missing.
        record.complete = true;
        record.flags |= flags;
        if !details.is_empty() {
            record.details = Some(details.into());
        }
    }
}
