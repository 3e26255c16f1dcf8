// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The xDS server from outside: state machines by table and property, real streams over TLS.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod convergence;
mod delta_table;
mod round_trip;
mod snapshots;
mod sotw_table;
