// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The course of one message, request or answer: what is asked, and what the service's replies lead to.

use super::apply::{Rejected, Trailers, change_body, immediate, mutate, streamed};
use super::failure::Wrong;
use super::session::{Problem, Timing};
use super::{Process, messages};
use crate::filter::Direction;
use crate::filters::awaited::Awaited;
use crate::protobuf_json::to_json;
use bytes::{Bytes, BytesMut};
use gateway_config::{ProcBody, RouteCacheAction};
use gateway_filter_api::{FilterContext, Outcome};
use gateway_xds_api::pb::envoy::service::ext_proc::v3::{
    CommonResponse, HeaderMutation, ProcessingResponse, TrailersResponse, body_mutation::Mutation,
    common_response::ResponseStatus, processing_request::Request, processing_response::Response,
};

/// One of the two messages.
#[derive(Debug, Default)]
pub(super) struct Side {
    waiting: Option<(Asked, Awaited<Replies>)>,
    /// The head that goes to the service together with the body.
    held_head: Option<Request>,
    /// What the service puts in place of the whole body.
    pub(super) replacement: Option<Bytes>,
    /// Nothing more of this message goes to the service.
    pub(super) done: bool,
    /// The service has seen as much of the body as it is to see.
    body_done: bool,
    /// This side has sent its first message.
    introduced: bool,
    /// The head said that no body follows.
    bodiless: bool,
    /// The bytes that are waited for are the last.
    last: bool,
}

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Head,
    /// All of it, or a piece that is answered by itself.
    Bytes,
    /// A body in pieces, perhaps with its head and trailers.
    Duplex,
    Trailers,
}

type Replies = Result<Vec<ProcessingResponse>, Problem>;

impl Process {
    fn side(&mut self, direction: Direction) -> &mut Side {
        &mut self.sides[direction as usize]
    }

    pub(super) fn on_head(
        &mut self,
        direction: Direction,
        context: &mut FilterContext<'_>,
        end_of_stream: bool,
    ) -> Outcome {
        if self.over {
            return Outcome::Continue;
        }
        self.side(direction).bodiless = end_of_stream;
        if !self.shows_headers(direction) {
            return self.after_head(direction);
        }
        let head = messages::head(&self.place.config, direction, context, end_of_stream);
        if self.body(direction) == ProcBody::FullDuplex && !end_of_stream {
            self.side(direction).held_head = Some(head);
            return Outcome::Buffer;
        }
        self.ask(direction, context, Asked::Head, vec![head])
    }

    /// Whether the head waits for the body.
    fn after_head(&self, direction: Direction) -> Outcome {
        let side = &self.sides[direction as usize];
        let whole = matches!(self.body(direction), ProcBody::Buffered | ProcBody::FullDuplex);
        match side.replacement.is_some() || (whole && !self.over && !side.done && !side.bodiless) {
            true => Outcome::Buffer,
            false => Outcome::Continue,
        }
    }

    pub(super) fn on_bytes(
        &mut self,
        direction: Direction,
        context: &mut FilterContext<'_>,
        chunk: &mut BytesMut,
        end_of_stream: bool,
    ) -> Outcome {
        if let Some(replacement) = self.side(direction).replacement.take() {
            chunk.clear();
            chunk.extend_from_slice(&replacement);
            return Outcome::Continue;
        }
        if self.over || self.side(direction).done {
            return Outcome::Continue;
        }
        self.side(direction).last = end_of_stream;
        let trailers = context.trailers.as_ref().is_some_and(|trailers| !trailers.is_empty());
        let ends = end_of_stream && !trailers;
        let seen = self.side(direction).body_done;
        match self.body(direction) {
            ProcBody::None => self.on_trailers(direction, context),
            _ if seen => self.on_trailers(direction, context),
            ProcBody::Buffered if !end_of_stream => Outcome::Buffer,
            ProcBody::FullDuplex if !end_of_stream => Outcome::Buffer,
            ProcBody::BufferedPartial if !end_of_stream && chunk.len() < self.limit() => Outcome::Buffer,
            ProcBody::Streamed if chunk.is_empty() && !ends => self.on_trailers(direction, context),
            ProcBody::FullDuplex => {
                let mut all = Vec::from_iter(self.side(direction).held_head.take());
                all.extend(messages::pieces(direction, chunk, ends));
                if let Some(trailers) = context.trailers.as_deref().filter(|_| trailers) {
                    all.push(messages::trailers(&self.place.config, direction, trailers));
                }
                self.ask(direction, context, Asked::Duplex, all)
            }
            ProcBody::Streamed | ProcBody::Buffered | ProcBody::BufferedPartial => {
                self.ask(direction, context, Asked::Bytes, vec![messages::body(direction, chunk, ends)])
            }
        }
    }

    fn limit(&self) -> usize {
        self.connection.worker().limits().buffer
    }

