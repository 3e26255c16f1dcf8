// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Clients that show a name and a password (RFC 7617).

use http::HeaderName;
use std::collections::HashMap;
use std::fmt;

/// Users (`envoy.extensions.filters.http.basic_auth.v3.BasicAuth`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasicAuth {
    /// The users.
    pub users: Users,
    /// The header that tells the upstream the user.
    pub forward_username: Option<HeaderName>,
    /// Where credentials are; none: `authorization`.
    pub header: Option<HeaderName>,
    /// Requests without credentials go on.
    pub allow_missing: bool,
    /// The user's name is left in the metadata.
    pub emit_metadata: bool,
}

/// The SHA-1 of each user's password, by the user's name.
#[derive(Clone, PartialEq, Eq)]
pub struct Users(pub HashMap<Box<str>, [u8; 20]>);

impl fmt::Debug for Users {
    /// Without the digests.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} users", self.0.len())
    }
}
