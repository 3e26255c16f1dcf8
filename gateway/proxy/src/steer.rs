// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What a request's own headers say about how it is forwarded (Envoy, router, "HTTP headers (consumed)"). Of clients outside of the house
//! these headers are gone already.

use crate::answer::{Answer, is_grpc, local};
use crate::routing::view;
use bytes::Bytes;
use gateway_config::{
    Forward, HeaderMatcher, HeaderSource, RetryOn, RetryPolicy, RouterOptions, StrictHeader, ValueMatcher,
    expected_timeout,
};
use gateway_filter_api::RequestHead;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use std::borrow::Cow;
use std::time::Duration;

/// Told to the upstream.
pub(crate) static EXPECTED_TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");

/// How a request is forwarded: the route's wishes, and its own over them.
#[derive(Debug)]
pub(crate) struct Steering<'a> {
    /// For the whole request.
    pub(crate) timeout: Option<Duration>,
    /// For one attempt.
    pub(crate) per_try: Option<Duration>,
    /// When to try again.
    pub(crate) retry: Option<Cow<'a, RetryPolicy>>,
    /// The time that the upstream is told about.
    pub(crate) expected: Option<HeaderValue>,
    /// The answer when the time is over.
    pub(crate) timeout_status: StatusCode,
}

/// The headers as they were.
#[derive(Debug, Default)]
struct Told {
    timeout: Option<u64>,
    per_try: Option<u64>,
    alternative: bool,
    max_retries: Option<u32>,
    retry_on: RetryOn,
    status_codes: Vec<StatusCode>,
    header_names: Vec<HeaderName>,
    any: bool,
}

impl<'a> Steering<'a> {
    /// Reads what the request says and takes it out.
    pub(crate) fn of(head: &mut RequestHead, forward: &'a Forward, router: &RouterOptions) -> Self {
        let mut steering = Self {
            timeout: forward.timeout,
            per_try: forward.retry.as_ref().and_then(|retry| retry.per_try_timeout),
            retry: forward.retry.as_ref().map(Cow::Borrowed),
            expected: forward.expected_timeout.clone(),
            timeout_status: StatusCode::GATEWAY_TIMEOUT,
        };
        // Most requests have none of them: one look at the names is all they pay.
        let told = if head.headers.keys().any(|name| name.as_str().starts_with("x-envoy-")) {
            take(&mut head.headers, router.respect_expected_timeout)
        } else {
            Told::default()
        };
        if told.any {
            steering.follow(told);
        }
        if let (Some(total), Some(per_try)) = (steering.timeout, steering.per_try)
            && !total.is_zero()
            && per_try >= total
        {
            steering.per_try = None;
        }
        let limited = steering.retry.as_ref().is_some_and(|retry| !retry.request_headers.is_empty());
        if limited {
            let request = view(head, 0);
            steering.retry =
                steering.retry.filter(|retry| retry.request_headers.iter().any(|m| m.is_match(&request)));
        }
        steering
    }

    fn follow(&mut self, told: Told) {
        if let Some(millis) = told.timeout {
            self.timeout = Some(Duration::from_millis(millis));
        }
        if let Some(millis) = told.per_try {
            self.per_try = Some(Duration::from_millis(millis));
        }
        if told.timeout.is_some() || told.per_try.is_some() {
            self.expected = expected_timeout(self.timeout, self.per_try)
                .map(|time| HeaderValue::from(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)));
        }
        if told.alternative {
            self.timeout_status = StatusCode::NO_CONTENT;
        }
        let asks = told.retry_on != RetryOn::default();
        let changes =
            told.max_retries.is_some() || !told.status_codes.is_empty() || !told.header_names.is_empty();
        if !(asks || changes && self.retry.is_some()) {
            return;
        }
        let mut policy = self.retry.take().map(Cow::into_owned).unwrap_or_default();
        policy.on = policy.on.union(told.retry_on);
        policy.attempts = told.max_retries.unwrap_or(policy.attempts);
        policy.status_codes = [&*policy.status_codes, &*told.status_codes].concat().into();
        let present = |name| HeaderMatcher {
            name: HeaderSource::Header(name),
            value: ValueMatcher::Present(true),
            invert: false,
            missing_as_empty: false,
        };
        policy.headers =
            policy.headers.iter().cloned().chain(told.header_names.into_iter().map(present)).collect();
        self.retry = Some(Cow::Owned(policy));
    }
}

