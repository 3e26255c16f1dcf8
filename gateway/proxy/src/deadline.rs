// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The time limits of a request, as in Envoy: from the last byte of the request to the last byte of the answer, retries included; for the
//! stream as a whole; and for a stream on which nothing moves until its answer comes.

use crate::request_body::BodySource;
use gateway_config::StreamDuration;
use http::{HeaderMap, HeaderValue};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// Which limit is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// The request's.
    Request,
    /// The stream's.
    Stream,
    /// That on idleness.
    Idle,
}

/// The limits, as configuration and request say.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TimeLimits {
    /// From the end of the request; zero: none.
    pub(crate) request: Option<Duration>,
    /// From the end of the request to the head of the answer; zero: none.
    pub(crate) idle: Option<Duration>,
    /// When the stream ends.
    pub(crate) stream: Option<Instant>,
}

/// The limits of one request.
#[derive(Debug)]
pub(crate) struct Deadline {
    request: Option<Duration>,
    waiting: Option<(Duration, Over)>,
    body: Option<Rc<BodySource>>,
    sleep: Option<Pin<Box<Sleep>>>,
    stream: Option<Instant>,
    stream_sleep: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// The time of the request and that on idleness run once `body` has ended.
    pub(crate) fn new(limits: TimeLimits, body: Option<Rc<BodySource>>) -> Self {
        let set = |limit: Option<Duration>| limit.filter(|limit| !limit.is_zero());
        let (request, idle) = (set(limits.request), set(limits.idle));
        let waiting = match (request, idle) {
            (Some(request), Some(idle)) if idle < request => Some((idle, Over::Idle)),
            (Some(request), _) => Some((request, Over::Request)),
            (None, idle) => idle.map(|idle| (idle, Over::Idle)),
        };
        Self { request, waiting, body, sleep: None, stream: limits.stream, stream_sleep: None }
    }

    /// Returns when one is over; may be dropped and called again.
    pub(crate) async fn expired(&mut self) -> Over {
        let Self { waiting, body, sleep: timer, stream, stream_sleep, .. } = self;
        let waiting = async {
            let Some((limit, over)) = *waiting else { return std::future::pending().await };
            if let Some(body) = body {
                body.ended().await;
            }
            timer.get_or_insert_with(|| Box::pin(sleep(limit))).as_mut().await;
            over
        };
        let Some(end) = *stream else { return waiting.await };
        let stream = stream_sleep.get_or_insert_with(|| Box::pin(sleep_until(end)));
        tokio::select! {
            biased;
            over = waiting => over,
            () = stream.as_mut() => Over::Stream,
        }
    }

    /// Whether the client has sent all of the request.
    pub(crate) fn request_ended(&self) -> bool {
        self.body.as_ref().is_none_or(|body| body.has_ended())
    }

    /// When the stream has to end.
    pub(crate) fn stream_end(&self) -> Option<Instant> {
        self.stream
    }

    /// What is left of the time, for the answer's body. A request that is still being sent while its answer comes (a stream both ways)
    /// has no limit but that of the stream and that on idleness.
    pub(crate) fn into_sleep(self) -> Option<(Pin<Box<Sleep>>, Over)> {
        let ended = self.request_ended();
        let kept = self.sleep.filter(|_| self.waiting.is_some_and(|(_, over)| over == Over::Request));
        let request = self.request.filter(|_| ended);
        let request = request.map(|limit| kept.unwrap_or_else(|| Box::pin(sleep(limit))));
        let stream = self.stream.map(|end| Box::pin(sleep_until(end)));
        match (request, stream) {
            (Some(request), Some(stream)) if stream.deadline() < request.deadline() => {
                Some((stream, Over::Stream))
            }
            (Some(request), _) => Some((request, Over::Request)),
            (None, stream) => stream.map(|stream| (stream, Over::Stream)),
        }
    }
}

