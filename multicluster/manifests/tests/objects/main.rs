// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A member's objects from outside: golden files, types, rules that every object keeps.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod golden;
mod invariants;
mod overrides;
mod sample;
