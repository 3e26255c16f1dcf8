// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The filter of one request: its callbacks and what they may answer.

use crate::{FilterContext, LocalResponse, Pause, RequestLog};
use bytes::BytesMut;

/// What happens after a callback.
#[derive(Debug)]
pub enum Outcome {
    /// The next filter runs.
    Continue,
    /// The request ends here with this answer. In a response phase it replaces the answer while the head is not sent;
    /// afterwards the stream is reset.
    Respond(Box<LocalResponse>),
    /// Nothing goes on until the handle is used; then [`HttpFilter::on_resume`] is called.
    Pause(Pause),
    /// In a header phase: the head waits for the whole body, which is offered in one call of the body callback. In a body
    /// phase: the bytes are kept and offered again together with the next ones. Limited by the proxy's buffer limit; more
    /// is answered 413 (request) or 500 (response).
    Buffer,
}

/// The callback that a paused filter goes on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// [`HttpFilter::on_request_headers`].
    RequestHeaders,
    /// [`HttpFilter::on_request_body`].
    RequestBody,
    /// [`HttpFilter::on_response_headers`].
    ResponseHeaders,
    /// [`HttpFilter::on_response_body`].
    ResponseBody,
}

/// Sees one request, its response and its end. Request phases run in the configured order, response phases in the
/// opposite one. No callback may block.
pub trait HttpFilter {
    /// The request's head is there; `end_of_stream` says that no body follows.
    fn on_request_headers(&mut self, context: &mut FilterContext<'_>, end_of_stream: bool) -> Outcome {
        let _ = (context, end_of_stream);
        Outcome::Continue
    }

    /// Whether there is nothing more to do for this request; asked after the head. No further callback comes then, not even
    /// [`Self::on_log`].
    fn is_finished(&self) -> bool {
        false
    }

    /// How many bytes of a request may be held for this filter where it answers [`Outcome::Buffer`] to the head; none: the proxy's limit.
    fn buffer_limit(&self) -> Option<usize> {
        None
    }

    /// Whether this filter puts a body where there is none: its body callback is called then as well, where it holds the head by
    /// [`Outcome::Buffer`].
    fn adds_body(&self) -> bool {
        false
    }

    /// Whether [`Self::on_request_body`] has anything to do for this request; asked after the head. Bodies that no filter
    /// wants pass without a copy.
    fn wants_request_body(&self) -> bool {
        false
    }

    /// Bytes of the request's body; `chunk` may be changed, emptied or grown.
    fn on_request_body(
        &mut self,
        context: &mut FilterContext<'_>,
        chunk: &mut BytesMut,
        end_of_stream: bool,
    ) -> Outcome {
        let _ = (context, chunk, end_of_stream);
        Outcome::Continue
    }

    /// The response's head is there.
    fn on_response_headers(&mut self, context: &mut FilterContext<'_>, end_of_stream: bool) -> Outcome {
        let _ = (context, end_of_stream);
        Outcome::Continue
    }

    /// Whether [`Self::on_response_body`] has anything to do for this response; asked after its head.
    fn wants_response_body(&self) -> bool {
        false
    }

    /// Bytes of the response's body; `chunk` may be changed, emptied or grown.
    fn on_response_body(
        &mut self,
        context: &mut FilterContext<'_>,
        chunk: &mut BytesMut,
        end_of_stream: bool,
    ) -> Outcome {
        let _ = (context, chunk, end_of_stream);
        Outcome::Continue
    }

    /// The wait asked for in `phase` is over. The answer counts as that of the paused callback.
    fn on_resume(&mut self, context: &mut FilterContext<'_>, phase: Phase) -> Outcome {
        let _ = (context, phase);
        Outcome::Continue
    }

    /// The same for the phases of bodies; `chunk` is what the paused callback was offered, and goes on as it is left here.
    fn on_resume_body(
        &mut self,
        context: &mut FilterContext<'_>,
        phase: Phase,
        chunk: &mut BytesMut,
    ) -> Outcome {
        let _ = chunk;
        self.on_resume(context, phase)
    }

    /// The request is over, however it ended. Called exactly once, last.
    fn on_log(&mut self, context: &mut FilterContext<'_>, log: &RequestLog) {
        let _ = (context, log);
    }
}
