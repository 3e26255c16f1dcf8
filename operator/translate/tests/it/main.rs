// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The translation from outside: goldens, cost of a change, Envoy's own verdict.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod envoy;
mod golden;
mod incremental;
mod support;
