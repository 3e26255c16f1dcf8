// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Access logs of a listener: where lines go, what they look like, which requests get one.

use crate::{Command, Format, Fraction, HeaderMatcher, HeaderSource, JsonFormat, MetadataMatcher, Operator};
use http::HeaderName;

/// All access logs of a filter chain, and what they read of a request.
#[derive(Debug, Default)]
pub struct AccessLogs {
    /// In order.
    pub logs: Box<[AccessLog]>,
    /// Request headers that a log reads; only these are kept until the request's end.
    pub request_headers: Box<[HeaderName]>,
    /// Response headers that a log reads.
    pub response_headers: Box<[HeaderName]>,
    /// Trailers that a log reads.
    pub trailers: Box<[HeaderName]>,
}

/// One access log.
#[derive(Debug)]
pub struct AccessLog {
    /// Where lines go.
    pub sink: LogSink,
    /// What they look like.
    pub format: LogFormat,
    /// Which requests get one; none: all.
    pub filter: Option<LogFilter>,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogSink {
    /// A file, such as `/dev/stdout`.
    File(Box<str>),
}

/// What a line looks like.
#[derive(Clone, Debug, PartialEq)]
pub struct LogFormat {
    /// The line.
    pub line: LogLine,
    /// What is not there is left out, rather than written as `-` or null.
    pub omit_empty: bool,
}

/// Text or JSON.
#[derive(Clone, Debug, PartialEq)]
pub enum LogLine {
    /// Text; has its own line end.
    Text(Format),
    /// One JSON object on each line.
    Json(JsonFormat),
}

/// Which requests get a line (`envoy.config.accesslog.v3.AccessLogFilter`).
#[derive(Clone, Debug, PartialEq)]
pub enum LogFilter {
    /// The status.
    Status(Comparison),
    /// The duration, milliseconds.
    Duration(Comparison),
    /// Not a health check.
    NotHealthCheck,
    /// Traced.
    Traceable,
    /// A share of requests.
    Share {
        /// How large.
        fraction: Fraction,
        /// Decided anew for each log; else by the request's `x-request-id`.
        independent: bool,
    },
    /// All of these.
    All(Box<[Self]>),
    /// Any of these.
    Any(Box<[Self]>),
    /// A request header.
    Header(HeaderMatcher),
    /// Any of these response flags; none: any flag at all.
    Flags(Box<[Box<str>]>),
    /// The gRPC status.
    GrpcStatus {
        /// These.
        statuses: Box<[i32]>,
        /// All but these.
        exclude: bool,
    },
    /// Dynamic metadata.
    Metadata {
        /// What it must be.
        matcher: MetadataMatcher,
        /// The decision where the value is not there.
        absent: bool,
    },
    /// What ends (`log_type_filter`).
    Kind {
        /// A request.
        request: bool,
        /// A session of datagrams.
        session: bool,
    },
}

/// A number compared with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// How.
    pub how: ComparisonKind,
    /// With what.
    pub value: u32,
}

/// How numbers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComparisonKind {
    /// Equal.
    Equal,
    /// At least.
    AtLeast,
    /// At most.
    AtMost,
    /// Not equal.
    NotEqual,
}

impl Comparison {
    /// Whether it holds.
    #[must_use]
    pub fn holds(self, number: u64) -> bool {
        let value = u64::from(self.value);
        match self.how {
            ComparisonKind::Equal => number == value,
            ComparisonKind::AtLeast => number >= value,
            ComparisonKind::AtMost => number <= value,
            ComparisonKind::NotEqual => number != value,
        }
    }
}

impl AccessLogs {
    /// Finds out what the logs read.
    #[must_use]
    pub fn new(logs: Vec<AccessLog>) -> Self {
        let mut reads = Reads::default();
        for log in &logs {
            match &log.format.line {
                LogLine::Text(format) => format.commands().for_each(|command| reads.command(command)),
                LogLine::Json(format) => format.each_command(&mut |command| reads.command(command)),
            }
            log.filter.iter().for_each(|filter| reads.filter(filter));
        }
        Self {
            request_headers: reads.request.into(),
            response_headers: reads.response.into(),
            trailers: reads.trailers.into(),
            logs: logs.into(),
        }
    }
}

#[derive(Default)]
struct Reads {
    request: Vec<HeaderName>,
    response: Vec<HeaderName>,
    trailers: Vec<HeaderName>,
}

impl Reads {
    fn command(&mut self, command: &Command) {
        command.operator.request_headers().for_each(|name| note(&mut self.request, name));
        match &command.operator {
            Operator::Response(name, fallback) => {
                [Some(name), fallback.as_ref()]
                    .into_iter()
                    .flatten()
                    .for_each(|name| note(&mut self.response, name));
            }
            Operator::Trailer(name, fallback) => {
                [Some(name), fallback.as_ref()]
                    .into_iter()
                    .flatten()
                    .for_each(|name| note(&mut self.trailers, name));
            }
            Operator::GrpcStatus(_) => self.grpc(),
            Operator::StreamId => note(&mut self.request, &HeaderName::from_static("x-request-id")),
            Operator::TraceId => note(&mut self.request, &HeaderName::from_static("traceparent")),
            _ => {}
        }
    }

    fn grpc(&mut self) {
        let status = HeaderName::from_static("grpc-status");
        note(&mut self.response, &status);
        note(&mut self.trailers, &status);
    }

    fn filter(&mut self, filter: &LogFilter) {
        match filter {
            LogFilter::All(inner) | LogFilter::Any(inner) => {
                inner.iter().for_each(|inner| self.filter(inner))
            }
            LogFilter::Header(HeaderMatcher { name: HeaderSource::Header(name), .. }) => {
                note(&mut self.request, name)
            }
            LogFilter::GrpcStatus { .. } => self.grpc(),
            LogFilter::Share { independent: false, .. } | LogFilter::Traceable => {
                note(&mut self.request, &HeaderName::from_static("x-request-id"));
            }
            _ => {}
        }
    }
}

fn note(names: &mut Vec<HeaderName>, name: &HeaderName) {
    if !names.contains(name) {
        names.push(name.clone());
    }
}
