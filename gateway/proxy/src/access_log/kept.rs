// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What is kept of a request for its log lines: of its headers only those that a log reads.

use crate::format::Headers;
use gateway_config::{AccessLogs, HeaderSource};
use gateway_filter_api::RequestHead;
use http::header::HOST;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

/// What is kept of one request.
#[derive(Debug)]
pub(crate) struct Kept {
    logs: Arc<AccessLogs>,
    pub(crate) start: SystemTime,
    pub(crate) client: Option<IpAddr>,
    pub(crate) route: Option<Box<str>>,
    pub(crate) cluster: Option<Box<str>>,
    method: Method,
    https: bool,
    pub(crate) authority: Option<HeaderValue>,
    path: Option<PathAndQuery>,
    version: Version,
    request: Values,
    response: Values,
    trailers: Values,
}

/// Values in the order of the names that logs read.
type Values = Box<[Option<HeaderValue>]>;

fn collect(names: &[HeaderName], headers: &HeaderMap) -> Values {
    names.iter().map(|name| headers.get(name).cloned()).collect()
}

fn find<'a>(names: &[HeaderName], values: &'a Values, name: &HeaderName) -> Option<&'a [u8]> {
    let at = names.iter().position(|other| other == name)?;
    values.get(at)?.as_ref().map(HeaderValue::as_bytes)
}

impl Kept {
    /// A request as the client sent it, after its normalisation.
    pub(crate) fn new(logs: &Arc<AccessLogs>, head: &RequestHead, client: IpAddr) -> Box<Self> {
        Box::new(Self {
            client: Some(client),
            https: head.https,
            authority: Some(head.authority.clone()),
            path: (head.method != Method::CONNECT).then(|| head.path.clone()),
            request: collect(&logs.request_headers, &head.headers),
            ..Self::empty(logs, head.method.clone(), head.version)
        })
    }

    /// A request that could not be read.
    pub(crate) fn unread(
        logs: &Arc<AccessLogs>,
        (method, path, version): (Method, Option<PathAndQuery>, Version),
        headers: Option<&HeaderMap>,
    ) -> Box<Self> {
        let mut kept = Box::new(Self { path, ..Self::empty(logs, method, version) });
        if let Some(headers) = headers {
            kept.authority = headers.get(HOST).cloned();
            kept.request = collect(&logs.request_headers, headers);
        }
        kept
    }

    fn empty(logs: &Arc<AccessLogs>, method: Method, version: Version) -> Self {
        Self {
            logs: Arc::clone(logs),
            start: SystemTime::now(),
            client: None,
            route: None,
            cluster: None,
            method,
            https: false,
            authority: None,
            path: None,
            version,
            request: Box::default(),
            response: Box::default(),
            trailers: Box::default(),
        }
    }

    /// The request as it goes upstream: like Envoy's, logs show headers after their changes.
    pub(crate) fn changed(&mut self, head: &RequestHead) {
        if head.method != Method::CONNECT {
            self.path = Some(head.path.clone());
        }
        self.authority = Some(head.authority.clone());
        self.request = collect(&self.logs.request_headers, &head.headers);
    }

    /// The answer's head as it goes to the client.
    pub(crate) fn answered(&mut self, headers: &HeaderMap) {
        self.response = collect(&self.logs.response_headers, headers);
    }

    /// The answer's trailers.
    pub(crate) fn ended(&mut self, trailers: &HeaderMap) {
        self.trailers = collect(&self.logs.trailers, trailers);
    }
}

impl Headers for Kept {
    fn request(&self, source: &HeaderSource) -> Option<&[u8]> {
        match source {
            HeaderSource::Method => Some(self.method.as_str().as_bytes()),
            HeaderSource::Path => self.path.as_ref().map(|path| path.as_str().as_bytes()),
            HeaderSource::Authority => self.authority.as_ref().map(HeaderValue::as_bytes),
            HeaderSource::Scheme => Some(if self.https { b"https" } else { b"http" }),
            HeaderSource::Header(name) => find(&self.logs.request_headers, &self.request, name),
        }
    }

    fn response(&self, name: &HeaderName) -> Option<&[u8]> {
        find(&self.logs.response_headers, &self.response, name)
    }

    fn trailer(&self, name: &HeaderName) -> Option<&[u8]> {
        find(&self.logs.trailers, &self.trailers, name)
    }

    fn version(&self) -> Version {
        self.version
    }
}
