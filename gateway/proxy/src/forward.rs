// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Forwarding: choose a cluster, change the head for it, try hosts until one answers or the time is over.

mod head;

use crate::affinity::Affinity;
use crate::answer::{Answer, Failure, Source, from_filter, is_grpc};
use crate::connection::Serving;
use crate::deadline::{Deadline, Over, TimeLimits, stream_limit};
use crate::idle::IdleTimer;
use crate::mirror;
use crate::mutations::reads_request;
use crate::record::Record;
use crate::request::is_bare;
use crate::request_body::{BodySource, RequestBody};
use crate::response_body::{Payload, UpstreamPayload};
use crate::retry::{Attempt, Tried, Tries};
use crate::routing::Chosen;
use crate::steer::Steering;
use crate::tunnel::TunnelLimits;
use crate::upgrade::Upgrade;
use gateway_config::{Forward, HeaderMutations, Mirror, RouteFound, RouteTable, WeightedCluster};
use gateway_filter_api::{RequestHead, ResponseFlags, ResponseHead};
use gateway_upstream::{Client, PickContext, PickError, Picked, UpstreamBody};
use http::header::{CONNECTION, HOST, SET_COOKIE};
use http::uri::{Authority, Parts};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

/// A request that is to be forwarded.
#[derive(Debug)]
pub(crate) struct Exchange<'a, 'h> {
    pub(crate) serving: &'a Serving,
    pub(crate) table: &'a RouteTable,
    pub(crate) found: RouteFound<'a>,
    pub(crate) forward: &'a Forward,
    /// The cluster that it goes to; filters have seen the same.
    pub(crate) chosen: Option<&'h Chosen<'a>>,
    pub(crate) steering: Steering<'a>,
    pub(crate) head: &'h mut RequestHead,
    pub(crate) body: Option<Rc<BodySource>>,
    pub(crate) upgrade: Option<Upgrade>,
}

/// Forwards a request.
pub(crate) async fn forward<'a>(record: &mut Record, mut exchange: Exchange<'a, '_>) -> Answer<'a> {
    let snapshot = &exchange.serving.snapshot;
    // A filter may have made it gRPC; the head may be gone when the answer is made.
    record.grpc = is_grpc(exchange.head);
    let Some(chosen) = exchange.chosen else {
        return cluster_not_found(record, &exchange);
    };
    let cluster = chosen.cluster;
    let Some(known) = snapshot.clusters.get(chosen.name()) else {
        return cluster_not_found(record, &exchange);
    };
    let affinity = match &*exchange.forward.hash_policies {
        [] => Affinity::default(),
        policies => Affinity::of(policies, exchange.head, record.connection.info()),
    };
    let limits = exchange.limits(record);
    if let Some(upgrade) = &mut exchange.upgrade {
        upgrade.shake_hands(exchange.head);
    }
    exchange.change_head(record, chosen, known.protocol);
    record.keep_changes(exchange.head);
    // A request for a tunnel has no copies, and no end from which the upstream's time could count.
    let asked = exchange.upgrade.is_some();
    if !asked {
        for copy in mirrors(exchange.forward, exchange.table) {
            mirror::send(copy, exchange.head, exchange.body.as_ref(), record);
        }
    }
    let mut deadline = Deadline::new(limits, exchange.body.clone());
    match exchange.run(record, (chosen, affinity.hash), &mut deadline).await {
        Ok(response) => {
            record.upstream_answered(response.version());
            let mut answer = if exchange.is_switch(&response) {
                match exchange.switch(record, response, (&deadline, cluster)) {
                    Ok(answer) => answer,
                    Err(failure) => {
                        record.flags |= failure.flags;
                        record.details = Some(failure.details.into());
                        return failure.answer(record.grpc);
                    }
                }
            } else {
                if asked && response.status().is_success() {
                    record.details = Some("websocket_handshake_unsuccessful".into());
                }
                exchange.answered(response, deadline, cluster)
            };
            if !asked {
                exchange.tell_time(record, &mut answer.head.headers);
            }
            exchange.tell_attempts(record, &mut answer.head.headers);
            for cookie in affinity.cookies {
                answer.head.headers.append(SET_COOKIE, cookie);
            }
            answer
        }
        Err(failure) => {
            if let Some(local) = exchange.body.as_ref().and_then(|body| body.take_answer()) {
                let (answer, details) = from_filter(*local, record.grpc);
                record.details = Some(details);
                return answer;
            }
            record.flags |= failure.flags;
            record.details = Some(record.with_cause(failure.details));
            let mut answer = failure.answer(record.grpc);
            exchange.tell_attempts(record, &mut answer.head.headers);
            exchange.tell_overflow(failure, &mut answer.head.headers);
            answer
        }
    }
}

