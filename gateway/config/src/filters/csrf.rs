// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Protection against requests that another site makes a browser send.

use crate::{Fraction, StringMatcher};

/// Which origins may send requests that change something (`envoy.extensions.filters.http.csrf.v3.CsrfPolicy`).
#[derive(Clone, Debug, PartialEq)]
pub struct CsrfPolicy {
    /// Share of requests that are checked and refused.
    pub enabled: Fraction,
    /// Share of requests that are checked and only counted.
    pub shadow: Fraction,
    /// Origins (host and port) beside the request's own host.
    pub additional_origins: Box<[StringMatcher]>,
}
