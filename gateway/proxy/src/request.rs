// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The phases of a request, in order; each is a module:
//!
//! ```text
//! normalise -> route -> request filters -> redirect | direct response | forward (pick, try, retry)
//!                                          -> response filters -> header changes -> respond (stream, record)
//! ```

use crate::answer::{Answer, Failure, Source, from_filter, is_grpc, local, redirect};
use crate::connection::{Connection, Serving};
use crate::filter::{self, BodyRun, Direction, FilterStreams, Filtered, PendingBody};
use crate::format::Values;
use crate::forward::{self, Exchange};
use crate::head_guard::Refusal;
use crate::mutations::{apply_to_response, ordered};
use crate::normalise::{Normalised, Refused, normalise};
use crate::record::Record;
use crate::request_body::BodySource;
use crate::response_body::{self, ResponseBody};
use crate::routing::Routing;
use crate::upgrade::Upgrade;
use crate::{respond, rewrite};
use gateway_config::{Action, Forward, HeaderMutations, RequireTls, RouteFound, RouteTable};
use gateway_filter_api::RequestHead;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use hyper::body::{Body, Incoming};
use std::convert::Infallible;
use std::rc::Rc;

/// Serves one request from its head to the head of its answer; the answer's body carries the record to the end.
pub(crate) async fn serve(
    connection: Rc<Connection>,
    mut request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    let mut record = Record::begin(&connection, request.version());
    let serving = record.serving.clone();
    let (version, head_only) = (request.version(), request.method() == Method::HEAD);
    let upgrade = Upgrade::offered(&mut request);
    let answer = answer(&mut record, &serving, request, upgrade).await;
    Ok(respond::respond(answer, record, version, head_only))
}

/// Everything up to the answer's final form.
async fn answer<'a>(
    record: &mut Record,
    serving: &'a Serving,
    request: Request<Incoming>,
    upgrade: Option<Upgrade>,
) -> Answer<'a> {
    let settings = &*serving.settings;
    let (parts, incoming) = request.into_parts();
    let (method, version) = (parts.method.clone(), parts.version);
    let path = if settings.logs.is_empty() { None } else { parts.uri.path_and_query().cloned() };
    let Normalised { mut head, upgrade: protocol } =
        match normalise(parts, &settings.http, &record.connection) {
            Ok(normalised) => normalised,
            Err(refused) => {
                record.keep_unread(method, path, version);
                return refuse(record, refused);
            }
        };
    record.keep_request(&head);
    let Some(table) = serving.snapshot.routes_of(&settings.http) else { return no_route(record, &head) };
    let Some(mut routing) = Routing::find(table, &head) else { return no_route(record, &head) };
    record.keep_route(&routing.found.route.name);
    if routing.found.virtual_host.require_tls == RequireTls::All && !head.https {
        return to_https(&head);
    }

    if version != Version::HTTP_2 && is_bare(&method) && !incoming.is_end_stream() {
        record.connection.age();
    }
    let mut body = PendingBody::new(incoming, version == Version::HTTP_2);
    let mut answer = None;
    if filter::any(settings) {
        let first = routing.found.route;
        let streams = FilterStreams::new(first, &record.connection);
        record.streams = Some(Rc::clone(&streams));
        match streams.on_request(&mut head, &mut body, settings, &mut routing).await {
            Filtered::Pass => {}
            Filtered::NoRoute => answer = Some(no_route(record, &head)),
            Filtered::Answer(given, details) => {
                record.details = Some(details);
                answer = Some(given);
            }
        }
        if !std::ptr::eq(first, routing.found.route) {
            record.keep_route(&routing.found.route.name);
        }
    }

    let (found, choice) = (routing.found, routing.choice());
    let mut answer = match (answer, &found.route.action) {
        (Some(answer), _) => answer,
        (None, Action::Redirect(to)) => {
            settings.metrics.rq_redirect.increment();
            record.details = Some("direct_response".into());
            match rewrite::location(to, found.route, &head) {
                Some(location) => redirect(to.status, location),
                None => fail(record, Failure::bad_request("redirect_location"), &head),
            }
        }
        (None, Action::Respond(response)) => {
            settings.metrics.rq_direct_response.increment();
            record.details = Some("direct_response".into());
            Answer {
                source: Source::Route,
                ..local(response.status, HeaderMap::new(), response.body.clone(), is_grpc(&head))
            }
        }
        (None, Action::Forward(forward)) => {
            let upgrade = match Upgrade::allow(upgrade, protocol.as_ref(), settings, forward) {
                Ok(upgrade) => upgrade,
                Err(failure) => {
                    settings.metrics.downstream_rq_ws_on_non_ws_route.increment();
                    return fail(record, failure, &head);
                }
            };
            let body = body_source(record, body, forward, &mut head);
            record.body.clone_from(&body);
            let exchange =
                Exchange { serving, table, found, forward, choice, head: &mut head, body, upgrade };
            forward::forward(record, exchange).await
        }
    };
    respond_phases(record, &mut answer, table, found, &head).await;
    answer
}