/// Clusters that get a copy: the route's, else the table's.
pub(crate) fn mirrors<'a>(forward: &'a Forward, table: &'a RouteTable) -> &'a [Mirror] {
    if forward.mirrors.is_empty() { &table.settings.mirrors } else { &forward.mirrors }
}

fn cluster_not_found<'a>(record: &mut Record, exchange: &Exchange<'a, '_>) -> Answer<'a> {
    record.serving.settings.metrics.no_cluster.increment();
    record.flags |= ResponseFlags::NO_CLUSTER;
    record.details = Some("cluster_not_found".into());
    let failure = Failure { status: exchange.forward.cluster_not_found, ..Failure::NO_ROUTE };
    failure.answer(record.grpc)
}

impl<'a> Exchange<'a, '_> {
    /// Its time limits; a `grpc-timeout` in the head becomes what counts.
    fn limits(&mut self, record: &Record) -> TimeLimits {
        let timeouts = &self.serving.settings.http.timeouts;
        let stream =
            stream_limit(&mut self.head.headers, record.grpc, self.forward.duration, timeouts.max_stream);
        TimeLimits {
            request: self.steering.timeout,
            idle: self.forward.idle_timeout.or(timeouts.stream_idle),
            stream: stream.map(|limit| record.began() + limit),
        }
    }

    fn over(&self, over: Over, deadline: &Deadline) -> Failure {
        let status = match deadline.request_ended() {
            true => StatusCode::GATEWAY_TIMEOUT,
            false => StatusCode::REQUEST_TIMEOUT,
        };
        match over {
            Over::Request => Failure { status: self.steering.timeout_status, ..Failure::TIMEOUT },
            Over::Stream => Failure { status, ..Failure::DURATION },
            Over::Idle => Failure { status, ..Failure::IDLE },
        }
    }

    /// The request's time is over before its cluster answered.
    fn given_up(&self, picked: &Picked<RequestBody>, over: Over, deadline: &Deadline) -> Failure {
        if over == Over::Request {
            picked.state().metrics.upstream_rq_timeout.add(1);
        }
        let failure = self.over(over, deadline);
        picked.count_answer(failure.status);
        failure
    }

    /// Tries hosts until one answers for good.
    async fn run(
        &mut self,
        record: &mut Record,
        (chosen, hash): (&Chosen<'_>, Option<u64>),
        deadline: &mut Deadline,
    ) -> Result<Response<UpstreamBody<RequestBody>>, Failure> {
        let worker = Rc::clone(record.connection.worker());
        let upstreams = worker.upstreams();
        let info = record.connection.info();
        let client = Client { id: info.id, remote: info.remote, local: info.local };
        let policy = self.steering.retry.take();
        let mut tries = Tries::new(policy.as_deref(), self.steering.per_try);
        let mut unsent: Option<Box<Request<RequestBody>>> = None;
        loop {
            let context = PickContext {
                hash,
                metadata: Some(&chosen.cluster.metadata),
                headers: Some(&self.head.headers),
                priority: self.forward.priority,
                client: Some(client),
                ..tries.context()
            };
            record.attempts += 1;
            let picked = upstreams.pick(&self.serving.snapshot, chosen.name(), &context).map_err(
                |error| match error {
                    PickError::NoHealthy => {
                        let state = worker.shared().upstream.cluster(chosen.name());
                        state.metrics.count_status(Failure::NO_HEALTHY_UPSTREAM.status);
                        Failure::NO_HEALTHY_UPSTREAM
                    }
                    PickError::NoCluster => Failure {
                        status: self.forward.cluster_not_found,
                        flags: ResponseFlags::NO_CLUSTER,
                        ..Failure::NO_ROUTE
                    },
                },
            )?;
            record.upstream = Some(Arc::clone(picked.host()));
            let mut request = match unsent.take() {
                Some(request) => *request,
                None => self.request(tries.may_retry()),
            };
            self.address(record, &mut request, &picked);
            if record.attempts > 1 {
                self.mark_retry(record, &tries, request.headers_mut());
            }
            let mut send = pin!(upstreams.attempt(&picked, request));
            let attempt = tokio::select! {
                biased;
                attempt = tries.attempt(send.as_mut()) => attempt,
                over = deadline.expired() => {
                    if over == Over::Request {
                        picked.report_timeout();
                    }
                    return Err(self.given_up(&picked, over, deadline));
                }
            };
            if let Tried::Error(error) = &attempt {
                record.keep_failure(error);
            }
            match tries.judge(attempt, &picked, self.body.as_deref())? {
                Attempt::Answered(response, exhausted) => {
                    if exhausted {
                        record.flags |= ResponseFlags::RETRY_LIMIT;
                    }
                    return Ok(response);
                }
                Attempt::Again(request) => unsent = request,
            }
            tokio::select! {
                () = tries.back_off() => {}
                over = deadline.expired() => return Err(self.given_up(&picked, over, deadline)),
            }
        }
    }

    /// The request for one attempt; the last possible one takes the headers rather than copy them.
    fn request(&mut self, keep: bool) -> Request<RequestBody> {
        let keep = keep
            || self.forward.internal_redirects.is_some()
            || self.serving.settings.http.local_replies.is_some()
            || self.response_changes().any(reads_request);
        let headers = if keep { self.head.headers.clone() } else { std::mem::take(&mut self.head.headers) };
        let mut request = Request::new(RequestBody::new(self.body.as_ref()));
        *request.method_mut() = self.head.method.clone();
        *request.uri_mut() = target(self.head);
        *request.version_mut() = self.head.version;
        *request.headers_mut() = headers;
        request.headers_mut().insert(HOST, self.head.authority.clone());
        if self.body.is_some() && self.head.version != Version::HTTP_2 && is_bare(&self.head.method) {
            request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(switch) =
            self.upgrade.as_ref().and_then(|upgrade| upgrade.switch(self.forward, &self.head.method))
        {
            request.extensions_mut().insert(switch);
        }
        request
    }

    fn response_changes(&self) -> impl Iterator<Item = &'a HeaderMutations> {
        let (table, found) = (self.table, self.found);
        let clusters = self.forward.clusters.clusters.iter().map(|cluster| &cluster.response_headers);
        clusters.chain([
            &table.settings.response_headers,
            &found.virtual_host.response_headers,
            &found.route.response_headers,
        ])
    }

    fn answered(
        &self,
        response: Response<UpstreamBody<RequestBody>>,
        deadline: Deadline,
        cluster: &'a WeightedCluster,
    ) -> Answer<'a> {
        let (parts, body) = response.into_parts();
        let idle = self.forward.idle_timeout.or(self.serving.settings.http.timeouts.stream_idle);
        let per_try_idle = self.forward.retry.as_ref().and_then(|retry| retry.per_try_idle_timeout);
        let ended = http_body::Body::is_end_stream(&body);
        let payload = if ended {
            Payload::Empty
        } else {
            Payload::Upstream(Box::new(UpstreamPayload {
                body,
                deadline: deadline.into_sleep(),
                idle: IdleTimer::new(
                    per_try_idle.into_iter().chain(idle).filter(|limit| !limit.is_zero()).min(),
                ),
            }))
        };
        Answer {
            head: ResponseHead { status: parts.status, headers: parts.headers },
            payload,
            source: Source::Cluster(cluster),
            form: None,
        }
    }

    /// Whether the upstream's answer opens a tunnel, or pretends to.
    fn is_switch(&self, response: &Response<UpstreamBody<RequestBody>>) -> bool {
        response.status() == StatusCode::SWITCHING_PROTOCOLS
            || self.upgrade.as_ref().is_some_and(|upgrade| upgrade.is_granted(response))
    }

    /// From here on bytes pass both ways.
    ///
    /// # Errors
    /// The failure to answer with where they must not.
    fn switch(
        &mut self,
        record: &Record,
        response: Response<UpstreamBody<RequestBody>>,
        (deadline, cluster): (&Deadline, &'a WeightedCluster),
    ) -> Result<Answer<'a>, Failure> {
        let Some(upgrade) = self.upgrade.take() else {
            return Err(Failure {
                status: StatusCode::BAD_GATEWAY,
                flags: ResponseFlags::UPSTREAM_PROTOCOL_ERROR,
                ..Failure::bad_request("upgrade_not_asked_for")
            });
        };
        if self.head.version != Version::HTTP_2 && record.connection.stream().refusal().is_some() {
            // The client sent something behind its request that was no request: it must not become part of the tunnel.
            return Err(Failure::bad_request("data_before_upgrade"));
        }
        if !upgrade.is_answered_by(&response) {
            return Err(Failure {
                status: StatusCode::BAD_GATEWAY,
                flags: ResponseFlags::UPSTREAM_PROTOCOL_ERROR,
                ..Failure::bad_request("websocket_accept_mismatch")
            });
        }
        let idle = self.forward.idle_timeout.or(self.serving.settings.http.timeouts.stream_idle);
        let limits = TunnelLimits { idle: idle.filter(|limit| !limit.is_zero()), end: deadline.stream_end() };
        let (status, headers, tunnel) = upgrade.open(response, limits);
        Ok(Answer {
            head: ResponseHead { status, headers },
            payload: Payload::Tunnel(tunnel),
            source: Source::Cluster(cluster),
            form: None,
        })
    }
}

/// The target of the request: CONNECT has a host and no path (RFC 9112, 3.2.3).
fn target(head: &RequestHead) -> Uri {
    let host = (head.method == Method::CONNECT).then(|| Authority::try_from(head.authority.as_bytes()));
    match host {
        Some(Ok(host)) => {
            let mut parts = Parts::default();
            parts.authority = Some(host);
            Uri::from_parts(parts).unwrap_or_default()
        }
        _ => Uri::from(head.path.clone()),
    }
}
