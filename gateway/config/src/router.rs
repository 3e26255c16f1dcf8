// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Settings of the router itself (`envoy.extensions.filters.http.router.v3.Router`).

/// How the router treats Envoy's own headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouterOptions {
    /// Origins and clients are not told about timeouts, times and original paths by `x-envoy-*`.
    pub suppress_envoy_headers: bool,
    /// `x-envoy-expected-rq-timeout-ms` of a proxy before this one is the request's time limit.
    pub respect_expected_timeout: bool,
    /// Requests in which one of these is not well-formed are answered 400.
    pub strict_headers: Box<[StrictHeader]>,
}

/// A header whose form can be checked (`strict_check_headers`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StrictHeader {
    /// A number: `x-envoy-upstream-rq-timeout-ms`, `x-envoy-upstream-rq-per-try-timeout-ms`, `x-envoy-max-retries`.
    Number(&'static str),
    /// Words of `retry_on`: `x-envoy-retry-on`.
    RetryOn,
    /// Words of `retry_on` for gRPC: `x-envoy-retry-grpc-on`.
    RetryGrpcOn,
}

impl StrictHeader {
    /// Finds the check for a header.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        const NUMBERS: [&str; 3] = [
            "x-envoy-upstream-rq-timeout-ms",
            "x-envoy-upstream-rq-per-try-timeout-ms",
            "x-envoy-max-retries",
        ];
        match name.to_ascii_lowercase().as_str() {
            "x-envoy-retry-on" => Some(Self::RetryOn),
            "x-envoy-retry-grpc-on" => Some(Self::RetryGrpcOn),
            name => NUMBERS.into_iter().find(|number| *number == name).map(Self::Number),
        }
    }

    /// The header's name, in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Number(name) => name,
            Self::RetryOn => "x-envoy-retry-on",
            Self::RetryGrpcOn => "x-envoy-retry-grpc-on",
        }
    }
}
