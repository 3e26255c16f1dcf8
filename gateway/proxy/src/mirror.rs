// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Copies of requests to other clusters. Nobody waits for them, and their answers are thrown away.

use crate::record::Record;
use crate::request_body::{BodySource, RequestBody};
use gateway_config::Mirror;
use gateway_filter_api::RequestHead;
use gateway_upstream::PickContext;
use http::header::{HOST, TE};
use http::{HeaderValue, Request, Uri};
use http_body::Body;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

/// A copy takes no longer than this.
const LIMIT: Duration = Duration::from_secs(15);

/// The authority of a copy: `host-shadow`, before the port.
fn shadow_authority(mirror: &Mirror, authority: &HeaderValue) -> HeaderValue {
    if !mirror.shadow_suffix {
        return authority.clone();
    }
    let bytes = authority.as_bytes();
    let colon = bytes.iter().rposition(|&byte| byte == b':').filter(|&at| !bytes[at..].contains(&b']'));
    let (host, port) = bytes.split_at(colon.unwrap_or(bytes.len()));
    HeaderValue::from_bytes(&[host, b"-shadow", port].concat()).unwrap_or_else(|_| authority.clone())
}

/// Sends a copy once the body is there; a body above the buffer's limit makes none.
pub(crate) fn send(mirror: &Mirror, head: &RequestHead, body: Option<&Rc<BodySource>>, record: &Record) {
    if mirror.fraction.is_some_and(|fraction| !fraction.accepts(rand::random())) {
        return;
    }
    let mut request = Request::new(RequestBody::default());
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = Uri::from(head.path.clone());
    *request.version_mut() = head.version;
    request.headers_mut().clone_from(&head.headers);
    request.headers_mut().insert(HOST, shadow_authority(mirror, &head.authority));
    request.headers_mut().remove(TE);
    let worker = Rc::clone(record.connection.worker());
    let snapshot = Rc::clone(&record.serving.snapshot);
    let cluster = mirror.cluster.clone();
    let body = body.cloned();
    let copy = async move {
        if let Some(body) = body {
            body.ended().await;
            let Some(pieces) = body.whole() else { return };
            *request.body_mut() = RequestBody::copy(pieces);
        }
        let upstreams = worker.upstreams();
        let Ok(picked) = upstreams.pick(&snapshot, &cluster, &PickContext::default()) else { return };
        let Ok(response) = upstreams.send(&picked, request).await else { return };
        // Read to the end, so that the connection can be used again.
        let mut body = response.into_body();
        while let Some(Ok(_)) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {}
    };
    tokio::task::spawn_local(async move { drop(tokio::time::timeout(LIMIT, copy).await) });
}
