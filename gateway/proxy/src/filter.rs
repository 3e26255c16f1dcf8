// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The filters of one request, built-in ones and plugins alike: their callbacks in order, their waits, what they learn.

mod body;
mod pending;

pub(crate) use body::{BodyRun, Direction};
pub(crate) use pending::PendingBody;

use crate::answer::{Answer, Failure, from_filter, is_grpc};
use crate::connection::Connection;
use crate::http_settings::{ConfiguredFilter, FilterKind, HttpSettings};
use crate::routing::Routing;
use bytes::BytesMut;
use gateway_config::{FilterSetting, Route, WasmFailurePolicy};
use gateway_filter_api::{
    FilterContext, HttpFilter, LocalResponse, Metadata, Outcome, Pause, Phase, RequestHead, RequestLog,
    ResponseFlags, ResponseHead, Resume,
};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, StatusCode};
use std::borrow::Cow;
use std::cell::{Ref, RefCell};
use std::fmt;
use std::rc::Rc;

/// The filters that act on one request. Shared by the request, the bodies of both directions and the record; no borrow of it lives
/// while something is waited for.
pub(crate) struct FilterStreams {
    connection: Rc<Connection>,
    route: Box<str>,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    /// In order of the request; one is out of its place while it is waited for.
    filters: Vec<Option<Box<dyn HttpFilter>>>,
    /// The request as the filters left it; they read it until the end.
    head: Option<RequestHead>,
    /// The response likewise, for its body.
    response: Option<ResponseHead>,
    /// The trailers of request and response while the last bytes of each run.
    trailers: [HeaderMap; 2],
    notes: Notes,
    /// Bodies that wait for a filter to come back to its place; dropped, they go on.
    waiting: Vec<Resume>,
}

/// What became of bytes that were offered to a filter.
enum Offered {
    /// It has seen them.
    Taken(Outcome),
    /// It waits in another phase; to be offered again after this.
    Away(Pause),
}

/// What filters leave for each other and for the log.
#[derive(Default)]
struct Notes {
    metadata: Metadata,
    flags: ResponseFlags,
}

/// The notes in the hands of a callback that may wait; they are back in their place however the wait ends.
struct Taken<'a> {
    streams: &'a FilterStreams,
    notes: Notes,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let Notes { metadata, flags } = std::mem::take(&mut self.notes);
        let mut state = self.streams.state.borrow_mut();
        let written_meanwhile = std::mem::replace(&mut state.notes.metadata, metadata);
        state.notes.metadata.absorb(written_meanwhile);
        state.notes.flags |= flags;
    }
}

/// A filter that is on for a route.
enum Active {
    Running(Box<dyn HttpFilter>),
    /// A plugin that can not run.
    Broken(WasmFailurePolicy),
}

