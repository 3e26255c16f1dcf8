// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Clients that show a key.

use http::HeaderName;
use std::collections::{HashMap, HashSet};
use std::fmt;

/// Keys and where they are looked for (`envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth`). A route's own settings replace the
/// listener's one by one.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ApiKeyAuth {
    /// Client by key.
    pub credentials: HashMap<Box<str>, Box<str>>,
    /// Looked at in order; the first that is there counts.
    pub sources: Box<[ApiKeySource]>,
    /// The header that tells the upstream the client.
    pub forward_client: Option<HeaderName>,
    /// The key does not go on to the upstream.
    pub hide_credentials: bool,
    /// Clients that may come; none: all. Of a route only.
    pub allowed_clients: Option<HashSet<Box<str>>>,
}

/// A place of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiKeySource {
    /// A header; `Bearer ` before the key is not part of it.
    Header(HeaderName),
    /// A parameter of the query.
    Query(Box<str>),
    /// A cookie.
    Cookie(Box<str>),
}

impl fmt::Debug for ApiKeyAuth {
    /// Without the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeyAuth")
            .field("credentials", &self.credentials.len())
            .field("sources", &self.sources)
            .field("forward_client", &self.forward_client)
            .finish_non_exhaustive()
    }
}
