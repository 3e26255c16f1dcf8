// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The typed model joined with live data to Envoy v3 resources. Pure.
//!
//! ```text
//! GatewayConfig + Live -> Translator::update -> ResourceSet of our gateway (virtual hosts one by one)
//!                         Translator::envoy_resources -> the same for a stock Envoy (virtual hosts inline), on demand
//! ```
//!
//! Invariants:
//! - The same input gives the same bytes: maps of the wire types have one entry, or are written by [`canonical`].
//! - A part whose `Arc` did not change is not encoded again.
//! - Unknown is not empty: live data that could not be read keeps the resource before it.

mod access_log;
mod canonical;
mod cluster;
mod cors;
mod endpoints;
mod headers;
mod http_manager;
mod listener;
mod live;
mod matcher;
pub mod names;
mod rewrite;
mod route;
mod secret;
mod translator;
mod value;
mod wasm;

pub use live::{
    BackendState, BindOptions, Certificate, CertificateState, Endpoint, Endpoints, Live, LocalityEndpoints,
    PluginFact,
};
pub use translator::{Changes, Translator};