/// What the request filters decided.
pub(crate) enum Filtered<'a> {
    /// The request goes on.
    Pass,
    /// The request as a filter changed it has no route.
    NoRoute,
    /// It is answered.
    Answer(Answer<'a>, Cow<'static, str>),
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
        Rc::new(Self {
            connection: Rc::clone(connection),
            route: route.name.clone(),
            state: RefCell::default(),
        })
    }

    /// Runs the request's head through the filters that are on for the route. A filter that asks for the body gets it whole; one that
    /// asks for the route to be chosen anew has it chosen before the next filter looks at its settings there.
    pub(crate) async fn on_request<'a>(
        &self,
        head: &mut RequestHead,
        body: &mut PendingBody,
        settings: &HttpSettings,
        routing: &mut Routing<'_>,
    ) -> Filtered<'a> {
        let mut taken = self.take_notes();
        for filter in &settings.filters {
            let Some(active) = active(filter, routing, &self.connection) else { continue };
            let mut running = match active {
                Active::Broken(WasmFailurePolicy::FailOpen) => continue,
                Active::Broken(_) => return refused(NOT_RUNNING, head),
                Active::Running(running) => running,
            };
            let mut reroute = false;
            let result =
                self.request_phase(&mut *running, head, body, (&mut taken.notes, &mut reroute)).await;
            if !running.is_finished() {
                self.state.borrow_mut().filters.push(Some(running));
            }
            match result {
                Ok(None) => {}
                Ok(Some(response)) => {
                    let (answer, details) = from_filter(*response, is_grpc(head));
                    return Filtered::Answer(answer, details);
                }
                Err(failure) => return refused(failure, head),
            }
            if reroute && !routing.again(head) {
                return Filtered::NoRoute;
            }
        }
        let mut state = self.state.borrow_mut();
        if !state.filters.is_empty() {
            state.head = Some(head.clone());
        }
        drop(state);
        Filtered::Pass
    }

    fn take_notes(&self) -> Taken<'_> {
        Taken { streams: self, notes: std::mem::take(&mut self.state.borrow_mut().notes) }
    }

    /// Why the request did not go as usual, as filters say.
    pub(crate) fn flags(&self) -> ResponseFlags {
        self.state.borrow().notes.flags
    }

    /// The head and, where the filter holds the request for it or others had it collected, the body.
    async fn request_phase(
        &self,
        plugin: &mut dyn HttpFilter,
        head: &mut RequestHead,
        body: &mut PendingBody,
        (notes, reroute): (&mut Notes, &mut bool),
    ) -> Result<Option<Box<LocalResponse>>, Failure> {
        let mut context = self.context(head, None, notes);
        let outcome = plugin.on_request_headers(&mut context, body.is_empty());
        let settled = settle(plugin, &mut context, outcome, (Phase::RequestHeaders, None)).await;
        *reroute |= context.reroute;
        match settled {
            Settled::Respond(response) => return Ok(Some(response)),
            Settled::Buffer => {
                let most = plugin.buffer_limit().unwrap_or(self.connection.worker().limits().buffer);
                body.collect(self.connection.body_limits(), most, plugin.adds_body()).await?;
            }
            Settled::Continue => {}
        }
        let Some(whole) = body.whole().filter(|_| plugin.wants_request_body()) else { return Ok(None) };
        let none = whole.is_empty();
        let mut context = self.context(head, None, notes);
        let outcome = plugin.on_request_body(&mut context, whole, true);
        let settled = settle(plugin, &mut context, outcome, (Phase::RequestBody, Some(&mut *whole))).await;
        *reroute |= context.reroute;
        if head.headers.contains_key(CONTENT_LENGTH) || (none && !whole.is_empty()) {
            head.headers.insert(CONTENT_LENGTH, whole.len().into());
        }
        Ok(if let Settled::Respond(response) = settled { Some(response) } else { None })
    }

    fn context<'a>(
        &'a self,
        request: &'a mut RequestHead,
        response: Option<&'a mut ResponseHead>,
        notes: &'a mut Notes,
    ) -> FilterContext<'a> {
        FilterContext {
            request,
            response,
            trailers: None,
            connection: self.connection.info(),
            route: &self.route,
            cluster: None,
            metadata: &mut notes.metadata,
            flags: &mut notes.flags,
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
        let count = self.state.borrow().filters.len();
        let mut taken = self.take_notes();
        for at in (0..count).rev() {
            let (plugin, head) = {
                let mut state = self.state.borrow_mut();
                (state.filters.get_mut(at).and_then(Option::take), state.head.take())
            };
            let Some(mut plugin) = plugin else { continue };
            let mut head = head.unwrap_or_else(|| request.clone());
            let mut context = self.context(&mut head, Some(response), &mut taken.notes);
            let outcome = plugin.on_response_headers(&mut context, end_of_stream);
            let settled = settle(&mut *plugin, &mut context, outcome, (Phase::ResponseHeaders, None)).await;
            let mut state = self.state.borrow_mut();
            state.head = Some(head);
            if let Some(place) = state.filters.get_mut(at) {
                *place = Some(plugin);
            }
            state.waiting.clear();
            match settled {
                Settled::Continue => {}
                Settled::Buffer => hold = true,
                Settled::Respond(local) => return Err(local),
            }
        }
        Ok(hold)
    }

    /// What filters learned.
    pub(crate) fn metadata(&self) -> Ref<'_, Metadata> {
        Ref::map(self.state.borrow(), |state| &state.notes.metadata)
    }

    /// Keeps the response's head for the callbacks of its body.
    pub(crate) fn keep_response(&self, response: &ResponseHead) {
        self.state.borrow_mut().response = Some(response.clone());
    }

    /// Keeps trailers for the last callbacks of their body.
    pub(crate) fn keep_trailers(&self, direction: Direction, trailers: HeaderMap) {
        self.state.borrow_mut().trailers[direction as usize] = trailers;
    }

    /// The trailers as the callbacks left them; none where they are empty.
    pub(crate) fn take_trailers(&self, direction: Direction) -> Option<HeaderMap> {
        let trailers = std::mem::take(&mut self.state.borrow_mut().trailers[direction as usize]);
        Some(trailers).filter(|trailers| !trailers.is_empty())
    }

    /// Whether a filter puts a body where there is none.
    pub(crate) fn adds_body(&self) -> bool {
        self.state.borrow().filters.iter().flatten().any(|filter| filter.adds_body())
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
            (0..state.filters.len()).filter(|&at| state.filters[at].as_deref().is_some_and(wants)).collect();
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
        (end_of_stream, resumed): (bool, bool),
    ) -> Offered {
        let mut state = self.state.borrow_mut();
        let State { filters, head, response, trailers, notes, waiting } = &mut *state;
        let Some(Some(plugin)) = filters.get_mut(at) else {
            // Bytes must not pass a filter unseen because it waits elsewhere.
            let (back, pause) = Pause::with_handle();
            waiting.push(back);
            return Offered::Away(pause);
        };
        let Some(head) = head else { return Offered::Taken(Outcome::Continue) };
        let mut context = self.context(head, response.as_mut(), notes);
        if end_of_stream {
            context.trailers = Some(&mut trailers[direction as usize]);
        }
        Offered::Taken(match (direction, resumed) {
            (Direction::Request, false) => plugin.on_request_body(&mut context, chunk, end_of_stream),
            (Direction::Response, false) => plugin.on_response_body(&mut context, chunk, end_of_stream),
            (Direction::Request, true) => plugin.on_resume_body(&mut context, Phase::RequestBody, chunk),
            (Direction::Response, true) => plugin.on_resume_body(&mut context, Phase::ResponseBody, chunk),
        })
    }

    /// The request is over.
    pub(crate) fn on_log(&self, log: &RequestLog) {
        let mut state = self.state.borrow_mut();
        let State { filters, head: Some(head), notes, .. } = &mut *state else { return };
        for plugin in filters.iter_mut().rev().flatten() {
            plugin.on_log(&mut self.context(head, None, notes), log);
        }
    }
}

