// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The typed model joined with live data to Envoy v3 resources. Pure.
//!
//! (Being written by the integrator: names, live, translator and one module for each resource.)
