// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The hold of one request on a connection.

use crate::RequestBody;
use crate::pool::{HostPool, Http1Connection, Http2Connection};
use std::rc::Rc;

/// A connection lent to one request. Dropped before it was finished, an HTTP/1.1 connection closes and an HTTP/2 stream is reset.
pub(crate) struct Lease<B: RequestBody> {
    pool: Rc<HostPool<B>>,
    link: Option<Link<B>>,
    /// It served requests before.
    pub(crate) reused: bool,
    /// Nothing was sent yet.
    unused: bool,
}

/// What is lent.
pub(crate) enum Link<B: RequestBody> {
    Http1(Http1Connection<B>),
    Http2(Rc<Http2Connection<B>>),
}

impl<B: RequestBody> Lease<B> {
    pub(crate) fn new(pool: &Rc<HostPool<B>>, link: Link<B>, reused: bool) -> Self {
        if let Link::Http2(connection) = &link {
            connection.streams.set(connection.streams.get() + 1);
        }
        Self { pool: Rc::clone(pool), link: Some(link), reused, unused: true }
    }

    /// The connection, for sending; from here on it counts as used.
    pub(crate) fn start(&mut self) -> Option<&mut Link<B>> {
        self.unused = false;
        let link = self.link.as_mut()?;
        match link {
            Link::Http1(connection) => connection.requests += 1,
            Link::Http2(connection) => connection.requests.set(connection.requests.get() + 1),
        }
        Some(link)
    }

    /// Whether it is HTTP/2.
    pub(crate) fn is_http2(&self) -> bool {
        matches!(self.link, Some(Link::Http2(_)))
    }

    /// Takes an HTTP/1.1 connection out that was not used.
    pub(crate) fn into_unused(mut self) -> Option<Http1Connection<B>> {
        match self.link.take()? {
            Link::Http1(connection) => Some(connection),
            Link::Http2(connection) => {
                connection.streams.set(connection.streams.get().saturating_sub(1));
                None
            }
        }
    }

    /// The answer is complete: an HTTP/1.1 connection goes back once the request is out too.
    pub(crate) fn finish(mut self) {
        if let Some(Link::Http1(_)) = &self.link
            && let Some(Link::Http1(mut connection)) = self.link.take()
        {
            if connection.sender.is_ready() {
                self.pool.give_back(connection);
            } else if !connection.sender.is_closed() {
                let pool = Rc::clone(&self.pool);
                tokio::task::spawn_local(async move {
                    if connection.sender.ready().await.is_ok() {
                        pool.give_back(connection);
                    }
                });
            }
        }
    }
}

impl<B: RequestBody> Drop for Lease<B> {
    fn drop(&mut self) {
        match self.link.take() {
            Some(Link::Http1(connection)) if self.unused => self.pool.give_back(connection),
            Some(Link::Http2(connection)) => {
                connection.streams.set(connection.streams.get().saturating_sub(1));
                self.pool.serve_waiters(&connection);
            }
            _ => {}
        }
    }
}
