// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! External processing: a service sees requests and answers on a stream of its own and says how they go on. Where it fails, the request
//! fails, unless it is configured otherwise.

mod apply;
mod failure;
mod messages;
mod process;
mod session;

use super::{Counter, Site};
use crate::callout::Callout;
use crate::connection::Connection;
use crate::filter::Direction;
use bytes::BytesMut;
use gateway_config::{ExtProc, ExtProcRoute, ProcBody, ProcessingMode};
use gateway_filter_api::{FilterContext, HttpFilter, Outcome, Phase, RequestLog};
use process::Side;
use session::Session;
use std::rc::Rc;
use std::sync::Arc;

/// The method of the service.
const PROCESS: &str = "/envoy.service.ext_proc.v3.ExternalProcessor/Process";

/// The filter in its place on one worker.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    config: Arc<ExtProc>,
    counters: Rc<Counters>,
}

/// Its numbers.
#[derive(Debug)]
struct Counters {
    streams_started: Counter,
    messages_sent: Counter,
    messages_received: Counter,
    spurious_messages: Counter,
    streams_closed: Counter,
    streams_failed: Counter,
    failure_mode_allowed: Counter,
    message_timeouts: Counter,
    rejected_mutations: Counter,
}

impl Place {
    pub(crate) fn new(config: &Arc<ExtProc>, site: Site<'_>) -> Self {
        let counters = Counters {
            streams_started: site.http("http_ext_proc_streams_started"),
            messages_sent: site.http("http_ext_proc_stream_msgs_sent"),
            messages_received: site.http("http_ext_proc_stream_msgs_received"),
            spurious_messages: site.http("http_ext_proc_spurious_msgs_received"),
            streams_closed: site.http("http_ext_proc_streams_closed"),
            streams_failed: site.http("http_ext_proc_streams_failed"),
            failure_mode_allowed: site.http("http_ext_proc_failure_mode_allowed"),
            message_timeouts: site.http("http_ext_proc_message_timeouts"),
            rejected_mutations: site.http("http_ext_proc_rejected_header_mutations"),
        };
        Self { config: Arc::clone(config), counters: Rc::new(counters) }
    }

    /// The filter of one request.
    pub(crate) fn process(&self, route: Option<&Arc<ExtProcRoute>>, connection: &Rc<Connection>) -> Process {
        Process {
            mode: route.and_then(|route| route.mode).unwrap_or(self.config.mode),
            place: self.clone(),
            route: route.map(Arc::clone),
            connection: Rc::clone(connection),
            session: None,
            introduced: false,
            over: false,
            sides: Default::default(),
        }
    }
}

/// Accompanies one request.
#[derive(Debug)]
pub(crate) struct Process {
    place: Place,
    route: Option<Arc<ExtProcRoute>>,
    connection: Rc<Connection>,
    mode: ProcessingMode,
    session: Option<Rc<Session>>,
    /// The first message is sent.
    introduced: bool,
    /// The service sees nothing more of this request.
    over: bool,
    sides: [Side; 2],
}

impl Process {
    fn failure_mode_allow(&self) -> bool {
        let own = self.route.as_ref().and_then(|route| route.failure_mode_allow);
        own.unwrap_or(self.place.config.failure_mode_allow)
    }

    /// The namespaces that are shown, and those that are taken.
    fn namespaces(&self) -> (&[Box<str>], &[Box<str>]) {
        let (own, listener) = (self.route.as_ref().map(|route| &route.metadata), &self.place.config.metadata);
        let forward = own.and_then(|own| own.forward.as_deref()).or(listener.forward.as_deref());
        let receive = own.and_then(|own| own.receive.as_deref()).or(listener.receive.as_deref());
        (forward.unwrap_or_default(), receive.unwrap_or_default())
    }

    fn body(&self, direction: Direction) -> ProcBody {
        match direction {
            Direction::Request => self.mode.request_body,
            Direction::Response => self.mode.response_body,
        }
    }

    fn shows_headers(&self, direction: Direction) -> bool {
        match direction {
            Direction::Request => self.mode.request_headers,
            Direction::Response => self.mode.response_headers,
        }
    }