    /// Behind the last bytes.
    fn on_trailers(&mut self, direction: Direction, context: &mut FilterContext<'_>) -> Outcome {
        let trailers = context.trailers.as_deref().filter(|trailers| !trailers.is_empty());
        if self.over || self.side(direction).done || !self.shows_trailers(direction) {
            return Outcome::Continue;
        }
        let Some(trailers) = trailers else { return Outcome::Continue };
        let message = messages::trailers(&self.place.config, direction, trailers);
        self.ask(direction, context, Asked::Trailers, vec![message])
    }

    fn ask(
        &mut self,
        direction: Direction,
        context: &mut FilterContext<'_>,
        asked: Asked,
        requests: Vec<Request>,
    ) -> Outcome {
        let session = match self.session() {
            Ok(session) => session,
            Err(problem) => return self.failed(problem),
        };
        for request in requests {
            let config = &self.place.config;
            let names = match direction {
                Direction::Request => &config.request_attributes,
                Direction::Response => &config.response_attributes,
            };
            let first = !std::mem::replace(&mut self.sides[direction as usize].introduced, true);
            let attributes = first.then(|| messages::attributes(names, context));
            let metadata = messages::metadata(self.namespaces().0, context);
            let mode = (!std::mem::replace(&mut self.introduced, true)).then_some(self.mode);
            session.send(&messages::message(request, mode, attributes, metadata));
            self.place.counters.messages_sent.increment();
        }
        let config = &self.place.config;
        let timing = Timing { limit: config.message_timeout, longest: config.max_message_timeout };
        let most = self.limit();
        let stalled = self.connection.worker().limits().stalled;
        let (waiting, pause) = Awaited::pause(async move {
            match asked {
                Asked::Duplex => session.answers(direction, Timing { limit: stalled, ..timing }, most).await,
                _ => session.answer(direction, timing).await.map(Vec::from_iter),
            }
        });
        self.side(direction).waiting = Some((asked, waiting));
        Outcome::Pause(pause)
    }

    pub(super) fn resume(
        &mut self,
        direction: Direction,
        context: &mut FilterContext<'_>,
        mut chunk: Option<&mut BytesMut>,
    ) -> Outcome {
        let Some((asked, waiting)) = self.side(direction).waiting.take() else { return Outcome::Continue };
        let replies = match waiting.take() {
            Some(Ok(replies)) => replies,
            Some(Err(problem)) => return self.failed(problem),
            None => return self.failed(Problem::Timeout),
        };
        if replies.iter().any(|reply| streamed(reply).is_some())
            && let Some(chunk) = chunk.as_deref_mut()
        {
            chunk.clear();
        }
        // Without a reply the service has ended the call: the request goes on without it.
        let ended = replies.is_empty();
        for reply in replies {
            self.place.counters.messages_received.increment();
            if let Err(wrong) = self.apply(direction, context, (asked, reply), chunk.as_deref_mut()) {
                return self.went_wrong(wrong, asked == Asked::Duplex);
            }
        }
        if ended {
            self.end();
        }
        match asked {
            Asked::Head => {
                let outcome = self.after_head(direction);
                if direction == Direction::Request && !self.goes_on() {
                    self.end();
                }
                outcome
            }
            Asked::Bytes if self.side(direction).last => self.on_trailers(direction, context),
            Asked::Bytes => {
                // Of a larger body the service sees the start alone.
                self.side(direction).body_done = self.body(direction) == ProcBody::BufferedPartial;
                Outcome::Continue
            }
            Asked::Duplex | Asked::Trailers => {
                self.side(direction).done = true;
                Outcome::Continue
            }
        }
    }

    fn apply(
        &mut self,
        direction: Direction,
        context: &mut FilterContext<'_>,
        (asked, reply): (Asked, ProcessingResponse),
        chunk: Option<&mut BytesMut>,
    ) -> Result<(), Wrong> {
        self.take_metadata(&reply, context);
        let piece = streamed(&reply).map(|piece| Bytes::copy_from_slice(&piece.body));
        match (direction, asked, reply.response) {
            (_, _, Some(Response::ImmediateResponse(response))) => {
                if self.place.config.disable_immediate_response {
                    self.end();
                    return Ok(());
                }
                Err(Wrong::Answered(Box::new(immediate(response, self.most_headers())?)))
            }
            (Direction::Request, Asked::Head | Asked::Duplex, Some(Response::RequestHeaders(head)))
            | (Direction::Response, Asked::Head | Asked::Duplex, Some(Response::ResponseHeaders(head))) => {
                if asked == Asked::Head {
                    self.override_mode(reply.mode_override.as_ref());
                }
                self.apply_head(direction, context, head.response.unwrap_or_default(), asked)
            }
            (Direction::Request, Asked::Bytes | Asked::Duplex, Some(Response::RequestBody(body)))
            | (Direction::Response, Asked::Bytes | Asked::Duplex, Some(Response::ResponseBody(body))) => {
                let common = body.response.unwrap_or_default();
                match (asked, piece, chunk) {
                    (Asked::Duplex, Some(piece), Some(chunk)) => chunk.extend_from_slice(&piece),
                    (Asked::Bytes, None, Some(chunk)) => {
                        self.apply_bytes(direction, context, common, chunk)?;
                    }
                    // Pieces where none are agreed on, and the other way round.
                    _ => return Err(Wrong::Spurious),
                }
                Ok(())
            }
            (
                Direction::Request,
                Asked::Trailers | Asked::Duplex,
                Some(Response::RequestTrailers(trailers)),
            )
            | (
                Direction::Response,
                Asked::Trailers | Asked::Duplex,
                Some(Response::ResponseTrailers(trailers)),
            ) => {
                let TrailersResponse { header_mutation } = trailers;
                let Some((mutation, trailers)) = header_mutation.zip(context.trailers.as_deref_mut()) else {
                    return Ok(());
                };
                let rules = &self.place.config.mutation_rules;
                let passed = mutate(&mutation, &mut Trailers(trailers), Some(rules), self.most_headers())?;
                self.place.counters.rejected_mutations.add(passed);
                Ok(())
            }
            _ => Err(Wrong::Spurious),
        }
    }

