// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The binary as a process: under a relay that the test plays, without one, and to its end.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]
#![allow(unreachable_pub, missing_docs, missing_debug_implementations, reason = "nobody else uses these")]
#![allow(dead_code, reason = "the client's test servers have more than is needed here")]

mod admin;
#[path = "../../xds-client/tests/client/authority.rs"]
mod authority;
mod backend;
mod configuration;
mod gateway;
mod life;
#[path = "../../xds-client/tests/client/server.rs"]
mod server;
