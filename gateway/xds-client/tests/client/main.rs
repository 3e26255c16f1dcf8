// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The client against real servers on loopback: ADS over gRPC, the issuer over TLS.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]
#![allow(missing_docs, unreachable_pub, missing_debug_implementations, reason = "nobody else uses these")]

mod authority;
mod consumer;
mod identity;
mod server;
mod streams;