    fn apply_head(
        &mut self,
        direction: Direction,
        context: &mut FilterContext<'_>,
        response: CommonResponse,
        asked: Asked,
    ) -> Result<(), Wrong> {
        let replaces = response.status == i32::from(ResponseStatus::ContinueAndReplace);
        self.change_head(direction, context, response.header_mutation.as_ref())?;
        if direction == Direction::Request {
            context.reroute |= match self.place.config.route_cache {
                RouteCacheAction::Default => response.clear_route_cache,
                RouteCacheAction::Clear => true,
                RouteCacheAction::Retain => false,
            };
        }
        if replaces && asked == Asked::Head {
            let body = match response.body_mutation.and_then(|mutation| mutation.mutation) {
                Some(Mutation::Body(body)) => Bytes::from(body),
                Some(Mutation::StreamedResponse(_)) => return Err(Wrong::Spurious),
                Some(Mutation::ClearBody(_)) | None => Bytes::new(),
            };
            let side = self.side(direction);
            (side.replacement, side.done) = (Some(body), true);
        }
        Ok(())
    }

    fn apply_bytes(
        &mut self,
        direction: Direction,
        context: &mut FilterContext<'_>,
        response: CommonResponse,
        chunk: &mut BytesMut,
    ) -> Result<(), Wrong> {
        let replaces = response.status == i32::from(ResponseStatus::ContinueAndReplace);
        // Else the head is on its way already.
        if self.body(direction) == ProcBody::Buffered {
            self.change_head(direction, context, response.header_mutation.as_ref())?;
            if direction == Direction::Request {
                let keep = self.place.config.route_cache == RouteCacheAction::Retain;
                context.reroute |= response.clear_route_cache && !keep;
            }
        }
        if let Some(mutation) = &response.body_mutation {
            change_body(mutation, chunk);
        }
        self.side(direction).done |= replaces;
        Ok(())
    }

    fn change_head(
        &self,
        direction: Direction,
        context: &mut FilterContext<'_>,
        mutation: Option<&HeaderMutation>,
    ) -> Result<(), Rejected> {
        let Some(mutation) = mutation else { return Ok(()) };
        let (rules, most) = (Some(&self.place.config.mutation_rules), self.most_headers());
        let passed = match (direction, context.response.as_deref_mut()) {
            (Direction::Request, _) => mutate(mutation, context.request, rules, most)?,
            (Direction::Response, Some(response)) => mutate(mutation, response, rules, most)?,
            (Direction::Response, None) => 0,
        };
        self.place.counters.rejected_mutations.add(passed);
        let headers = match (direction, &context.response) {
            (Direction::Response, Some(response)) => &response.headers,
            _ => &context.request.headers,
        };
        if headers.len() > most { Err(Rejected) } else { Ok(()) }
    }

    fn most_headers(&self) -> usize {
        self.connection.settings().http.limits.max_headers as usize
    }

    fn override_mode(
        &mut self,
        by: Option<&gateway_xds_api::pb::envoy::extensions::filters::http::ext_proc::v3::ProcessingMode>,
    ) {
        let fixed = [self.mode.request_body, self.mode.response_body].contains(&ProcBody::FullDuplex);
        let Some((by, allowed)) = by.zip(self.place.config.mode_override.as_ref()).filter(|_| !fixed) else {
            return;
        };
        if let Some(mode) = self.mode.overridden(by, allowed) {
            self.mode = mode;
        }
    }

    fn take_metadata(&self, reply: &ProcessingResponse, context: &mut FilterContext<'_>) {
        let Some(metadata) = &reply.dynamic_metadata else { return };
        for namespace in self.namespaces().1 {
            let Some(value) = metadata.fields.get(&**namespace) else { continue };
            if let Some(gateway_xds_api::pb::google::protobuf::value::Kind::StructValue(values)) = &value.kind
            {
                context.metadata.merge(namespace, to_json(values.clone()));
            }
        }
    }
}