/// How long a stream may last; what counts is told to the upstream of a `grpc` request where the route has limits of its own.
pub(crate) fn stream_limit(
    headers: &mut HeaderMap,
    grpc: bool,
    route: StreamDuration,
    listener: Option<Duration>,
) -> Option<Duration> {
    let asked = headers.get("grpc-timeout").and_then(|value| grpc_timeout(value.to_str().ok()?));
    let limit = match (asked, route.grpc_max) {
        (Some(asked), Some(max)) => {
            let capped = if max.is_zero() { asked } else { asked.min(max) };
            Some(capped.saturating_sub(route.grpc_offset))
        }
        _ => route.max.or(listener).filter(|limit| !limit.is_zero()),
    };
    if let Some(limit) = limit.filter(|_| grpc && route.tell)
        && let Ok(value) = HeaderValue::try_from(grpc_text(limit))
    {
        headers.insert("grpc-timeout", value);
    }
    limit
}

/// Reads a `grpc-timeout`: at most eight digits and a unit.
fn grpc_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

/// The coarsest unit from milliseconds on in which eight digits are enough.
fn grpc_text(limit: Duration) -> String {
    const MOST: u128 = 99_999_999;
    let mut count = limit.as_millis();
    for (unit, next) in [('m', 1000), ('S', 60), ('M', 60)] {
        if count <= MOST {
            return format!("{count}{unit}");
        }
        count /= next;
    }
    format!("{}H", count.min(MOST))
}

#[cfg(test)]
mod tests {
    use super::{grpc_text, grpc_timeout, stream_limit};
    use gateway_config::StreamDuration;
    use http::{HeaderMap, HeaderValue};
    use std::time::Duration;

    #[test]
    fn grpc_times_are_read_and_written() {
        for (text, expected) in [
            ("1S", Some(Duration::from_secs(1))),
            ("20m", Some(Duration::from_millis(20))),
            ("2H", Some(Duration::from_secs(7200))),
            ("99999999u", Some(Duration::from_micros(99_999_999))),
            ("999999999n", None),
            ("S", None),
            ("", None),
            ("-1S", None),
            ("1x", None),
            ("1\u{e9}", None),
        ] {
            assert_eq!(grpc_timeout(text), expected, "{text}");
        }
        assert_eq!(grpc_text(Duration::from_millis(1500)), "1500m");
        assert_eq!(grpc_text(Duration::from_secs(200_000)), "200000S");
    }

    #[test]
    fn the_limit_of_a_stream_is_the_route_s_before_the_listener_s() {
        let second = Duration::from_secs(1);
        let grpc =
            StreamDuration { grpc_max: Some(second), grpc_offset: second / 4, ..StreamDuration::default() };
        for (asked, route, listener, expected) in [
            (None, StreamDuration::default(), Some(second), Some(second)),
            (None, StreamDuration { max: Some(Duration::ZERO), ..grpc }, Some(second), None),
            (None, StreamDuration { max: Some(second / 2), ..grpc }, Some(second), Some(second / 2)),
            (Some("500m"), grpc, None, Some(second / 4)),
            (Some("5S"), grpc, None, Some(second - second / 4)),
            (
                Some("5S"),
                StreamDuration { grpc_max: Some(Duration::ZERO), ..grpc },
                None,
                Some(second * 5 - second / 4),
            ),
            (Some("5S"), StreamDuration::default(), None, None),
        ] {
            let mut headers = HeaderMap::new();
            asked.map(|asked| headers.insert("grpc-timeout", HeaderValue::from_static(asked)));
            assert_eq!(stream_limit(&mut headers, true, route, listener), expected, "{asked:?} {route:?}");
        }
    }

    #[test]
    fn upstreams_of_grpc_are_told_the_limit_of_a_route() {
        let second = Duration::from_secs(1);
        let own = StreamDuration { grpc_max: Some(second), tell: true, ..StreamDuration::default() };
        for (grpc, asked, route, expected) in [
            (true, Some("5S"), own, Some("1000m")),
            (true, None, own, Some("2000m")),
            (false, Some("5S"), own, Some("5S")),
            (false, None, own, None),
            (true, Some("5S"), StreamDuration::default(), Some("5S")),
            (true, None, StreamDuration::default(), None),
        ] {
            let mut headers = HeaderMap::new();
            asked.map(|asked| headers.insert("grpc-timeout", HeaderValue::from_static(asked)));
            stream_limit(&mut headers, grpc, route, Some(second * 2));
            let told = headers.get("grpc-timeout").map(|value| value.to_str().unwrap());
            assert_eq!(told, expected, "{grpc} {asked:?} {route:?}");
        }
    }
}
