// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Forwarding: choose a cluster, change the head for it, try hosts until one answers or the time is over.

use crate::affinity::Affinity;
use crate::answer::{Answer, Failure, Source, from_filter, is_grpc};
use crate::connection::Serving;
use crate::deadline::Deadline;
use crate::format::Values;
use crate::idle::IdleTimer;
use crate::mutations::{apply_to_request, ordered, reads_request};
use crate::record::Record;
use crate::request::is_bare;
use crate::request_body::{BodySource, RequestBody};
use crate::response_body::{Payload, UpstreamPayload};
use crate::retry::{Attempt, Tried, Tries};
use crate::upgrade::Upgrade;
use crate::{mirror, rewrite};
use gateway_config::{
    Forward, HeaderMutations, HostRewrite, RouteFound, RouteTable, UpstreamProtocol, WeightedCluster,
};
use gateway_filter_api::{RequestHead, ResponseFlags, ResponseHead};
use gateway_upstream::{PickContext, PickError, Picked, UpstreamBody};
use http::header::{CONNECTION, HOST, SET_COOKIE, TE, UPGRADE};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// A request that is to be forwarded.
#[derive(Debug)]
pub(crate) struct Exchange<'a, 'h> {
    pub(crate) serving: &'a Serving,
    pub(crate) table: &'a RouteTable,
    pub(crate) found: RouteFound<'a>,
    pub(crate) forward: &'a Forward,
    /// Decides which of the clusters; filters have seen the same.
    pub(crate) choice: u64,
    pub(crate) head: &'h mut RequestHead,
    pub(crate) body: Option<Rc<BodySource>>,
    pub(crate) upgrade: Option<Upgrade>,
}

/// Forwards a request.
pub(crate) async fn forward<'a>(record: &mut Record, mut exchange: Exchange<'a, '_>) -> Answer<'a> {
    let snapshot = &exchange.serving.snapshot;
    let Some(cluster) = exchange.forward.clusters.pick(exchange.choice) else {
        return cluster_not_found(record, &exchange);
    };
    record.keep_cluster(&cluster.name);
    let Some(known) = snapshot.clusters.get(&cluster.name) else {
        return cluster_not_found(record, &exchange);
    };
    let affinity = match &*exchange.forward.hash_policies {
        [] => Affinity::default(),
        policies => Affinity::of(policies, exchange.head, record.connection.info()),
    };
    exchange.change_head(record, cluster, known.protocol);
    record.keep_changes(exchange.head);
    for copy in &exchange.forward.mirrors {
        mirror::send(copy, exchange.head, exchange.body.as_ref(), record);
    }
    let mut deadline = Deadline::new(exchange.forward.timeout, exchange.body.clone());
    match exchange.run(record, (cluster, affinity.hash), &mut deadline).await {
        Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            exchange.switch(record, response)
        }
        Ok(response) => {
            record.upstream_answered(response.version());
            let mut answer = exchange.answered(response, deadline, cluster);
            for cookie in affinity.cookies {
                answer.head.headers.append(SET_COOKIE, cookie);
            }
            answer
        }
        Err(failure) => {
            if let Some(local) = exchange.body.as_ref().and_then(|body| body.take_answer()) {
                let (answer, details) = from_filter(*local, is_grpc(exchange.head));
                record.details = Some(details);
                return answer;
            }
            record.flags |= failure.flags;
            record.details = Some(failure.details.into());
            failure.answer(is_grpc(exchange.head))
        }
    }
}

fn cluster_not_found<'a>(record: &mut Record, exchange: &Exchange<'a, '_>) -> Answer<'a> {
    record.serving.settings.metrics.no_cluster.increment();
    record.flags |= ResponseFlags::NO_CLUSTER;
    record.details = Some("cluster_not_found".into());
    let failure = Failure { status: exchange.forward.cluster_not_found, ..Failure::NO_ROUTE };
    failure.answer(is_grpc(exchange.head))
}

