// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The typed model of a gateway's configuration, free of Kubernetes and of protobuf.
//!
//! One [`GatewayConfig`] describes one gateway (one group of proxies that serve the same configuration). Front ends in
//! `operator/resolve` write it, `operator/revision` seals it, `operator/translate` turns it into Envoy v3 resources.
//!
//! Invariants:
//! - No host's live state: backends and certificates are *named* here; endpoints and keys join in the relay.
//! - Every part carries its [`Origin`], so that a rejection can name the user's object.
//! - Ordered maps only: the same inputs give the same bytes.
//! - Parts sit behind `Arc`: an unchanged part is the same allocation, which later stages use to skip work.

mod backend;
mod gateway;
mod host;
mod listener;
mod matcher;
mod origin;
mod plugin;
mod route;

pub use backend::{Backend, BackendId, BackendProtocol};
pub use gateway::{GatewayConfig, GatewayId};
pub use host::HostPattern;
pub use listener::{Application, FilterChain, Listener, RouteTableId, SecretId, TlsTermination};
pub use matcher::{HeaderMatch, PathMatch, QueryMatch, RequestMatch, StringMatch};
pub use origin::{ObjectKind, ObjectRef, Origin};
pub use plugin::{FailurePolicy, Plugin, PluginPhase};
pub use route::{
    Action, Cors, Destination, DirectResponse, Forward, HeaderMutation, Mirror, PathRewrite, Redirect, Retry,
    Rewrite, Rule, RuleFilters, Timeouts, VirtualHost, VirtualHostId,
};
