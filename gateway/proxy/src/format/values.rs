// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What commands read: headers, as they are or as they were kept, and the circumstances of a request.

use crate::record::Record;
use crate::udp::SessionFigures;
use gateway_config::{EndpointAddress, HeaderSource};
use gateway_filter_api::{ConnectionInfo, Metadata, RequestHead};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use std::fmt::Debug;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

/// The headers of a request and its answer; the first of several values counts, as in Envoy.
pub(crate) trait Headers: Debug {
    /// A header of the request, or one of its pseudo headers.
    fn request(&self, source: &HeaderSource) -> Option<&[u8]>;
    /// A header of the answer.
    fn response(&self, name: &HeaderName) -> Option<&[u8]>;
    /// A trailer of the answer.
    fn trailer(&self, name: &HeaderName) -> Option<&[u8]>;
    /// What the client spoke.
    fn version(&self) -> Version;
}

/// The headers while the request goes on.
#[derive(Debug)]
pub(crate) struct LiveHeaders<'a> {
    pub(crate) request: &'a RequestHead,
    pub(crate) response: Option<&'a HeaderMap>,
}

impl Headers for LiveHeaders<'_> {
    fn request(&self, source: &HeaderSource) -> Option<&[u8]> {
        let head = self.request;
        match source {
            HeaderSource::Header(name) => head.headers.get(name).map(HeaderValue::as_bytes),
            HeaderSource::Method => Some(head.method.as_str().as_bytes()),
            HeaderSource::Path => Some(head.path.as_str().as_bytes()),
            HeaderSource::Authority => Some(head.authority.as_bytes()),
            HeaderSource::Scheme => Some(head.scheme().as_bytes()),
        }
    }

    fn response(&self, name: &HeaderName) -> Option<&[u8]> {
        self.response?.get(name).map(HeaderValue::as_bytes)
    }

    fn trailer(&self, _name: &HeaderName) -> Option<&[u8]> {
        None
    }

    fn version(&self) -> Version {
        self.request.version
    }
}

/// What commands read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Values<'a> {
    /// The connection.
    pub(crate) connection: &'a ConnectionInfo,
    /// Headers; none: commands that read headers have no value.
    pub(crate) headers: Option<&'a dyn Headers>,
    /// The endpoint, once one is chosen.
    pub(crate) upstream: Option<&'a EndpointAddress>,
    /// The status of the answer.
    pub(crate) status: Option<StatusCode>,
    /// The route's name.
    pub(crate) route: Option<&'a str>,
    /// The cluster's name.
    pub(crate) cluster: Option<&'a str>,
    /// What filters learned.
    pub(crate) metadata: Option<&'a Metadata>,
    /// The body of an own answer.
    pub(crate) reply_body: Option<&'a [u8]>,
    /// What is counted and timed.
    pub(crate) record: Option<&'a Record>,
    /// What passed, where it is a session of datagrams.
    pub(crate) session: Option<SessionFigures>,
    /// The client where it is not the peer.
    pub(crate) client: Option<IpAddr>,
    /// When the request began.
    pub(crate) start: Option<SystemTime>,
    /// From there to its end, once it is over.
    pub(crate) duration: Option<Duration>,
}

impl<'a> Values<'a> {
    /// What a connection says; all else is not there.
    pub(crate) fn of(connection: &'a ConnectionInfo) -> Self {
        Self {
            connection,
            headers: None,
            upstream: None,
            status: None,
            route: None,
            cluster: None,
            metadata: None,
            reply_body: None,
            record: None,
            session: None,
            client: None,
            start: None,
            duration: None,
        }
    }
}
