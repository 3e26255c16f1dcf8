// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The filters of one request: built-in ones by enum, plugins behind the seam.

mod body;
mod pending;

pub(crate) use body::{BodyRun, Direction};
pub(crate) use pending::PendingBody;

use crate::answer::{Answer, Failure, from_filter, is_grpc};
use crate::connection::Connection;
use crate::cors;
use crate::flags::ResponseFlags;
use crate::http_settings::{ConfiguredFilter, FilterKind, HttpSettings};
use bytes::BytesMut;
use gateway_config::{CorsPolicy, FilterSetting, Route, TableSettings, WasmFailurePolicy};
use gateway_filter_api::{
    FilterContext, HttpFilter, LocalResponse, Outcome, Phase, RequestHead, RequestLog, ResponseHead,
};
use http::StatusCode;
use http::header::CONTENT_LENGTH;
use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

/// The filters that act on one request. Shared by the request, the bodies of both directions and the record; no borrow of it lives
/// while something is waited for.
pub(crate) struct FilterStreams {
    connection: Rc<Connection>,
    route: Box<str>,
    state: RefCell<State>,
}

struct State {
    /// In order of the request; one is out of its place while it is waited for.
    plugins: Vec<Option<Box<dyn HttpFilter>>>,
    cors: Option<cors::Allowed>,
    /// The request as the plugins left it; they read it until the end.
    head: Option<RequestHead>,
    /// The response likewise, for its body.
    response: Option<ResponseHead>,
}

/// A filter that is on for a route.
enum Active<'a> {
    Cors(&'a Arc<CorsPolicy>),
    Plugin(Box<dyn HttpFilter>),
    /// A plugin that can not run.
    Broken(WasmFailurePolicy),
}

/// What the request filters decided.
pub(crate) enum Filtered<'a> {
    /// The request goes on.
    Pass,
    /// The route is to be chosen anew.
    Reroute,
    /// It is answered.
    Answer(Answer<'a>, &'static str),
}

/// What a callback led to once its waits are over.
enum Settled {
    Continue,
    Buffer,
    Respond(Box<LocalResponse>),
}

impl fmt::Debug for FilterStreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FilterStreams").field("route", &self.route).finish_non_exhaustive()
    }
}

/// Whether any filter may act on requests of this listener; most have none, and pay nothing.
pub(crate) fn any(settings: &HttpSettings) -> bool {
    !settings.filters.is_empty()
}

impl FilterStreams {
    /// No filter yet.
    pub(crate) fn new(route: &Route, connection: &Rc<Connection>) -> Rc<Self> {
        let state = State { plugins: Vec::new(), cors: None, head: None, response: None };
        Rc::new(Self {
            connection: Rc::clone(connection),
            route: route.name.clone(),
            state: RefCell::new(state),
        })
    }

