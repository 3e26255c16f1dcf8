// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Virtual hosts and their ordered rules.

use crate::{BackendId, HostPattern, Origin, RequestMatch, RouteTableId};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Names one virtual host: a hostname in a route table. This is the unit that changes travel in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VirtualHostId {
    /// The table that the virtual host belongs to.
    pub route_table: RouteTableId,
    /// The hostname it serves.
    pub host: HostPattern,
}

impl fmt::Display for VirtualHostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.route_table, self.host)
    }
}

/// The rules of one hostname. The first rule that matches a request serves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualHost {
    /// The virtual host's name.
    pub id: VirtualHostId,
    /// In order of precedence, already sorted across all objects that contribute.
    pub rules: Vec<Rule>,
}

/// One match and what happens to a request that it takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Unique in the virtual host, stable over changes elsewhere: `httproute/ns/name/rule/match`.
    pub name: String,
    /// The user's object and rule.
    pub origin: Origin,
    /// Which requests.
    pub matches: RequestMatch,
    /// What happens.
    pub action: Action,
    /// Changes to the request and response.
    #[serde(default)]
    pub filters: RuleFilters,
}

/// What happens to a matched request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// It goes to a backend.
    Forward(Forward),
    /// The client is sent elsewhere.
    Redirect(Redirect),
    /// The gateway answers.
    Respond(DirectResponse),
}

/// Where a request goes and how long that may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    /// At least one with a weight above zero. A destination without a backend answers 500 for its share
    /// (Gateway API, `HTTPBackendRef`).
    pub destinations: Vec<Destination>,
    /// Limits in time.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// Further tries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Host or path for the backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewrite: Option<Rewrite>,
    /// Copies of the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<Mirror>,
}

/// One of the weighted backends of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    /// The backend; none where the reference is invalid.
    pub backend: Option<BackendId>,
    /// Share of the requests, relative to the other destinations.
    pub weight: u32,
    /// Header changes for requests that go here.
    #[serde(default, skip_serializing_if = "HeaderMutation::is_empty")]
    pub request_headers: HeaderMutation,
    /// Header changes for responses that come from here.
    #[serde(default, skip_serializing_if = "HeaderMutation::is_empty")]
    pub response_headers: HeaderMutation,
}

/// Limits in milliseconds; none where unset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// The whole exchange, retries included; 0 is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_ms: Option<u64>,
    /// One try; 0 is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_request_ms: Option<u64>,
}

/// Further tries of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// How many tries after the first.
    pub attempts: u32,
    /// Statuses of the backend that are tried again; connection failures always are.
    pub status_codes: Vec<u16>,
    /// Least wait before a further try, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff_ms: Option<u64>,
}

/// What the backend sees instead of the client's host and path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rewrite {
    /// Host header (or :authority).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathRewrite>,
}

/// How a path changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PathRewrite {
    /// The whole path; the query stays.
    Full(String),
    /// The part that the rule's prefix matched.
    Prefix(String),
}

/// A copy of the request whose response is dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mirror {
    /// Where the copy goes.
    pub backend: BackendId,
    /// How many requests in a million are copied.
    pub per_million: u32,
}

/// An answer that sends the client elsewhere. Unset parts stay as requested.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redirect {
    /// `http` or `https`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// Host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Port to show; none leaves it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathRewrite>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// An answer of the gateway itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectResponse {
    /// HTTP status.
    pub status: u16,
    /// Text body; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub body: String,
}

/// Changes to requests and responses of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleFilters {
    /// Before the backend sees the request.
    #[serde(default, skip_serializing_if = "HeaderMutation::is_empty")]
    pub request_headers: HeaderMutation,
    /// Before the client sees the response.
    #[serde(default, skip_serializing_if = "HeaderMutation::is_empty")]
    pub response_headers: HeaderMutation,
    /// Cross-origin rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
}

/// Header changes, applied in the order remove, set, add. Names in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderMutation {
    /// Replaced or put there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<(String, String)>,
    /// Appended to what is there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<(String, String)>,
    /// Taken away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
}

impl HeaderMutation {
    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }
}

/// Cross-origin resource sharing of a rule (Gateway API, `HTTPCORSFilter`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cors {
    /// `*`, exact origins, or origins with one leading wildcard label.
    pub allow_origins: Vec<String>,
    /// Whether credentials may be sent.
    pub allow_credentials: bool,
    /// Methods, or `*`.
    pub allow_methods: Vec<String>,
    /// Request headers, or `*`.
    pub allow_headers: Vec<String>,
    /// Response headers that scripts may read.
    pub expose_headers: Vec<String>,
    /// How long a preflight holds, in seconds.
    pub max_age_s: u32,
}
