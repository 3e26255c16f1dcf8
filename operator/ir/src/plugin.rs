// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! proxy-wasm plugins of a gateway.

use crate::Origin;
use serde::{Deserialize, Serialize};

/// One plugin with its configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plugin {
    /// Unique within the gateway.
    pub name: String,
    /// OCI reference with digest: `registry/repository@sha256:...`.
    pub image: String,
    /// Name of a pull Secret in the member cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_secret: Option<String>,
    /// Where it runs among the others.
    pub phase: PluginPhase,
    /// Higher runs earlier within a phase.
    pub priority: i32,
    /// What happens to requests while it cannot run.
    pub failure_policy: FailurePolicy,
    /// Its configuration, handed over as JSON text.
    pub config: String,
    /// The object that asked for it.
    pub origin: Origin,
}

/// Order of plugins in the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PluginPhase {
    /// Who is it.
    AuthN,
    /// May they.
    AuthZ,
    /// Counting.
    Stats,
    /// Everything else, last.
    Default,
}

/// What happens to requests while a plugin cannot run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailurePolicy {
    /// They go on without it.
    FailOpen,
    /// They are answered 503.
    FailClosed,
}
