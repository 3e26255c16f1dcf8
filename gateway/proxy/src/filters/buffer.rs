// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The buffer filter: a request goes on once all of it is there.

use gateway_config::Buffer;
use gateway_filter_api::{FilterContext, HttpFilter, Outcome};

/// Holds one request.
#[derive(Debug)]
pub(crate) struct Hold(pub(crate) Buffer);

impl HttpFilter for Hold {
    fn on_request_headers(&mut self, _context: &mut FilterContext<'_>, end_of_stream: bool) -> Outcome {
        if end_of_stream { Outcome::Continue } else { Outcome::Buffer }
    }

    fn buffer_limit(&self) -> Option<usize> {
        Some(self.0.max_request_bytes as usize)
    }

    fn is_finished(&self) -> bool {
        true
    }
}