    /// Runs the request's head through the filters that are on for the route. A filter that asks for the body gets it whole.
    pub(crate) async fn on_request<'a>(
        &self,
        head: &mut RequestHead,
        body: &mut PendingBody,
        place: (&HttpSettings, &Route, &TableSettings),
    ) -> Filtered<'a> {
        let (settings, route, table) = place;
        let mut reroute = false;
        for filter in &settings.filters {
            let Some(active) = active(filter, route, table, &self.connection) else { continue };
            match active {
                Active::Cors(policy) => match cors::decide(policy, head) {
                    cors::Decision::Pass => {}
                    cors::Decision::Allow(allowed) => self.state.borrow_mut().cors = Some(allowed),
                    cors::Decision::Answer(answer) => return Filtered::Answer(answer, "cors_response"),
                },
                Active::Broken(WasmFailurePolicy::FailOpen) => {}
                Active::Broken(_) => return refused(NOT_RUNNING, head),
                Active::Plugin(mut plugin) => {
                    let result = self.plugin_request(&mut *plugin, head, body, &mut reroute).await;
                    self.state.borrow_mut().plugins.push(Some(plugin));
                    match result {
                        Ok(None) => {}
                        Ok(Some(response)) => {
                            let details = response.details;
                            return Filtered::Answer(from_filter(*response, is_grpc(head)), details);
                        }
                        Err(failure) => return refused(failure, head),
                    }
                }
            }
        }
        let mut state = self.state.borrow_mut();
        if !state.plugins.is_empty() {
            state.head = Some(head.clone());
        }
        if reroute { Filtered::Reroute } else { Filtered::Pass }
    }

    /// The head and, where the plugin holds the request for it or others had it collected, the body.
    async fn plugin_request(
        &self,
        plugin: &mut dyn HttpFilter,
        head: &mut RequestHead,
        body: &mut PendingBody,
        reroute: &mut bool,
    ) -> Result<Option<Box<LocalResponse>>, Failure> {
        let mut context = self.context(head, None);
        let outcome = plugin.on_request_headers(&mut context, body.is_empty());
        let settled = settle(plugin, &mut context, outcome, Phase::RequestHeaders).await;
        *reroute |= context.reroute;
        match settled {
            Settled::Respond(response) => return Ok(Some(response)),
            Settled::Buffer => body.collect(self.connection.worker().limits()).await?,
            Settled::Continue => {}
        }
        let Some(whole) = body.whole().filter(|_| plugin.wants_request_body()) else { return Ok(None) };
        let mut context = self.context(head, None);
        let outcome = plugin.on_request_body(&mut context, whole, true);
        let settled = settle(plugin, &mut context, outcome, Phase::RequestBody).await;
        *reroute |= context.reroute;
        if head.headers.contains_key(CONTENT_LENGTH) {
            head.headers.insert(CONTENT_LENGTH, whole.len().into());
        }
        Ok(if let Settled::Respond(response) = settled { Some(response) } else { None })
    }

    fn context<'a>(
        &'a self,
        request: &'a mut RequestHead,
        response: Option<&'a mut ResponseHead>,
    ) -> FilterContext<'a> {
        FilterContext {
            request,
            response,
            connection: self.connection.info(),
            route: &self.route,
            cluster: None,
            reroute: false,
        }
    }

    /// Runs a response's head through the filters, in the opposite order; a filter may replace it by an answer of its own. True where
    /// one of them wants to hold the head until the body is there.
    pub(crate) async fn on_response_headers(
        &self,
        response: &mut ResponseHead,
        request: &RequestHead,
        end_of_stream: bool,
    ) -> Result<bool, Box<LocalResponse>> {
        let mut hold = false;
        let count = self.state.borrow().plugins.len();
        for at in (0..count).rev() {
            let (plugin, head) = {
                let mut state = self.state.borrow_mut();
                (state.plugins.get_mut(at).and_then(Option::take), state.head.take())
            };
            let Some(mut plugin) = plugin else { continue };
            let mut head = head.unwrap_or_else(|| request.clone());
            let mut context = self.context(&mut head, Some(response));
            let outcome = plugin.on_response_headers(&mut context, end_of_stream);
            let settled = settle(&mut *plugin, &mut context, outcome, Phase::ResponseHeaders).await;
            let mut state = self.state.borrow_mut();
            state.head = Some(head);
            if let Some(place) = state.plugins.get_mut(at) {
                *place = Some(plugin);
            }
            match settled {
                Settled::Continue => {}
                Settled::Buffer => hold = true,
                Settled::Respond(local) => return Err(local),
            }
        }
        if let Some(allowed) = &self.state.borrow().cors {
            allowed.apply(response);
        }
        Ok(hold)
    }

    /// Keeps the response's head for the callbacks of its body.
    pub(crate) fn keep_response(&self, response: &ResponseHead) {
        self.state.borrow_mut().response = Some(response.clone());
    }

    /// The head as the callbacks of the body left it.
    pub(crate) fn take_response(&self) -> Option<ResponseHead> {
        self.state.borrow_mut().response.take()
    }

    /// Plugins that want the body in this direction, in the order that they see it.
    pub(crate) fn wanting(&self, direction: Direction) -> Vec<usize> {
        let state = self.state.borrow();
        let wants = |plugin: &dyn HttpFilter| match direction {
            Direction::Request => plugin.wants_request_body(),
            Direction::Response => plugin.wants_response_body(),
        };
        let mut found: Vec<usize> =
            (0..state.plugins.len()).filter(|&at| state.plugins[at].as_deref().is_some_and(wants)).collect();
        if direction == Direction::Response {
            found.reverse();
        }
        found
    }

    /// Offers bytes of a body to one plugin; `resumed` after its wait.
    fn on_body(
        &self,
        at: usize,
        direction: Direction,
        chunk: &mut BytesMut,
        end_of_stream: bool,
        resumed: bool,
    ) -> Outcome {
        let mut state = self.state.borrow_mut();
        let State { plugins, head, response, .. } = &mut *state;
        let (Some(Some(plugin)), Some(head)) = (plugins.get_mut(at), head) else { return Outcome::Continue };
        let mut context = self.context(head, response.as_mut());
        match (direction, resumed) {
            (Direction::Request, false) => plugin.on_request_body(&mut context, chunk, end_of_stream),
            (Direction::Response, false) => plugin.on_response_body(&mut context, chunk, end_of_stream),
            (Direction::Request, true) => plugin.on_resume(&mut context, Phase::RequestBody),
            (Direction::Response, true) => plugin.on_resume(&mut context, Phase::ResponseBody),
        }
    }

    /// The request is over.
    pub(crate) fn on_log(&self, log: &RequestLog) {
        let mut state = self.state.borrow_mut();
        let State { plugins, head: Some(head), .. } = &mut *state else { return };
        for plugin in plugins.iter_mut().rev().flatten() {
            plugin.on_log(&mut self.context(head, None), log);
        }
    }
}

const NOT_RUNNING: Failure = Failure {
    status: StatusCode::SERVICE_UNAVAILABLE,
    body: "",
    flags: ResponseFlags(0),
    details: "plugin_not_running",
};

fn refused<'a>(failure: Failure, head: &RequestHead) -> Filtered<'a> {
    Filtered::Answer(failure.answer(is_grpc(head)), failure.details)
}

/// Waits out the pauses of a callback.
async fn settle(
    plugin: &mut dyn HttpFilter,
    context: &mut FilterContext<'_>,
    mut outcome: Outcome,
    phase: Phase,
) -> Settled {
    loop {
        match outcome {
            Outcome::Continue => return Settled::Continue,
            Outcome::Buffer => return Settled::Buffer,
            Outcome::Respond(response) => return Settled::Respond(response),
            Outcome::Pause(pause) => {
                pause.await;
                outcome = plugin.on_resume(context, phase);
            }
        }
    }
}

fn active<'a>(
    filter: &ConfiguredFilter,
    route: &'a Route,
    table: &'a TableSettings,
    connection: &Connection,
) -> Option<Active<'a>> {
    let setting = route.filters.get(&filter.name).or_else(|| table.filters.get(&filter.name));
    match (&filter.kind, setting) {
        (_, Some(FilterSetting::Disabled)) => None,
        (FilterKind::Cors, Some(FilterSetting::Cors(policy))) => Some(Active::Cors(policy)),
        (FilterKind::Cors, _) => None,
        (FilterKind::Plugin(..), None) if filter.disabled => None,
        (FilterKind::Plugin(plugin, policy), _) => Some(match plugin.running() {
            Some(running) => Active::Plugin(running.stream(connection.info())),
            None => Active::Broken(*policy),
        }),
    }
}