impl<'a> Exchange<'a, '_> {
    /// Header changes, host and path for the upstream.
    fn change_head(&mut self, record: &Record, cluster: &WeightedCluster, protocol: UpstreamProtocol) {
        let (route, cluster_name) = (&*self.found.route.name, &*cluster.name);
        let values = Values {
            route: Some(route),
            cluster: Some(cluster_name),
            record: Some(record),
            ..Values::of(record.connection.info())
        };
        let (host, route) = (&self.found.virtual_host.request_headers, &self.found.route.request_headers);
        for mutations in ordered(
            &self.table.settings,
            &self.table.settings.request_headers,
            host,
            route,
            &cluster.request_headers,
        ) {
            apply_to_request(self.head, mutations, &values);
        }
        let host = match (&cluster.host_rewrite, &self.forward.host_rewrite) {
            (Some(host), _) | (None, Some(HostRewrite::Literal(host))) => Some(host.clone()),
            (None, Some(HostRewrite::Header(name))) => self.head.headers.get(name).cloned(),
            (None, Some(HostRewrite::FromEndpoint) | None) => None,
        };
        if let Some(host) = host.filter(|host| gateway_filter_api::is_authority(host.as_bytes())) {
            self.rewrite_host(host);
        }
        if let Some(changed) = self
            .forward
            .path_rewrite
            .as_ref()
            .and_then(|new| rewrite::path(new, self.found.route, &self.head.path))
        {
            self.head.path = changed;
        }
        if protocol == UpstreamProtocol::Http1 {
            // It would need `Connection: TE`; trailers of HTTP/1.1 are not negotiated onwards.
            self.head.headers.remove(TE);
        }
    }

    fn rewrite_host(&mut self, host: HeaderValue) {
        let before = std::mem::replace(&mut self.head.authority, host);
        if self.forward.append_forwarded_host {
            self.head.headers.insert(X_FORWARDED_HOST.clone(), before);
        }
    }

    /// Tries hosts until one answers for good.
    async fn run(
        &mut self,
        record: &mut Record,
        (cluster, hash): (&WeightedCluster, Option<u64>),
        deadline: &mut Deadline,
    ) -> Result<Response<UpstreamBody<RequestBody>>, Failure> {
        let worker = Rc::clone(record.connection.worker());
        let upstreams = worker.upstreams();
        let mut tries = Tries::new(self.forward.retry.as_ref());
        let mut unsent: Option<Box<Request<RequestBody>>> = None;
        loop {
            let context = PickContext { hash, metadata: Some(&cluster.metadata), ..tries.context() };
            let picked = upstreams.pick(&self.serving.snapshot, &cluster.name, &context).map_err(
                |error| match error {
                    PickError::NoHealthy => Failure::NO_HEALTHY_UPSTREAM,
                    PickError::NoCluster => Failure {
                        status: self.forward.cluster_not_found,
                        flags: ResponseFlags::NO_CLUSTER,
                        ..Failure::NO_ROUTE
                    },
                },
            )?;
            record.attempts += 1;
            record.upstream = Some(Arc::clone(picked.host()));
            let request = match unsent.take() {
                Some(request) => *request,
                None => self.request(&picked, tries.may_retry()),
            };
            let mut send = pin!(upstreams.send(&picked, request));
            let attempt = tokio::select! {
                biased;
                attempt = tries.attempt(send.as_mut()) => attempt,
                () = deadline.expired() => {
                    picked.report_timeout();
                    picked.state().metrics.upstream_rq_timeout.add(1);
                    return Err(Failure::TIMEOUT);
                }
            };
            if let Tried::Error(error) = &attempt {
                record.keep_failure(error);
            }
            match tries.judge(attempt, &picked, self.body.as_deref())? {
                Attempt::Answered(response) => return Ok(response),
                Attempt::Again(request) => unsent = request,
            }
            tokio::select! {
                () = tries.back_off() => {}
                () = deadline.expired() => return Err(Failure::TIMEOUT),
            }
        }
    }

    /// The request for one attempt; the last possible one takes the headers rather than copy them.
    fn request(&mut self, picked: &Picked<RequestBody>, keep: bool) -> Request<RequestBody> {
        if matches!(self.forward.host_rewrite, Some(HostRewrite::FromEndpoint))
            && let Some(host) = picked.hostname().and_then(|name| HeaderValue::from_str(name).ok())
        {
            self.rewrite_host(host);
        }
        let keep = keep || self.response_changes().any(reads_request);
        let headers = if keep { self.head.headers.clone() } else { std::mem::take(&mut self.head.headers) };
        let mut request = Request::new(RequestBody::new(self.body.as_ref()));
        *request.method_mut() = self.head.method.clone();
        *request.uri_mut() = Uri::from(self.head.path.clone());
        *request.version_mut() = self.head.version;
        *request.headers_mut() = headers;
        request.headers_mut().insert(HOST, self.head.authority.clone());
        if self.body.is_some() && self.head.version != Version::HTTP_2 && is_bare(&self.head.method) {
            request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(upgrade) = &self.upgrade {
            *request.version_mut() = Version::HTTP_11;
            request.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
            request.headers_mut().insert(UPGRADE, upgrade.protocol().clone());
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
        let ended = http_body::Body::is_end_stream(&body);
        let payload = if ended {
            Payload::Empty
        } else {
            Payload::Upstream(Box::new(UpstreamPayload {
                body,
                deadline: deadline.into_sleep(),
                idle: IdleTimer::new(idle),
            }))
        };
        Answer {
            head: ResponseHead { status: parts.status, headers: parts.headers },
            payload,
            source: Source::Cluster(cluster),
        }
    }

    /// The upstream changed the protocol: from here on bytes pass both ways.
    fn switch(&mut self, record: &mut Record, response: Response<UpstreamBody<RequestBody>>) -> Answer<'a> {
        match self.upgrade.take() {
            Some(upgrade) => upgrade.accept(record, response),
            None => {
                record.flags |= ResponseFlags::UPSTREAM_PROTOCOL_ERROR;
                record.details = Some("upgrade_not_asked_for".into());
                Failure { status: StatusCode::BAD_GATEWAY, ..Failure::bad_request("upgrade_not_asked_for") }
                    .answer(is_grpc(self.head))
            }
        }
    }
}
