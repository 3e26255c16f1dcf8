// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Retry policies (`envoy.config.route.v3.RetryPolicy`).

use crate::HeaderMatcher;
use http::{HeaderMap, HeaderName, StatusCode};
use std::time::Duration;

/// Envoy's default for the first wait.
const BACKOFF_BASE: Duration = Duration::from_millis(25);

/// A set of reasons for another attempt (`retry_on`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryOn(u32);

impl RetryOn {
    /// Any 5xx answer, and no answer at all.
    pub const SERVER_ERROR: Self = Self(1);
    /// 502, 503 or 504.
    pub const GATEWAY_ERROR: Self = Self(1 << 1);
    /// No connection could be made.
    pub const CONNECT_FAILURE: Self = Self(1 << 2);
    /// The peer refused the stream before handling it.
    pub const REFUSED_STREAM: Self = Self(1 << 3);
    /// The connection or stream ended before an answer.
    pub const RESET: Self = Self(1 << 4);
    /// One of [`RetryPolicy::status_codes`].
    pub const STATUS_CODES: Self = Self(1 << 5);
    /// 409.
    pub const RETRIABLE_4XX: Self = Self(1 << 6);
    /// The connection or stream ended before the request was sent.
    pub const RESET_BEFORE_REQUEST: Self = Self(1 << 7);
    /// One of [`RetryPolicy::headers`].
    pub const HEADERS: Self = Self(1 << 8);
    /// A rate limit of a proxy behind this one (`x-envoy-ratelimited`).
    pub const RATE_LIMITED: Self = Self(1 << 9);
    /// gRPC status 1.
    pub const GRPC_CANCELLED: Self = Self(1 << 10);
    /// gRPC status 4.
    pub const GRPC_DEADLINE_EXCEEDED: Self = Self(1 << 11);
    /// gRPC status 13.
    pub const GRPC_INTERNAL: Self = Self(1 << 12);
    /// gRPC status 8.
    pub const GRPC_RESOURCE_EXHAUSTED: Self = Self(1 << 13);
    /// gRPC status 14.
    pub const GRPC_UNAVAILABLE: Self = Self(1 << 14);
    /// A failure of HTTP/3 behind the handshake; there is none here.
    pub const HTTP3: Self = Self(1 << 15);

    const GRPC: Self = Self(0b1_1111 << 10);

    /// Both sets.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether any of `reasons` is in the set.
    #[must_use]
    pub const fn intersects(self, reasons: Self) -> bool {
        self.0 & reasons.0 != 0
    }

    /// Reads one word of `x-envoy-retry-on`.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "5xx" => Self::SERVER_ERROR,
            "gateway-error" => Self::GATEWAY_ERROR,
            "connect-failure" => Self::CONNECT_FAILURE,
            "refused-stream" => Self::REFUSED_STREAM,
            "reset" => Self::RESET,
            "retriable-status-codes" => Self::STATUS_CODES,
            "retriable-4xx" => Self::RETRIABLE_4XX,
            "reset-before-request" => Self::RESET_BEFORE_REQUEST,
            "retriable-headers" => Self::HEADERS,
            "envoy-ratelimited" => Self::RATE_LIMITED,
            "http3-post-connect-failure" => Self::HTTP3,
            _ => return None,
        })
    }

    /// Reads one word of `x-envoy-retry-grpc-on`.
    #[must_use]
    pub fn from_grpc_word(word: &str) -> Option<Self> {
        Some(match word {
            "cancelled" => Self::GRPC_CANCELLED,
            "deadline-exceeded" => Self::GRPC_DEADLINE_EXCEEDED,
            "internal" => Self::GRPC_INTERNAL,
            "resource-exhausted" => Self::GRPC_RESOURCE_EXHAUSTED,
            "unavailable" => Self::GRPC_UNAVAILABLE,
            _ => return None,
        })
    }

    /// The reason that a gRPC status is.
    fn from_grpc_status(status: &[u8]) -> Self {
        match status {
            b"1" => Self::GRPC_CANCELLED,
            b"4" => Self::GRPC_DEADLINE_EXCEEDED,
            b"8" => Self::GRPC_RESOURCE_EXHAUSTED,
            b"13" => Self::GRPC_INTERNAL,
            b"14" => Self::GRPC_UNAVAILABLE,
            _ => Self(0),
        }
    }
}

/// When and how often a request is tried again.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// The reasons.
    pub on: RetryOn,
    /// Attempts after the first.
    pub attempts: u32,
    /// Limit of each attempt; none: the request's own limit.
    pub per_try_timeout: Option<Duration>,
    /// Longest time of an attempt without a byte from the upstream.
    pub per_try_idle_timeout: Option<Duration>,
    /// Answers that count for [`RetryOn::STATUS_CODES`].
    pub status_codes: Box<[StatusCode]>,
    /// Answers that count for [`RetryOn::HEADERS`]: any of these holds.
    pub headers: Box<[HeaderMatcher]>,
    /// Requests that are tried again at all: any of these holds; none: all.
    pub request_headers: Box<[HeaderMatcher]>,
    /// Another attempt prefers a host that was not tried (`previous_hosts`).
    pub avoid_previous_hosts: bool,
    /// How often a host is picked again to avoid previous ones.
    pub host_selection_attempts: u32,
    /// First wait; the waits are random below `base * 2^n`.
    pub backoff_base: Duration,
    /// Longest wait.
    pub backoff_max: Duration,
    /// Waits that the upstream asks for.
    pub rate_limited: Option<RateLimitedBackOff>,
}

