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
use crate::internal_redirect::Followed;
use crate::mutations::{apply_to_response, ordered};
use crate::normalise::{Normalised, Refused, normalise};
use crate::overload::Pressure;
use crate::record::Record;
use crate::request_body::BodySource;
use crate::response_body::{self, ResponseBody};
use crate::routing::{Chosen, Routing};
use crate::steer::{self, Steering};
use crate::upgrade::{Offer, Upgrade};
use crate::{local_reply, respond, rewrite, stream_task};
use gateway_config::{Action, Forward, HeaderMutations, RequireTls};
use gateway_filter_api::{RequestHead, ResponseFlags};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
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
    let upgrade = Offer::of(&mut request);
    let mut answer = if connection.worker().pressure() >= Pressure::NoRequests {
        overloaded(&mut record, &request)
    } else {
        answer(&mut record, &serving, request, upgrade).await
    };
    // What was answered before the request was read to its end.
    local_reply::finish(&mut answer, &record, None);
    // Where the client's window is closed from the start, the answer's body is not even asked.
    stream_task::offered();
    Ok(respond::respond(answer, record, version, head_only))
}

/// Memory is short: nothing is read, nothing is sent on.
fn overloaded<'a>(record: &mut Record, request: &Request<Incoming>) -> Answer<'a> {
    record.serving.settings.metrics.downstream_rq_overload_close.increment();
    let path = request.uri().path_and_query().cloned();
    record.keep_unread(request.method().clone(), path, request.version(), Some(request.headers()));
    record.flags |= Failure::OVERLOAD.flags;
    record.details = Some(Failure::OVERLOAD.details.into());
    let grpc = request
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    let mut answer = Failure::OVERLOAD.answer(grpc);
    answer.head.headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}

/// Everything up to the answer's final form.
async fn answer<'a>(
    record: &mut Record,
    serving: &'a Serving,
    request: Request<Incoming>,
    offer: Option<Offer>,
) -> Answer<'a> {
    let settings = &*serving.settings;
    let (mut parts, incoming) = request.into_parts();
    let (method, version) = (parts.method.clone(), parts.version);
    let path = if settings.logs.is_empty() { None } else { parts.uri.path_and_query().cloned() };
    let Normalised { mut head, upgrade: protocol, client } =
        match normalise(&mut parts, &settings.http, &record.connection) {
            Ok(normalised) => normalised,
            Err(refused) => {
                record.keep_unread(method, path, version, Some(&parts.headers));
                return refuse(record, refused);
            }
        };
    record.client = client;
    if let Some(tracer) = &settings.tracer {
        record.span = tracer.begin(&mut head);
    }
    if settings.http.request_id_in_answers {
        record.request_id = head.headers.get(&respond::X_REQUEST_ID).cloned();
    }
    record.keep_request(&head);
    let Some(table) = serving.snapshot.routes_of(&settings.http) else { return no_route(record, &head) };
    if !client.internal {
        table.settings.internal_only_headers.iter().for_each(|name| drop(head.headers.remove(name)));
    }
    let Some(mut routing) = Routing::find(table, &head, client) else { return no_route(record, &head) };
    record.keep_routing(&routing);
    let mut upgrade = offer.and_then(|offer| offer.confirm(protocol));
    let bare = is_bare(&method) && !incoming.is_end_stream();
    // What stands behind a request for an upgrade is no request: without a tunnel the connection ends.
    if version != Version::HTTP_2 && (bare || upgrade.is_some()) {
        record.connection.age();
    }
    if let Some(upgrade) = &upgrade
        && let Err(failure) = upgrade.check(settings, routing.forward())
    {
        settings.metrics.downstream_rq_ws_on_non_ws_route.increment();
        let mut answer = fail(record, failure, &head);
        respond_phases(record, &mut answer, &routing, &head).await;
        return answer;
    }
    let mut body = PendingBody::new(incoming, version == Version::HTTP_2);
    let mut followed = Followed::default();
    loop {
        let asked = upgrade.take();
        let mut answer = match handle(record, (serving, &mut routing), &mut head, (body, asked)).await {
            Handled::Done(answer) => return answer,
            Handled::Answer(answer) => answer,
        };
        if let Some(again) = followed.follow(&answer, record, &mut head, &mut routing) {
            body = again;
            continue;
        }
        respond_phases(record, &mut answer, &routing, &head).await;
        return answer;
    }
}

/// What a pass through the phases of a request led to.
enum Handled<'a> {
    /// An answer for the phases of responses.
    Answer(Answer<'a>),
    /// One that needs none.
    Done(Answer<'a>),
}

/// Request filters and what the route does.
async fn handle<'a>(
    record: &mut Record,
    (serving, routing): (&'a Serving, &mut Routing<'a>),
    head: &mut RequestHead,
    (mut body, upgrade): (PendingBody, Option<Upgrade>),
) -> Handled<'a> {
    let settings = &*serving.settings;
    let tls_needed = match routing.found.virtual_host.require_tls {
        RequireTls::None => false,
        RequireTls::All => true,
        RequireTls::External => !routing.client.internal,
    };
    if tls_needed && !head.https {
        record.details = Some("direct_response".into());
        record.keep_no_cluster();
        return Handled::Done(to_https(head));
    }
    if filter::any(settings) {
        let first = routing.found.route;
        let streams = FilterStreams::new(first, &record.connection);
        record.streams = Some(Rc::clone(&streams));
        let filtered = streams.on_request(head, &mut body, settings, routing).await;
        if !std::ptr::eq(first, routing.found.route) {
            record.keep_routing(routing);
        }
        match filtered {
            Filtered::Pass => {}
            Filtered::NoRoute => return Handled::Answer(no_route(record, head)),
            Filtered::Answer(given, details) => {
                record.details = Some(details);
                return Handled::Answer(given);
            }
        }
    }
    match &routing.found.route.action {
        Action::Forward(forward) => {
            Handled::Answer(forwarded(record, (serving, routing), forward, head, (body, upgrade)).await)
        }
        Action::Redirect(_) | Action::Respond(_) => Handled::Answer(configured(record, routing, head)),
    }
}

