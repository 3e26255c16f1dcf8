// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! gRPC over the pools: messages both ways.

use super::framing::frame;
use super::grpc::{Answer, request};
use super::{Asked, CallError, Callout, GrpcError, Head, timed_out};
use crate::request_body::RequestBody;
use bytes::Bytes;
use gateway_config::GrpcService;
use prost::Message;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::sync::mpsc;

impl Callout {
    /// A call with messages both ways. Nothing is sent before [`GrpcStream::send`]; the caller limits the time of each wait, and how
    /// much it sends without an answer.
    pub(crate) fn stream<Q: Message, A: Message + Default>(
        &self,
        service: &GrpcService,
        path: &'static str,
    ) -> Result<GrpcStream<Q, A>, GrpcError> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let request = request(service, path, RequestBody::channel(receiver), None);
        let (asked, opening) = self.open(&service.cluster, request)?;
        Ok(GrpcStream {
            sender: Some(sender),
            state: State::Opening(asked, Box::pin(opening)),
            max_message: service.max_message,
            messages: PhantomData,
        })
    }
}

type Opening = Pin<Box<dyn Future<Output = Result<Head, CallError>>>>;

enum State {
    Opening(Asked, Opening),
    Open(Box<Answer>),
    Ended,
}

/// A call with messages both ways. Dropped, it is reset.
pub(crate) struct GrpcStream<Q, A> {
    sender: Option<mpsc::UnboundedSender<Bytes>>,
    state: State,
    max_message: usize,
    messages: PhantomData<fn(Q) -> A>,
}

impl<Q, A> fmt::Debug for GrpcStream<Q, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcStream").field("closed", &self.sender.is_none()).finish_non_exhaustive()
    }
}

impl<Q: Message, A: Message + Default> GrpcStream<Q, A> {
    /// Puts a message on its way. Where the call has ended already, [`Self::poll_receive`] says why.
    pub(crate) fn send(&mut self, message: &Q) {
        if let Some(sender) = &self.sender {
            let _ = sender.send(frame(message));
        }
    }

    /// No more messages follow.
    pub(crate) fn close(&mut self) {
        self.sender = None;
    }

    /// The service did not answer in time. That counts against a host that has not taken the call yet.
    pub(crate) fn report_timeout(&self) {
        if let State::Opening(asked, _) = &self.state {
            timed_out(asked);
        }
    }

    /// The next message; none once the service has ended the call and all went well.
    pub(crate) fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<A>, GrpcError>> {
        loop {
            match &mut self.state {
                State::Opening(_, opening) => {
                    let opened = ready!(opening.as_mut().poll(context)).map_err(GrpcError::from);
                    match opened.and_then(|response| Answer::new(response, self.max_message)) {
                        Ok(answer) => self.state = State::Open(Box::new(answer)),
                        Err(error) => {
                            self.state = State::Ended;
                            return Poll::Ready(Err(error));
                        }
                    }
                }
                State::Open(answer) => {
                    let result = ready!(answer.poll_next(context));
                    if !matches!(result, Ok(Some(_))) {
                        self.state = State::Ended;
                    }
                    return Poll::Ready(result);
                }
                State::Ended => return Poll::Ready(Ok(None)),
            }
        }
    }
}
