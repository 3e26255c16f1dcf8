// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! One check of one host: HTTP, gRPC or TCP, over the same kind of connection that requests take.

use super::verdict::Checked;
use super::{Settings, Target, grpc};
use crate::connect::{self, ConnectSettings, Established};
use crate::pool_key::PoolKey;
use crate::stream::ConnectionCount;
use crate::wire;
use bytes::{Bytes, BytesMut};
use gateway_config::{HealthProbe, HttpProbe};
use http::header::{HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use http_body::Body;
use http_body_util::Full;
use hyper::body::Incoming;
use std::error::Error;
use std::fmt::Write;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Tells that a host wants no requests from now on.
pub(crate) static IMMEDIATE_FAILURE: HeaderName =
    HeaderName::from_static("x-envoy-immediate-health-check-fail");
static DEGRADED: HeaderName = HeaderName::from_static("x-envoy-degraded");
/// As much of an answer is read to keep its connection, bytes.
const MAX_ANSWER: usize = 64 << 10;

/// Checks one host again and again.
pub(super) struct Prober<'a> {
    settings: &'a Settings,
    authority: &'a str,
    target: connect::Target,
    held: Option<Established<Full<Bytes>>>,
}

impl<'a> Prober<'a> {
    pub(super) fn new(settings: &'a Settings, target: &'a Target, connect: &Rc<ConnectSettings>) -> Self {
        let http2 = match &settings.check.probe {
            HealthProbe::Http(http) => http.http2,
            HealthProbe::Grpc { .. } => true,
            HealthProbe::Tcp { .. } => false,
        };
        let connect = connect::Target {
            address: target.address.clone(),
            hostname: target.hostname.clone(),
            connect_proxy: target.connect_proxy,
            settings: Rc::clone(connect),
            state: Arc::clone(&settings.own),
            key: PoolKey::default(),
            http2,
        };
        Self { settings, authority: &target.authority, target: connect, held: None }
    }

    /// Closes the connection.
    pub(super) fn hang_up(&mut self) {
        self.held = None;
    }

    /// One check.
    pub(super) async fn check(&mut self) -> Checked {
        let settings = self.settings;
        let result = match &settings.check.probe {
            HealthProbe::Http(http) => self.http(http).await,
            HealthProbe::Grpc { service, headers, .. } => self.grpc(service, headers).await,
            HealthProbe::Tcp { send, receive } => self.tcp(send, receive).await,
        };
        if result.is_err() || !settings.check.reuse_connection {
            self.hang_up();
        }
        result.unwrap_or_else(Checked::Unreachable)
    }

