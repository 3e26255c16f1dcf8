// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The translation from outside: goldens, cost of a change, Envoy's own verdict.

mod envoy;
mod golden;
mod incremental;
mod support;
