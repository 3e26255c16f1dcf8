// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What is known of a cluster, as last seen.

use crate::CredentialKind;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// What is known of a cluster. Published by its actor; readers never wait.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Whether it answers.
    pub reach: Reach,
    /// Last answer of its API server.
    pub last_contact: Option<Timestamp>,
    /// Its version, as `v1.33.2`.
    pub version: Option<String>,
    /// UID of its namespace kube-system: two FleetClusters with the same one are the same cluster.
    pub cluster_id: Option<String>,
    /// Rights that our account lacks there, by namespace, as `patch apps/deployments`. A namespace that was not asked about
    /// is absent.
    pub missing_rights: BTreeMap<String, Vec<String>>,
    /// Why new credentials were not taken (the old ones serve on), or why there are none.
    pub credential_problem: Option<String>,
    /// What the API server said to new credentials that were not taken; none where they were refused unasked.
    pub credential_reason: Option<UnreachableReason>,
    /// The kind of the credentials in use.
    pub credential: Option<CredentialKind>,
    /// Goes up with every swap of the client: clients and watches of an older generation are stale.
    pub client_generation: u64,
}

/// Whether a cluster answers. Unreachable is a third state beside good and failed.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Reach {
    /// Not asked yet.
    #[default]
    Unknown,
    /// Answers.
    Reachable {
        /// Since when.
        since: Timestamp,
    },
    /// Does not.
    Unreachable {
        /// Since when.
        since: Timestamp,
        /// Why.
        reason: UnreachableReason,
        /// What the last attempt ended with.
        message: String,
    },
}

impl Reach {
    /// Whether it answers.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        matches!(self, Self::Reachable { .. })
    }
}

/// Why a cluster does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnreachableReason {
    /// There are no usable credentials.
    NoCredentials,
    /// The API server refused the credentials.
    Unauthorized,
    /// No answer within the limit.
    TimedOut,
    /// No connection.
    ConnectFailed,
    /// The API server answered with its own failure.
    ServerError,
}

impl UnreachableReason {
    /// As a condition's reason.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoCredentials => "NoCredentials",
            Self::Unauthorized => "Unauthorized",
            Self::TimedOut => "TimedOut",
            Self::ConnectFailed => "ConnectFailed",
            Self::ServerError => "ServerError",
        }
    }
}