const NOT_RUNNING: Failure = Failure {
    status: StatusCode::SERVICE_UNAVAILABLE,
    body: "",
    flags: ResponseFlags::NONE,
    details: "plugin_not_running",
};

fn refused<'a>(failure: Failure, head: &RequestHead) -> Filtered<'a> {
    Filtered::Answer(failure.answer(is_grpc(head)), failure.details.into())
}

/// Waits out the pauses of a callback; in the phase of a body `chunk` is what it was offered.
async fn settle(
    plugin: &mut dyn HttpFilter,
    context: &mut FilterContext<'_>,
    mut outcome: Outcome,
    (phase, mut chunk): (Phase, Option<&mut BytesMut>),
) -> Settled {
    loop {
        match outcome {
            Outcome::Continue => return Settled::Continue,
            Outcome::Buffer => return Settled::Buffer,
            Outcome::Respond(response) => return Settled::Respond(response),
            Outcome::Pause(pause) => {
                pause.await;
                outcome = match &mut chunk {
                    Some(chunk) => plugin.on_resume_body(context, phase, chunk),
                    None => plugin.on_resume(context, phase),
                };
            }
        }
    }
}

fn active(filter: &ConfiguredFilter, routing: &Routing<'_>, connection: &Rc<Connection>) -> Option<Active> {
    let setting = routing.setting(&filter.name);
    match setting {
        Some(FilterSetting::Disabled) => return None,
        None if filter.disabled => return None,
        _ => {}
    }
    match &filter.kind {
        FilterKind::Native(native) => native.stream(setting, connection, routing).map(Active::Running),
        FilterKind::Plugin(plugin, policy) => Some(match plugin.running() {
            Some(running) => Active::Running(running.stream(connection.info())),
            None => Active::Broken(*policy),
        }),
    }
}
