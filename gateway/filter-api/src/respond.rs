// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! An answer that a filter gives itself.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use std::borrow::Cow;

/// Sent instead of the upstream's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalResponse {
    /// The status.
    pub status: StatusCode,
    /// Its headers; the proxy adds the framing.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// Why, for the access log's `response_code_details`.
    pub details: Cow<'static, str>,
    /// The gRPC status, where the request is gRPC and the filter gave one.
    pub grpc_status: Option<u32>,
}

impl LocalResponse {
    /// An answer without headers and body.
    #[must_use]
    pub fn new(status: StatusCode, details: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            details: details.into(),
            grpc_status: None,
        }
    }
}
