// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Retry policies (`envoy.config.route.v3.RetryPolicy`).

use http::StatusCode;
use std::time::Duration;

/// A set of reasons for another attempt (`retry_on`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryOn(u16);

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

    /// Reads one word of `retry_on`.
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
            _ => return None,
        })
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
    /// Answers that count for [`RetryOn::STATUS_CODES`].
    pub status_codes: Box<[StatusCode]>,
    /// Another attempt prefers a host that was not tried (`previous_hosts`).
    pub avoid_previous_hosts: bool,
    /// How often a host is picked again to avoid previous ones.
    pub host_selection_attempts: u32,
    /// First wait; the waits are random below `base * 2^n`.
    pub backoff_base: Duration,
    /// Longest wait.
    pub backoff_max: Duration,
}

impl RetryPolicy {
    /// Whether an answer with this status is worth another attempt.
    #[must_use]
    pub fn retries_status(&self, status: StatusCode) -> bool {
        let code = status.as_u16();
        (self.on.intersects(RetryOn::SERVER_ERROR) && status.is_server_error())
            || (self.on.intersects(RetryOn::GATEWAY_ERROR) && (502..=504).contains(&code))
            || (self.on.intersects(RetryOn::RETRIABLE_4XX) && code == 409)
            || (self.on.intersects(RetryOn::STATUS_CODES) && self.status_codes.contains(&status))
    }
}
