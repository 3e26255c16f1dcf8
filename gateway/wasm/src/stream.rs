// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A request as a context in its worker's instance.

use crate::abi::Action;
use crate::instance::{Instance, Trapped};
use crate::state::{Call, Direction, Properties};
use crate::worker::WorkerPlugin;
use bytes::BytesMut;
use gateway_config::WasmFailurePolicy;
use gateway_filter_api::{
    ConnectionInfo, FilterContext, HttpFilter, LocalResponse, Outcome, Pause, Phase, RequestHead, RequestLog,
    ResponseHead,
};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use std::rc::Rc;

/// One request.
pub(crate) struct WasmStream {
    worker: Rc<WorkerPlugin>,
    connection: Rc<ConnectionInfo>,
    properties: Properties,
    place: Place,
}

/// Where the request's context is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Not begun yet.
    Nowhere,
    /// A context of an instance.
    Context { generation: u64, id: u32 },
    /// The plugin does not run; its failure policy lets the request pass.
    Bypassed,
}

impl WasmStream {
    pub(crate) fn new(worker: Rc<WorkerPlugin>, connection: &ConnectionInfo) -> Self {
        let connection = Rc::new(connection.clone());
        Self { worker, connection, properties: Properties::default(), place: Place::Nowhere }
    }

    /// Runs callbacks of the stream's instance with its heads and body in reach.
    fn run<R>(
        &mut self,
        context: &mut FilterContext<'_>,
        body: Option<(Direction, &mut BytesMut)>,
        end_of_stream: bool,
        generation: u64,
        callbacks: impl FnOnce(&mut Instance, &mut Option<Call>) -> Result<R, Trapped>,
    ) -> Result<(R, Said), Trapped> {
        let (direction, mut chunk) = body.unzip();
        let mut call = Some(Call {
            request: std::mem::replace(context.request, no_request()),
            response: context.response.as_deref_mut().map(|head| std::mem::replace(head, no_response())),
            body: direction.zip(chunk.as_deref_mut().map(std::mem::take)),
            end_of_stream,
            connection: self.connection.clone(),
            properties: std::mem::take(&mut self.properties),
            answer: None,
            continued: false,
            rerouted: false,
        });
        let result = self.worker.with(generation, |instance| {
            instance.name(context.route, context.cluster);
            let result = callbacks(instance, &mut call)?;
            // Ticks come due between requests; this is the moment when the worker is here.
            instance.tick(tokio::time::Instant::now())?;
            Ok(result)
        });
        let mut said = Said { answer: None, continued: false };
        if let Some(call) = call {
            *context.request = call.request;
            if let (Some(head), Some(kept)) = (context.response.as_deref_mut(), call.response) {
                *head = kept;
            }
            if let (Some(chunk), Some((_, kept))) = (chunk, call.body) {
                *chunk = kept;
            }
            context.reroute |= call.rerouted && !call.properties.keep_route;
            self.properties = call.properties;
            said = Said { answer: call.answer, continued: call.continued };
        }
        result.map(|result| (result, said))
    }

    /// What becomes of the request, after what the callback returned and said.
    fn outcome(&mut self, result: Result<(Action, Said), Trapped>, end_of_stream: bool) -> Outcome {
        let Ok((action, said)) = result else { return self.failed() };
        if let Some(answer) = said.answer {
            return Outcome::Respond(answer);
        }
        match action {
            Action::Continue | Action::Discard => Outcome::Continue,
            _ if said.continued => Outcome::Continue,
            Action::Buffer if !end_of_stream => Outcome::Buffer,
            Action::Buffer | Action::Pause => self.pause(),
        }
    }

    fn pause(&mut self) -> Outcome {
        let Place::Context { generation, id } = self.place else { return Outcome::Continue };
        let (resume, pause) = Pause::with_handle();
        let kept = self.worker.with(generation, |instance| {
            instance.pause(id, resume);
            Ok(())
        });
        if kept.is_err() {
            return self.failed();
        }
        let worker = self.worker.clone();
        Outcome::Pause(Pause::until(async move {
            tokio::select! {
                () = pause => {}
                () = worker.keep_ticking(generation) => {}
            }
        }))
    }

