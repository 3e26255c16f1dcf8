// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The route of a request: found once, and again where a filter asks for it.

use gateway_config::{RequestView, RouteFound, RouteTable};
use gateway_filter_api::RequestHead;

/// A request's place in the route table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Routing<'a> {
    pub(crate) table: &'a RouteTable,
    pub(crate) found: RouteFound<'a>,
    /// Decides about shares; the same for all looks at one request.
    random: u64,
}

impl<'a> Routing<'a> {
    /// The route of a request; none where the table has none.
    pub(crate) fn find(table: &'a RouteTable, head: &RequestHead) -> Option<Self> {
        let random = rand::random();
        Some(Self { table, found: find(table, head, random)?, random })
    }

    /// Chooses among clusters; independent of what shares were decided by.
    pub(crate) fn choice(&self) -> u64 {
        self.random.rotate_left(32)
    }

    /// Looks again; false where the request as it is now has no route.
    pub(crate) fn again(&mut self, head: &RequestHead) -> bool {
        find(self.table, head, self.random).map(|found| self.found = found).is_some()
    }
}

fn find<'a>(table: &'a RouteTable, head: &RequestHead, random: u64) -> Option<RouteFound<'a>> {
    table.find(&view(head, random))
}

/// What conditions read of a request; `random` decides about shares.
pub(crate) fn view(head: &RequestHead, random: u64) -> RequestView<'_> {
    RequestView {
        path: head.path.path(),
        query: head.path.query(),
        method: &head.method,
        authority: head.authority(),
        scheme: head.scheme(),
        headers: &head.headers,
        random,
    }
}