/// What the configuration itself answers.
fn configured<'a>(record: &mut Record, routing: &Routing<'_>, head: &RequestHead) -> Answer<'a> {
    let metrics = &record.serving.settings.metrics;
    match &routing.found.route.action {
        Action::Redirect(to) => {
            metrics.rq_direct_response.increment();
            record.details = Some("direct_response".into());
            match rewrite::location(to, routing.found.route, head) {
                Some(location) => redirect(to.status, location, is_grpc(head)),
                None => fail(record, Failure::bad_request("redirect_location"), head),
            }
        }
        Action::Respond(response) => {
            metrics.rq_direct_response.increment();
            record.details = Some("direct_response".into());
            let mut answer = local(response.status, HeaderMap::new(), response.body.clone(), is_grpc(head));
            answer.source = Source::Route;
            if let Some(format) = &response.format {
                local_reply::write(&mut answer, record, Some(head), format);
            }
            answer
        }
        Action::Forward(_) => no_route(record, head),
    }
}

/// The way to the upstream.
async fn forwarded<'a>(
    record: &mut Record,
    (serving, routing): (&'a Serving, &Routing<'a>),
    forward: &'a Forward,
    head: &mut RequestHead,
    (body, upgrade): (PendingBody, Option<Upgrade>),
) -> Answer<'a> {
    let router = &serving.settings.http.router;
    if let Some((answer, name)) = steer::malformed(head, router) {
        record.flags |= ResponseFlags::INVALID_ENVOY_HEADERS;
        record.details = Some(format!("request_headers_failed_strict_check{{{name}}}").into());
        return answer;
    }
    let steering = Steering::of(head, forward, router);
    let again = steering.retry.is_some()
        || forward.internal_redirects.is_some()
        || !forward::mirrors(forward, routing.table).is_empty();
    let body = body_source(record, body, again, head);
    record.body.clone_from(&body);
    let (table, found, chosen) = (routing.table, routing.found, routing.chosen.as_ref());
    let exchange = Exchange { serving, table, found, forward, chosen, steering, head, body, upgrade };
    forward::forward(record, exchange).await
}

/// The body for the upstream: kept where it may be sent again, through the plugins that want it.
fn body_source(
    record: &Record,
    body: PendingBody,
    again: bool,
    head: &mut RequestHead,
) -> Option<Rc<BodySource>> {
    let limits = record.connection.worker().limits();
    let keep = if again { limits.buffer } else { 0 };
    let streams = record.streams.as_ref().filter(|_| body.is_streaming());
    let run = streams.and_then(|streams| BodyRun::new(streams, Direction::Request, limits.buffer));
    if run.is_some() {
        head.headers.remove(CONTENT_LENGTH);
    }
    body.into_source(keep, record.connection.body_limits(), run)
}

/// The response's filters and header changes.
async fn respond_phases<'a>(
    record: &mut Record,
    answer: &mut Answer<'a>,
    routing: &Routing<'_>,
    request: &RequestHead,
) {
    let (table, found) = (routing.table, routing.found);
    let none = HeaderMutations::default();
    let cluster = match answer.source {
        Source::Nowhere => None,
        Source::Gateway => routing
            .forward()
            .map(|_| routing.chosen.as_ref().map_or(&none, |chosen| &chosen.cluster.response_headers)),
        Source::Route => Some(&none),
        Source::Cluster(cluster) => Some(&cluster.response_headers),
    };
    if let Some(cluster) = cluster {
        let cluster_name = match answer.source {
            Source::Cluster(_) => routing.chosen.as_ref().map(Chosen::name),
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
    local_reply::finish(answer, record, Some(request));
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
            let (given, details) = from_filter(*local, record.grpc);
            record.details = Some(details);
            *answer = given;
            local_reply::finish(answer, record, Some(request));
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
    let mut answer = Answer { source: Source::Nowhere, ..fail(record, Failure::NO_ROUTE, head) };
    local_reply::finish(&mut answer, record, Some(head));
    answer
}

fn to_https<'a>(head: &RequestHead) -> Answer<'a> {
    match rewrite::https(head) {
        Some(location) => redirect(StatusCode::MOVED_PERMANENTLY, location, is_grpc(head)),
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
        Refused::TooManyHeaders => {
            record.serving.settings.metrics.count_refusal(Refusal::TooLarge);
            Failure {
                status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                ..Failure::bad_request("too_many_headers")
            }
        }
        Refused::UnknownClient(status) => {
            Failure { status, ..Failure::bad_request("rejecting_because_detection_failed") }
        }
        Refused::Redirect(to) => {
            record.details = Some("path_normalization_failed".into());
            return match HeaderValue::from_str(to.as_str()) {
                Ok(location) => redirect(StatusCode::TEMPORARY_REDIRECT, location, false),
                Err(_) => Failure::bad_request("path_normalization_failed").answer(false),
            };
        }
    };
    record.details = Some(failure.details.into());
    failure.answer(false)
}
