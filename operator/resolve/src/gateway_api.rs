// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Front end for Gateway API (gateway.networking.k8s.io).

mod attach;
mod class;
mod duration;
mod features;
mod filters;
mod gateway;
mod grants;
mod http;
mod listeners;
mod matches;
mod modifiers;
mod rules;
mod status;

pub(crate) use attach::hosts;
pub(crate) use class::{ClassOutcome, resolve_class};
pub use features::SUPPORTED_FEATURES;
pub(crate) use gateway::resolve_gateway;
pub(crate) use grants::{Referrer, grant_facts, permitted};
pub(crate) use http::resolve_http_route;
pub(crate) use matches::{path_rank, segment_prefix};

/// The API group.
pub(crate) const GROUP: &str = "gateway.networking.k8s.io";