    /// The plugin does not run: its failure policy decides.
    fn failed(&mut self) -> Outcome {
        match self.worker.parts.plugin.failure_policy {
            WasmFailurePolicy::FailOpen => {
                self.place = Place::Bypassed;
                Outcome::Continue
            }
            WasmFailurePolicy::FailClosed | WasmFailurePolicy::FailReload => Outcome::Respond(Box::new(
                LocalResponse::new(StatusCode::SERVICE_UNAVAILABLE, "wasm_fail_stream"),
            )),
        }
    }

    fn body(
        &mut self,
        context: &mut FilterContext<'_>,
        chunk: &mut BytesMut,
        end_of_stream: bool,
        direction: Direction,
    ) -> Outcome {
        let Place::Context { generation, id } = self.place else { return Outcome::Continue };
        let body = Some((direction, &mut *chunk));
        let result = self.run(context, body, end_of_stream, generation, |instance, call| {
            instance.body(id, call, direction)
        });
        if matches!(result, Ok((Action::Discard, _))) {
            chunk.clear();
        }
        self.outcome(result, end_of_stream)
    }

    fn wants_body(&self, direction: Direction) -> bool {
        let Place::Context { generation, .. } = self.place else { return false };
        self.worker.with(generation, |instance| Ok(instance.wants_body(direction))).unwrap_or(false)
    }
}

/// What the plugin said by host calls.
struct Said {
    answer: Option<Box<LocalResponse>>,
    continued: bool,
}

impl HttpFilter for WasmStream {
    fn on_request_headers(&mut self, context: &mut FilterContext<'_>, end_of_stream: bool) -> Outcome {
        let generation = match self.worker.ensure() {
            Ok(generation) => generation,
            Err(error) => {
                tracing::debug!(plugin = %self.worker.parts.name, %error, "plugin does not run");
                return self.failed();
            }
        };
        let headers = u32::try_from(context.request.headers.len() + 4).unwrap_or(u32::MAX);
        let result = self
            .run(context, None, end_of_stream, generation, |instance, call| instance.begin(call, headers));
        let result = result.map(|((id, action), said)| {
            self.place = Place::Context { generation, id };
            (action, said)
        });
        self.outcome(result, end_of_stream)
    }

    fn wants_request_body(&self) -> bool {
        self.wants_body(Direction::Request)
    }

    fn on_request_body(
        &mut self,
        context: &mut FilterContext<'_>,
        chunk: &mut BytesMut,
        end_of_stream: bool,
    ) -> Outcome {
        self.body(context, chunk, end_of_stream, Direction::Request)
    }

    fn on_response_headers(&mut self, context: &mut FilterContext<'_>, end_of_stream: bool) -> Outcome {
        let Place::Context { generation, id } = self.place else { return Outcome::Continue };
        let headers = context.response.as_ref().map_or(0, |head| head.headers.len() + 1);
        let headers = u32::try_from(headers).unwrap_or(u32::MAX);
        let result = self.run(context, None, end_of_stream, generation, |instance, call| {
            instance.response_headers(id, call, headers)
        });
        self.outcome(result, end_of_stream)
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
        self.body(context, chunk, end_of_stream, Direction::Response)
    }

    fn on_resume(&mut self, _: &mut FilterContext<'_>, _: Phase) -> Outcome {
        let Place::Context { generation, id } = self.place else { return Outcome::Continue };
        match self.worker.with(generation, |instance| Ok(instance.take_answer(id))) {
            Ok(Some(answer)) => Outcome::Respond(answer),
            Ok(None) => Outcome::Continue,
            Err(Trapped) => self.failed(),
        }
    }

    fn on_log(&mut self, context: &mut FilterContext<'_>, _: &RequestLog) {
        if let Place::Context { generation, id } = std::mem::replace(&mut self.place, Place::Bypassed) {
            // A trap was logged where it happened; the request is over already.
            let _ = self.run(context, None, true, generation, |instance, call| instance.end(id, call));
        }
    }
}

/// Stands where a head is while a plugin has it; never seen by anyone.
fn no_request() -> RequestHead {
    RequestHead {
        method: Method::GET,
        https: false,
        authority: HeaderValue::from_static(""),
        path: PathAndQuery::from_static("/"),
        headers: HeaderMap::new(),
        version: Version::HTTP_11,
    }
}

fn no_response() -> ResponseHead {
    ResponseHead { status: StatusCode::OK, headers: HeaderMap::new() }
}
