// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The buffer filter: requests go on once they are complete.

/// How large a request may be (`envoy.extensions.filters.http.buffer.v3.Buffer`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// Bytes of a request's body; more is answered 413.
    pub max_request_bytes: u32,
}