/// Waits that an answer asks for (`rate_limited_retry_back_off`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimitedBackOff {
    /// Where the time stands; the first that is there and sensible counts.
    pub headers: Box<[ResetHeader]>,
    /// Longer waits are not done (default 300 s).
    pub max: Duration,
}

/// A header that tells when to come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResetHeader {
    /// Its name.
    pub name: HeaderName,
    /// Seconds since 1970; else from now.
    pub timestamp: bool,
}

impl RateLimitedBackOff {
    /// How long an answer asks to wait; `now` is the time since 1970.
    #[must_use]
    pub fn wait(&self, headers: &HeaderMap, now: Duration) -> Option<Duration> {
        let told = |header: &ResetHeader| {
            let seconds: u64 = headers.get(&header.name)?.to_str().ok()?.trim().parse().ok()?;
            let told = Duration::from_secs(seconds);
            let wait = if header.timestamp { told.checked_sub(now)? } else { told };
            (wait > Duration::from_millis(1) && wait <= self.max).then_some(wait)
        };
        self.headers.iter().find_map(told)
    }
}

impl Default for RetryPolicy {
    /// What counts where nothing but the reasons is given.
    fn default() -> Self {
        Self {
            on: RetryOn::default(),
            attempts: 1,
            per_try_timeout: None,
            per_try_idle_timeout: None,
            status_codes: Box::default(),
            headers: Box::default(),
            request_headers: Box::default(),
            avoid_previous_hosts: false,
            host_selection_attempts: 1,
            backoff_base: BACKOFF_BASE,
            backoff_max: BACKOFF_BASE * 10,
            rate_limited: None,
        }
    }
}

impl RetryPolicy {
    /// Whether an answer is worth another attempt.
    #[must_use]
    pub fn retries_answer(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        if headers.contains_key("x-envoy-ratelimited") {
            return self.on.intersects(RetryOn::RATE_LIMITED);
        }
        let code = status.as_u16();
        (self.on.intersects(RetryOn::SERVER_ERROR) && status.is_server_error())
            || (self.on.intersects(RetryOn::GATEWAY_ERROR) && (502..=504).contains(&code))
            || (self.on.intersects(RetryOn::RETRIABLE_4XX) && code == 409)
            || (self.on.intersects(RetryOn::STATUS_CODES) && self.status_codes.contains(&status))
            || (self.on.intersects(RetryOn::HEADERS)
                && self.headers.iter().any(|matcher| matcher.holds_in(headers)))
            || (self.on.intersects(RetryOn::GRPC)
                && headers
                    .get("grpc-status")
                    .is_some_and(|told| self.on.intersects(RetryOn::from_grpc_status(told.as_bytes()))))
    }
}

#[cfg(test)]
mod tests {
    use super::{RateLimitedBackOff, ResetHeader, RetryOn, RetryPolicy};
    use crate::{HeaderMatcher, HeaderSource, ValueMatcher};
    use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
    use std::time::Duration;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn answers_are_judged_by_the_reasons() {
        let retry_me = HeaderMatcher {
            name: HeaderSource::Header(HeaderName::from_static("x-retry-me")),
            value: ValueMatcher::Present(true),
            invert: false,
            missing_as_empty: false,
        };
        for (on, status, lines, expected) in [
            (RetryOn::SERVER_ERROR, 500, &[][..], true),
            (RetryOn::SERVER_ERROR, 503, &[("x-envoy-ratelimited", "true")], false),
            (RetryOn::RATE_LIMITED, 429, &[("x-envoy-ratelimited", "true")], true),
            (RetryOn::RATE_LIMITED, 429, &[], false),
            (RetryOn::HEADERS, 200, &[("x-retry-me", "1")], true),
            (RetryOn::SERVER_ERROR, 200, &[("x-retry-me", "1")], false),
            (RetryOn::GRPC_UNAVAILABLE, 200, &[("grpc-status", "14")], true),
            (RetryOn::GRPC_UNAVAILABLE, 200, &[("grpc-status", "13")], false),
            (RetryOn::GRPC_INTERNAL.union(RetryOn::GRPC_CANCELLED), 200, &[("grpc-status", "1")], true),
            (RetryOn::SERVER_ERROR, 200, &[("grpc-status", "14")], false),
        ] {
            let policy = RetryPolicy { on, headers: [retry_me.clone()].into(), ..RetryPolicy::default() };
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(policy.retries_answer(status, &headers(lines)), expected, "{on:?} {status} {lines:?}");
        }
    }

    #[test]
    fn answers_tell_how_long_to_wait() {
        let named = |name, timestamp| ResetHeader { name: HeaderName::from_static(name), timestamp };
        let back_off = RateLimitedBackOff {
            headers: [named("retry-after", false), named("x-reset", true)].into(),
            max: Duration::from_secs(10),
        };
        for (lines, expected) in [
            (&[("retry-after", "2")][..], Some(2)),
            (&[("retry-after", "11"), ("x-reset", "105")], Some(5)),
            (&[("retry-after", "soon"), ("x-reset", "105")], Some(5)),
            (&[("x-reset", "99")], None),
            (&[("x-reset", "111")], None),
            (&[], None),
        ] {
            let wait = back_off.wait(&headers(lines), Duration::from_secs(100));
            assert_eq!(wait, expected.map(Duration::from_secs), "{lines:?}");
        }
    }
}
