// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The process's place on its host: its operations ports, free from the start or taken from the process before.

use crate::process::Shared;
use crate::takeover::Predecessor;
use anyhow::Context;
use gateway_telemetry::{PageServer, Pages};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Operations ports, and the process that has them until this one is ready.
#[derive(Debug)]
pub(crate) struct Place {
    waiting: Option<(Predecessor, Vec<(PageServer, Pages)>)>,
    /// The ports' sockets, for a process that takes this one's place.
    pub(crate) sockets: Vec<TcpListener>,
}

impl Place {
    /// Serves the pages at once where nobody else does; else takes over the other process's sockets, and serves no page yet: probes are
    /// answered by the one that serves.
    pub(crate) async fn new(
        shared: &Shared,
        predecessor: Option<Predecessor>,
        pages: Vec<(SocketAddr, Pages)>,
        ending: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let mut place = Self { waiting: None, sockets: Vec::new() };
        let mut servers = Vec::new();
        let mut predecessor = predecessor;
        for (address, pages) in pages {
            let socket = predecessor.as_mut().and_then(|predecessor| predecessor.take(address));
            let server = match socket {
                Some(socket) => PageServer::from_socket(socket, address)?,
                None => PageServer::bind(address).await?,
            };
            place.sockets.push(server.socket().with_context(|| format!("socket of {address}"))?);
            servers.push((server, pages));
        }
        match predecessor {
            Some(mut predecessor) => {
                shared.proxy.inherit(predecessor.take_rest()).await;
                place.waiting = Some((predecessor, servers));
            }
            None => serve(servers, ending),
        }
        Ok(place)
    }

    /// Takes the place of the process before, if there is one, once this one is ready.
    ///
    /// # Errors
    /// Where it is not in time: then the other one goes on, and what this one has taken so far is served to its end.
    pub(crate) async fn take(&mut self, shared: &Shared, ending: &CancellationToken) -> anyhow::Result<()> {
        let Some((predecessor, servers)) = self.waiting.take() else { return Ok(()) };
        if let Err(error) = predecessor.replace(shared).await {
            shared.proxy.hand_over();
            let deadline = std::time::Duration::from_secs(shared.bootstrap.drain_seconds);
            shared.proxy.drain(deadline).await;
            return Err(error.into());
        }
        shared.proxy.forget_inherited().await;
        serve(servers, ending);
        tracing::info!("the place of the process before is taken");
        Ok(())
    }
}

fn serve(servers: Vec<(PageServer, Pages)>, ending: &CancellationToken) {
    for (server, pages) in servers {
        tokio::spawn(server.serve(Arc::new(pages), ending.clone()));
    }
}
