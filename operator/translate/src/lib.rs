// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The typed model joined with live data to Envoy v3 resources. Pure.
//!
//! A [`Translator`] holds one gateway's resources. It is told of a new configuration and of live changes, and re-encodes
//! exactly the parts that differ; a part whose `Arc` is the same is not looked at.
//!
//! Invariants:
//! - The same inputs give the same bytes: no map with random order is ever encoded.
//! - Every name on the wire is made in [`names`].
//! - A backend that is absent from this cluster has no cluster resource; its routes answer 500 by
//!   `cluster_not_found_response_code`, so that a Service that comes or goes changes one resource.

mod access_log;
mod action;
mod cluster;
mod endpoint;
mod headers;
mod listener;
mod live;
mod matching;
pub mod names;
mod options;
mod plugin;
mod route;
mod secret;
#[cfg(test)]
mod tests;
mod translator;
mod wire;

pub use live::{BackendState, Certificate, LiveEndpoint, PluginModule};
pub use options::BindOptions;
pub use translator::Translator;