fn take(headers: &mut HeaderMap, respect_expected: bool) -> Told {
    let mut told = Told::default();
    let expected = headers.get(&EXPECTED_TIMEOUT).filter(|_| respect_expected).cloned();
    let mut text = |name: &str| {
        let value = headers.remove(name)?;
        told.any = true;
        value.to_str().ok().map(str::to_owned)
    };
    let number = |text: Option<String>| text.and_then(|text| text.trim().parse::<u64>().ok());
    if expected.is_none() {
        // Else it is none of this gateway's business, and goes on as in Envoy.
        told.timeout = number(text("x-envoy-upstream-rq-timeout-ms"));
    }
    told.per_try = number(text("x-envoy-upstream-rq-per-try-timeout-ms"));
    told.alternative = text("x-envoy-upstream-rq-timeout-alt-response").is_some();
    let retries = number(text("x-envoy-max-retries"));
    told.max_retries = retries.map(|count| u32::try_from(count).unwrap_or(u32::MAX));
    let words = text("x-envoy-retry-on").unwrap_or_default();
    let grpc_words = text("x-envoy-retry-grpc-on").unwrap_or_default();
    let codes = text("x-envoy-retriable-status-codes").unwrap_or_default();
    let names = text("x-envoy-retriable-header-names").unwrap_or_default();
    // Names of statistics alone, and hedging, which is not done here.
    for name in ["x-envoy-upstream-alt-stat-name", "x-envoy-hedge-on-per-try-timeout"] {
        headers.remove(name);
    }
    let on = tokens(&words).filter_map(RetryOn::from_word);
    told.retry_on =
        on.chain(tokens(&grpc_words).filter_map(RetryOn::from_grpc_word)).fold(told.retry_on, RetryOn::union);
    told.status_codes =
        tokens(&codes).filter_map(|code| StatusCode::from_u16(code.parse().ok()?).ok()).collect();
    told.header_names = tokens(&names).filter_map(|name| HeaderName::try_from(name).ok()).collect();
    if let Some(expected) = expected.as_ref().and_then(|value| value.to_str().ok())
        && let Ok(millis) = expected.trim().parse()
    {
        told.timeout = Some(millis);
        told.any = true;
    }
    told
}

fn tokens(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|token| !token.is_empty())
}

/// The answer to a request in which a checked header is not well-formed, with the header's name.
pub(crate) fn malformed<'a>(
    head: &RequestHead,
    router: &RouterOptions,
) -> Option<(Answer<'a>, &'static str)> {
    let bad = router.strict_headers.iter().find_map(|header| {
        let value = head.headers.get(header.name())?;
        let text = value.to_str().unwrap_or_default();
        (!is_well_formed(*header, text)).then(|| (header.name(), text.to_owned()))
    });
    let (name, value) = bad?;
    let body = Bytes::from(format!("invalid header '{name}' with value '{value}'"));
    Some((local(StatusCode::BAD_REQUEST, HeaderMap::new(), body, is_grpc(head)), name))
}

fn is_well_formed(header: StrictHeader, text: &str) -> bool {
    match header {
        StrictHeader::Number(_) => text.trim().parse::<u64>().is_ok(),
        StrictHeader::RetryOn => tokens(text).all(|word| RetryOn::from_word(word).is_some()),
        StrictHeader::RetryGrpcOn => tokens(text).all(|word| RetryOn::from_grpc_word(word).is_some()),
    }
}

#[cfg(test)]
mod tests {
    use super::take;
    use gateway_config::RetryOn;
    use http::{HeaderMap, HeaderName, HeaderValue};

    #[test]
    fn headers_are_read_and_taken_out() {
        let lines = [
            ("x-envoy-upstream-rq-timeout-ms", "250"),
            ("x-envoy-upstream-rq-per-try-timeout-ms", "soon"),
            ("x-envoy-max-retries", "3"),
            ("x-envoy-retry-on", "5xx, cancelled,reset"),
            ("x-envoy-retry-grpc-on", "cancelled"),
            ("x-envoy-retriable-status-codes", "404, nonsense,500"),
            ("x-envoy-retriable-header-names", "x-a, b c"),
            ("x-envoy-upstream-alt-stat-name", "other"),
            ("x-envoy-expected-rq-timeout-ms", "70"),
            ("x-other", "1"),
        ];
        let sent: HeaderMap = lines
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        let mut headers = sent.clone();
        let told = take(&mut headers, false);
        assert_eq!((told.timeout, told.per_try, told.max_retries), (Some(250), None, Some(3)));
        assert_eq!(told.retry_on, RetryOn::SERVER_ERROR.union(RetryOn::RESET).union(RetryOn::GRPC_CANCELLED));
        assert_eq!((told.status_codes.len(), told.header_names.len()), (2, 1));
        assert_eq!(headers.len(), 2);
        assert_eq!(take(&mut sent.clone(), true).timeout, Some(70));
    }
}