    async fn http(&mut self, probe: &HttpProbe) -> Result<Checked, String> {
        let mut request = Request::new(Full::new(probe.send.clone()));
        *request.method_mut() = probe.method.clone();
        *request.uri_mut() = probe.path.clone().into();
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static("Gatefleet/HC"));
        for name in &probe.without {
            request.headers_mut().remove(name);
        }
        for (name, value) in &probe.headers {
            request.headers_mut().insert(name.clone(), value.clone());
        }
        let response = self.exchange(request).await?;
        let (parts, mut body) = response.into_parts();
        let limit = if probe.receive.is_empty() { MAX_ANSWER } else { probe.body_limit };
        let whole = read(&mut body, limit, None).await?;
        if !Body::is_end_stream(&body) {
            self.hang_up();
        }
        let immediate = parts.headers.contains_key(&IMMEDIATE_FAILURE);
        let bad = |retriable, why| Checked::Unhealthy { retriable, immediate, why };
        Ok(if immediate {
            bad(false, "the host asked to be left alone".to_owned())
        } else if !probe.accepts(parts.status) {
            bad(probe.may_retry(parts.status), format!("status {}", parts.status.as_u16()))
        } else if !has_all(&whole, &probe.receive) {
            bad(false, "the answer's body is not as expected".to_owned())
        } else {
            Checked::Healthy { degraded: parts.headers.contains_key(&DEGRADED) }
        })
    }

    async fn grpc(
        &mut self,
        service: &str,
        headers: &[(HeaderName, HeaderValue)],
    ) -> Result<Checked, String> {
        let mut request = Request::new(Full::new(grpc::question(service)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = http::Uri::from_static("/grpc.health.v1.Health/Check");
        let own = request.headers_mut();
        own.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        own.insert(http::header::TE, HeaderValue::from_static("trailers"));
        own.insert(USER_AGENT, HeaderValue::from_static("Gatefleet/HC"));
        for (name, value) in headers {
            own.insert(name.clone(), value.clone());
        }
        let (parts, mut body) = self.exchange(request).await?.into_parts();
        let mut trailers = HeaderMap::new();
        let whole = read(&mut body, MAX_ANSWER, Some(&mut trailers)).await?;
        let immediate = parts.headers.contains_key(&IMMEDIATE_FAILURE);
        match grpc::verdict(parts.status, &parts.headers, &trailers, &whole) {
            Ok(()) if !immediate => Ok(Checked::Healthy { degraded: parts.headers.contains_key(&DEGRADED) }),
            Ok(()) => Ok(Checked::Unhealthy {
                retriable: false,
                immediate,
                why: "the host asked to be left alone".to_owned(),
            }),
            Err(why) => Ok(Checked::Unhealthy { retriable: false, immediate, why }),
        }
    }

    async fn exchange(&mut self, mut request: Request<Full<Bytes>>) -> Result<Response<Incoming>, String> {
        let host = HeaderValue::from_str(self.authority).map_err(|error| error.to_string())?;
        request.headers_mut().insert(HOST, host);
        if !self.held.as_ref().is_some_and(is_open) {
            let count = ConnectionCount::unlimited(&self.settings.own);
            self.held =
                Some(connect::connect(&self.target, count, || ()).await.map_err(|error| chain(&error))?);
        }
        let scheme = self.target.settings.scheme();
        let held = self.held.as_mut().ok_or("no connection")?;
        let http2 = matches!(held, Established::Http2(..));
        wire::prepare(&mut request, http2, scheme).map_err(|error| chain(&error))?;
        let answer = match held {
            Established::Http1(sender) => {
                sender.ready().await.map_err(|error| chain(&error))?;
                sender.send_request(request).await
            }
            Established::Http2(sender, _) => {
                sender.ready().await.map_err(|error| chain(&error))?;
                sender.send_request(request).await
            }
        };
        answer.map_err(|error| chain(&error))
    }

    async fn tcp(&mut self, send: &Bytes, receive: &[Bytes]) -> Result<Checked, String> {
        let count = ConnectionCount::unlimited(&self.settings.own);
        let mut stream = connect::raw(&self.target, count).await.map_err(|error| chain(&error))?;
        let failed = |error: std::io::Error| chain(&error);
        stream.write_all(send).await.map_err(failed)?;
        stream.flush().await.map_err(failed)?;
        let mut seen = BytesMut::new();
        while !has_all(&seen, receive) {
            if seen.len() >= MAX_ANSWER || stream.read_buf(&mut seen).await.map_err(failed)? == 0 {
                return Err("what came back is not as expected".to_owned());
            }
        }
        Ok(Checked::Healthy { degraded: false })
    }
}

fn is_open(held: &Established<Full<Bytes>>) -> bool {
    match held {
        Established::Http1(sender) => !sender.is_closed(),
        Established::Http2(sender, _) => !sender.is_closed(),
    }
}

/// Reads a body up to a limit.
async fn read(
    body: &mut Incoming,
    limit: usize,
    mut trailers: Option<&mut HeaderMap>,
) -> Result<BytesMut, String> {
    let mut whole = BytesMut::new();
    while whole.len() < limit {
        let Some(frame) = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await else { break };
        match frame.map_err(|error| chain(&error))?.into_data() {
            Ok(data) => whole.extend_from_slice(&data),
            Err(frame) => {
                if let (Ok(found), Some(trailers)) = (frame.into_trailers(), trailers.as_deref_mut()) {
                    *trailers = found;
                }
            }
        }
    }
    Ok(whole)
}

/// Whether all parts are there, one after the other.
fn has_all(mut text: &[u8], parts: &[Bytes]) -> bool {
    for part in parts {
        let found = (0..text.len()).find(|at| text.get(*at..).is_some_and(|rest| rest.starts_with(part)));
        match found {
            Some(at) => text = text.get(at + part.len()..).unwrap_or_default(),
            None if part.is_empty() => {}
            None => return false,
        }
    }
    true
}

/// An error with what caused it.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        // Writing into a String cannot fail.
        let _ = write!(text, ": {source}");
        next = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::has_all;
    use bytes::Bytes;

    #[test]
    fn parts_come_in_order() {
        let parts = |parts: &[&'static str]| -> Vec<Bytes> {
            parts.iter().map(|part| Bytes::from_static(part.as_bytes())).collect()
        };
        for (wanted, expected) in [
            (parts(&[]), true),
            (parts(&["PONG"]), true),
            (parts(&["+", "G\r"]), true),
            (parts(&["G", "+"]), false),
            (parts(&["PONG", "PONG"]), false),
        ] {
            assert_eq!(has_all(b"+PONG\r\n", &wanted), expected, "{wanted:?}");
        }
    }
}