/// The body for the upstream: kept where it may be sent again, through the plugins that want it.
fn body_source(
    record: &Record,
    body: PendingBody,
    forward: &Forward,
    head: &mut RequestHead,
) -> Option<Rc<BodySource>> {
    let limits = record.connection.worker().limits();
    let keep = if forward.retry.is_some() || !forward.mirrors.is_empty() { limits.buffer } else { 0 };
    let streams = record.streams.as_ref().filter(|_| body.is_streaming());
    let run = streams.and_then(|streams| BodyRun::new(streams, Direction::Request, limits.buffer));
    if run.is_some() {
        head.headers.remove(CONTENT_LENGTH);
    }
    body.into_source(keep, limits, run)
}

/// The response's filters and header changes.
async fn respond_phases<'a>(
    record: &mut Record,
    answer: &mut Answer<'a>,
    table: &RouteTable,
    found: RouteFound<'_>,
    request: &RequestHead,
) {
    let none = HeaderMutations::default();
    let cluster = match answer.source {
        Source::Tunnel => return,
        Source::Gateway => None,
        Source::Route => Some(&none),
        Source::Cluster(cluster) => Some(&cluster.response_headers),
    };
    if let Some(cluster) = cluster {
        let cluster_name = match answer.source {
            Source::Cluster(cluster) => Some(&*cluster.name),
            _ => None,
        };
        let values = Values {
            upstream: record.upstream.as_ref().map(|host| host.address()),
            status: Some(answer.head.status),
            route: Some(&found.route.name),
            cluster: cluster_name,
            record: Some(record),
            ..Values::of(record.connection.info())
        };
        let (host, route) = (&found.virtual_host.response_headers, &found.route.response_headers);
        for mutations in ordered(&table.settings, &table.settings.response_headers, host, route, cluster) {
            apply_to_response(&mut answer.head, request, mutations, &values);
        }
    }
    if let Some(streams) = record.streams.clone() {
        let end = answer.payload.is_empty();
        let mut replaced = match streams.on_response_headers(&mut answer.head, request, end).await {
            Ok(hold) => {
                response_body::filter(answer, &streams, hold, record.connection.worker().limits().buffer)
                    .await
                    .err()
            }
            Err(local) => Some(local),
        };
        if let Some(local) = replaced.take() {
            let (given, details) = from_filter(*local, is_grpc(request));
            record.details = Some(details);
            *answer = given;
        }
    }
}

fn fail<'a>(record: &mut Record, failure: Failure, head: &RequestHead) -> Answer<'a> {
    record.flags |= failure.flags;
    record.details = Some(failure.details.into());
    failure.answer(is_grpc(head))
}

fn no_route<'a>(record: &mut Record, head: &RequestHead) -> Answer<'a> {
    record.serving.settings.metrics.no_route.increment();
    fail(record, Failure::NO_ROUTE, head)
}

fn to_https<'a>(head: &RequestHead) -> Answer<'a> {
    match rewrite::https(head) {
        Some(location) => redirect(StatusCode::MOVED_PERMANENTLY, location),
        None => Failure::bad_request("redirect_location").answer(is_grpc(head)),
    }
}

/// Methods whose body means nothing (RFC 9110, 9.3.1): not every server reads it, so that both connections end behind one.
pub(crate) fn is_bare(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

fn refuse<'a>(record: &mut Record, refused: Refused) -> Answer<'a> {
    let failure = match refused {
        Refused::BadRequest(details) => {
            record.serving.settings.metrics.count_refusal(match details {
                "header_name_with_underscore" => Refusal::Underscore,
                "path_normalization_failed" => Refusal::BadPath,
                "missing_host_header" => Refusal::MissingHost,
                _ => Refusal::BadHost,
            });
            // Who sends such a head may have framed it in another way than we read it.
            record.connection.age();
            Failure::bad_request(details)
        }
        Refused::MethodNotAllowed => {
            Failure { status: StatusCode::METHOD_NOT_ALLOWED, ..Failure::bad_request("connect_not_allowed") }
        }
        Refused::Redirect(to) => {
            record.details = Some("path_normalization_redirect".into());
            return match http::HeaderValue::from_str(to.as_str()) {
                Ok(location) => redirect(StatusCode::TEMPORARY_REDIRECT, location),
                Err(_) => Failure::bad_request("path_normalization_failed").answer(false),
            };
        }
    };
    record.flags |= failure.flags;
    record.details = Some(failure.details.into());
    failure.answer(false)
}
