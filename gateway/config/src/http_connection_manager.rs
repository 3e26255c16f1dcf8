// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! How a listener speaks HTTP (`HttpConnectionManager`).

use crate::{
    AccessLogs, ClientCertificateHeader, Clients, HttpFilter, LocalReplies, RouteTable, RouterOptions,
    Tracing, UpgradeRule,
};
use http::HeaderValue;
use std::sync::Arc;
use std::time::Duration;

/// HTTP settings of a filter chain.
#[derive(Debug)]
pub struct HttpConnectionManager {
    /// How requests are traced; none: they are not.
    pub tracing: Option<Arc<Tracing>>,
    /// Prefix of its statistics.
    pub stat_prefix: Box<str>,
    /// Where routes come from.
    pub routes: RouteSource,
    /// Which protocols are spoken.
    pub codec: Codec,
    /// Filters in order; the router is last.
    pub filters: Box<[HttpFilter]>,
    /// Settings of the router, the last filter.
    pub router: RouterOptions,
    /// How requests are logged.
    pub access_logs: Arc<AccessLogs>,
    /// Time limits.
    pub timeouts: HttpTimeouts,
    /// Size limits.
    pub limits: HttpLimits,
    /// Treatment of the path before routing.
    pub path: PathOptions,
    /// Treatment of the authority's port before routing.
    pub strip_port: StripPort,
    /// A dot at the end of the host is removed before routing.
    pub strip_trailing_dot: bool,
    /// What becomes of header names with underscores.
    pub underscores: Underscores,
    /// The client's address and what it says about itself.
    pub forwarding: Forwarding,
    /// Whom to believe about the client's address.
    pub clients: Clients,
    /// Upstreams are told which gateway asks (`add_user_agent`).
    pub tells_node: bool,
    /// Answers tell `x-request-id`.
    pub request_id_in_answers: bool,
    /// Appended to `via` of requests and answers.
    pub via: Option<HeaderValue>,
    /// What the upstream is told about the client's certificate.
    pub client_certificate: ClientCertificateHeader,
    /// Value of the `server` header (default `envoy`).
    pub server_name: HeaderValue,
    /// When it is written.
    pub server_header: ServerHeader,
    /// The form of own answers; none: as they are.
    pub local_replies: Option<Arc<LocalReplies>>,
    /// Upgrades that are allowed.
    pub upgrades: Box<[UpgradeRule]>,
}

/// When the gateway writes the `server` header of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerHeader {
    /// Always.
    #[default]
    Overwrite,
    /// Where the upstream wrote none.
    AppendIfAbsent,
    /// Never.
    PassThrough,
}

/// Where the routes of a listener come from.
#[derive(Clone, Debug)]
pub enum RouteSource {
    /// The route table of this name.
    Rds(Box<str>),
    /// A table inside the listener.
    Inline(Arc<RouteTable>),
}

/// Protocols of a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// By ALPN, else by the first bytes.
    #[default]
    Auto,
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 only.
    Http2,
}

/// Time limits of a listener; none: no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpTimeouts {
    /// A stream without any traffic ends (default 5 min).
    pub stream_idle: Option<Duration>,
    /// The whole request must have come.
    pub request: Option<Duration>,
    /// The head of the request must have come.
    pub request_headers: Option<Duration>,
    /// A connection without streams ends (default 1 h).
    pub idle: Option<Duration>,
    /// A connection ends gracefully after this time.
    pub max_connection: Option<Duration>,
    /// A stream ends after this time.
    pub max_stream: Option<Duration>,
    /// From GOAWAY to the end of a connection (default 5 s).
    pub drain: Duration,
}

/// Size limits of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// All headers of a request, bytes (default 60 KiB).
    pub max_headers_bytes: u32,
    /// Number of headers (default 100).
    pub max_headers: u32,
    /// Streams at a time on an HTTP/2 connection.
    pub max_concurrent_streams: Option<u32>,
    /// Initial window of an HTTP/2 stream, bytes.
    pub initial_stream_window: Option<u32>,
    /// Initial window of an HTTP/2 connection, bytes.
    pub initial_connection_window: Option<u32>,
    /// Requests on one connection.
    pub max_requests_per_connection: Option<u32>,
    /// Clients of HTTP/2 may ask for upgrades (RFC 8441, extended CONNECT).
    pub extended_connect: bool,
}

/// Treatment of the path before routing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathOptions {
    /// Dot segments are resolved (RFC 3986, 6.2.2).
    pub normalize: bool,
    /// Double slashes become one.
    pub merge_slashes: bool,
    /// What happens to `%2F` and `%5C`.
    pub escaped_slashes: EscapedSlashes,
}

/// What happens to escaped slashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EscapedSlashes {
    /// They stay.
    #[default]
    Keep,
    /// The request is answered 400.
    Reject,
    /// They are decoded and the client is redirected.
    UnescapeAndRedirect,
    /// They are decoded.
    UnescapeAndForward,
}

/// Treatment of the port in the authority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StripPort {
    /// It stays.
    #[default]
    Keep,
    /// Removed where it is the listener's.
    Matching,
    /// Removed.
    Any,
}

/// What becomes of header names with underscores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Underscores {
    /// They stay.
    #[default]
    Allow,
    /// The request is answered 400.
    Reject,
    /// The header is dropped.
    Drop,
}

/// The client's address and `x-forwarded-*`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forwarding {
    /// The peer's address is the client's (edge).
    pub use_remote_address: bool,
    /// Proxies in front of this one whose `x-forwarded-for` entries are trusted.
    pub trusted_hops: u32,
    /// `x-forwarded-for` is not appended.
    pub skip_append: bool,
    /// `x-forwarded-port` tells the port that the client connected to.
    pub append_port: bool,
    /// What counts as the scheme, and is told by `x-forwarded-proto`, whatever the client used.
    pub https: Option<bool>,
    /// An `x-request-id` is made where there is none.
    pub generate_request_id: bool,
    /// A client's `x-request-id` stays, also at the edge.
    pub preserve_request_id: bool,
}