    fn shows_trailers(&self, direction: Direction) -> bool {
        match direction {
            Direction::Request => self.mode.request_trailers,
            Direction::Response => self.mode.response_trailers,
        }
    }

    /// Whether the service has to do with the bytes or trailers of a message whose head is done.
    fn wants_body(&self, direction: Direction) -> bool {
        let side = &self.sides[direction as usize];
        if side.replacement.is_some() {
            return true;
        }
        !self.over && !side.done && (self.body(direction) != ProcBody::None || self.shows_trailers(direction))
    }

    /// Whether the service has to do with the request after its head.
    fn goes_on(&self) -> bool {
        let answers = self.shows_headers(Direction::Response) || self.wants_body(Direction::Response);
        !self.over && (answers || self.wants_body(Direction::Request))
    }

    /// The call, made where there is none; none where that failed.
    fn session(&mut self) -> Result<Rc<Session>, session::Problem> {
        if let Some(session) = &self.session {
            return Ok(Rc::clone(session));
        }
        let callout = Callout::new(self.connection.worker());
        let own = self.route.as_deref();
        let service = own.and_then(|own| own.service.as_ref()).unwrap_or(&self.place.config.service);
        let stream = match own.map(|own| &*own.initial_metadata).unwrap_or_default() {
            [] => callout.stream(service, PROCESS),
            metadata => {
                let known = |name: &http::HeaderName| metadata.iter().any(|(own, _)| own == name);
                let inherited = service.metadata.iter().filter(|(name, _)| !known(name));
                let all = inherited.chain(metadata).cloned().collect();
                callout.stream(&gateway_config::GrpcService { metadata: all, ..service.clone() }, PROCESS)
            }
        };
        self.place.counters.streams_started.increment();
        let session = Session::new(stream.map_err(session::Problem::Grpc)?);
        self.session = Some(Rc::clone(&session));
        Ok(session)
    }

    /// The service sees nothing more.
    fn end(&mut self) {
        self.over = true;
        if let Some(session) = self.session.take() {
            self.place.counters.streams_closed.increment();
            session.finish();
        }
    }
}

impl HttpFilter for Process {
    fn on_request_headers(&mut self, context: &mut FilterContext<'_>, end_of_stream: bool) -> Outcome {
        self.on_head(Direction::Request, context, end_of_stream)
    }

    fn is_finished(&self) -> bool {
        // A call that is open is ended in `on_log`.
        self.session.is_none() && !self.goes_on() && !self.wants_body(Direction::Request)
    }

    fn wants_request_body(&self) -> bool {
        self.wants_body(Direction::Request)
    }

    fn adds_body(&self) -> bool {
        self.sides.iter().any(|side| side.replacement.is_some())
    }

    fn on_request_body(
        &mut self,
        context: &mut FilterContext<'_>,
        chunk: &mut BytesMut,
        end_of_stream: bool,
    ) -> Outcome {
        self.on_bytes(Direction::Request, context, chunk, end_of_stream)
    }

    fn on_response_headers(&mut self, context: &mut FilterContext<'_>, end_of_stream: bool) -> Outcome {
        self.on_head(Direction::Response, context, end_of_stream)
    }

    fn wants_response_body(&self) -> bool {
        self.wants_body(Direction::Response)
    }

    fn on_response_body(
        &mut self,
        context: &mut FilterContext<'_>,
        chunk: &mut BytesMut,
        end_of_stream: bool,
    ) -> Outcome {
        self.on_bytes(Direction::Response, context, chunk, end_of_stream)
    }

    fn on_resume(&mut self, context: &mut FilterContext<'_>, phase: Phase) -> Outcome {
        self.resume(direction_of(phase), context, None)
    }

    fn on_resume_body(
        &mut self,
        context: &mut FilterContext<'_>,
        phase: Phase,
        chunk: &mut BytesMut,
    ) -> Outcome {
        self.resume(direction_of(phase), context, Some(chunk))
    }

    fn on_log(&mut self, _context: &mut FilterContext<'_>, _log: &RequestLog) {
        self.end();
    }
}

fn direction_of(phase: Phase) -> Direction {
    match phase {
        Phase::RequestHeaders | Phase::RequestBody => Direction::Request,
        Phase::ResponseHeaders | Phase::ResponseBody => Direction::Response,
    }
}
