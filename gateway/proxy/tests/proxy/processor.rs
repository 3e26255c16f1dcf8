// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A processing service that answers by a function.

use crate::services::Service;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use gateway_xds_api::pb::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use gateway_xds_api::pb::envoy::service::ext_proc::v3::{
    BodyMutation, BodyResponse, CommonResponse, HeaderMutation, HeadersResponse, ProcessingRequest,
    ProcessingResponse, StreamedBodyResponse, TrailersResponse,
    body_mutation::Mutation,
    external_processor_server::{ExternalProcessor, ExternalProcessorServer},
    processing_request::Request as Asked,
    processing_response::Response as Reply,
};
use parking_lot::Mutex;
use std::sync::Arc;
use tonic::{Request, Response, Status, Streaming, async_trait};

/// What the service does about a message.
pub(crate) enum Act {
    Reply(Vec<ProcessingResponse>),
    /// Nothing comes.
    Silent,
    /// The call ends, well or not.
    End(Result<(), Status>),
}

pub(crate) type Seen = Arc<Mutex<Vec<ProcessingRequest>>>;

struct Processor<F> {
    answer: Arc<F>,
    seen: Seen,
}

#[async_trait]
impl<F> ExternalProcessor for Processor<F>
where
    F: Fn(&ProcessingRequest) -> Act + Send + Sync + 'static,
{
    type ProcessStream = BoxStream<'static, Result<ProcessingResponse, Status>>;

    async fn process(
        &self,
        request: Request<Streaming<ProcessingRequest>>,
    ) -> Result<Response<Self::ProcessStream>, Status> {
        let state = (request.into_inner(), Arc::clone(&self.answer), Arc::clone(&self.seen), false);
        let replies = stream::unfold(state, |(mut asked, answer, seen, over)| async move {
            if over {
                return None;
            }
            let message = asked.message().await.ok().flatten()?;
            seen.lock().push(message.clone());
            let (replies, over) = match answer(&message) {
                Act::Reply(replies) => (replies.into_iter().map(Ok).collect(), false),
                Act::Silent => (vec![], false),
                Act::End(Ok(())) => (vec![], true),
                Act::End(Err(status)) => (vec![Err(status)], true),
            };
            Some((stream::iter(replies), (asked, answer, seen, over)))
        });
        Ok(Response::new(replies.flatten().boxed()))
    }
}

/// A processing service and what it saw.
pub(crate) async fn processor<F>(answer: F) -> (Service, Seen)
where
    F: Fn(&ProcessingRequest) -> Act + Send + Sync + 'static,
{
    let seen = Seen::default();
    let service = Processor { answer: Arc::new(answer), seen: Arc::clone(&seen) };
    let router = tonic::transport::Server::builder().add_service(ExternalProcessorServer::new(service));
    (Service::start(router).await, seen)
}

pub(crate) fn reply(response: Reply) -> ProcessingResponse {
    ProcessingResponse { response: Some(response), ..ProcessingResponse::default() }
}

/// The reply of the right kind, with this content.
pub(crate) fn matching(message: &ProcessingRequest, common: CommonResponse) -> ProcessingResponse {
    let mutation = common.header_mutation.clone();
    let common = Some(common);
    reply(match message.request.as_ref().unwrap() {
        Asked::RequestHeaders(_) => Reply::RequestHeaders(HeadersResponse { response: common }),
        Asked::ResponseHeaders(_) => Reply::ResponseHeaders(HeadersResponse { response: common }),
        Asked::RequestBody(_) => Reply::RequestBody(BodyResponse { response: common }),
        Asked::ResponseBody(_) => Reply::ResponseBody(BodyResponse { response: common }),
        Asked::RequestTrailers(_) => Reply::RequestTrailers(TrailersResponse { header_mutation: mutation }),
        Asked::ResponseTrailers(_) => Reply::ResponseTrailers(TrailersResponse { header_mutation: mutation }),
    })
}

pub(crate) fn set(headers: &[(&str, &str)], remove: &[&str]) -> Option<HeaderMutation> {
    let option = |(name, value): &(&str, &str)| HeaderValueOption {
        header: Some(HeaderValue {
            key: (*name).to_owned(),
            raw_value: value.as_bytes().to_vec(),
            ..HeaderValue::default()
        }),
        ..HeaderValueOption::default()
    };
    Some(HeaderMutation {
        set_headers: headers.iter().map(option).collect(),
        remove_headers: remove.iter().map(|name| (*name).to_owned()).collect(),
    })
}

pub(crate) fn body(text: &str) -> Option<BodyMutation> {
    Some(BodyMutation { mutation: Some(Mutation::Body(text.as_bytes().to_vec())) })
}

pub(crate) fn piece(text: &str, end_of_stream: bool) -> CommonResponse {
    let piece = StreamedBodyResponse {
        body: text.as_bytes().to_vec(),
        end_of_stream,
        ..StreamedBodyResponse::default()
    };
    CommonResponse {
        body_mutation: Some(BodyMutation { mutation: Some(Mutation::StreamedResponse(piece)) }),
        ..CommonResponse::default()
    }
}

/// The bytes of a body message, and whether they are the last.
pub(crate) fn bytes(message: &ProcessingRequest) -> Option<(String, bool)> {
    match message.request.as_ref().unwrap() {
        Asked::RequestBody(body) | Asked::ResponseBody(body) => {
            Some((String::from_utf8_lossy(&body.body).into_owned(), body.end_of_stream))
        }
        _ => None,
    }
}

/// The kind of a message.
pub(crate) fn kind(message: &ProcessingRequest) -> &'static str {
    match message.request.as_ref().unwrap() {
        Asked::RequestHeaders(_) => "request",
        Asked::ResponseHeaders(_) => "response",
        Asked::RequestBody(_) => "request body",
        Asked::ResponseBody(_) => "response body",
        Asked::RequestTrailers(_) => "request trailers",
        Asked::ResponseTrailers(_) => "response trailers",
    }
}

/// A header of a head that the service saw.
pub(crate) fn header(message: &ProcessingRequest, name: &str) -> Option<String> {
    let (Asked::RequestHeaders(head) | Asked::ResponseHeaders(head)) = message.request.as_ref().unwrap()
    else {
        return None;
    };
    let headers = &head.headers.as_ref().unwrap().headers;
    let found = headers.iter().find(|header| header.key == name)?;
    Some(String::from_utf8_lossy(&found.raw_value).into_owned())
}
