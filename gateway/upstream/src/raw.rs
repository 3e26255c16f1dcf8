// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Connections for bytes that are no HTTP: one for each client, none is pooled.

use crate::RequestBody;
use crate::connect::{self, Target};
use crate::error::ConnectError;
use crate::host::{HostState, Outcome};
use crate::stream::{ConnectionCount, UpstreamStream};
use crate::upstreams::{Picked, Upstreams};
use gateway_config::{Cluster, RoutingPriority};
use http::StatusCode;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection to a host with the cluster's TLS settings; counted at the cluster while it is open.
#[derive(Debug)]
pub struct RawConnection(UpstreamStream);

impl<B: RequestBody> Upstreams<B> {
    /// Connects to a picked host within the cluster's connect timeout.
    ///
    /// # Errors
    /// Where it can not be connected to, which counts against the host, or where the cluster has all the connections it may have.
    pub async fn connect(&self, picked: &Picked<B>) -> Result<RawConnection, ConnectError> {
        open(&picked.target(), picked.host(), picked.cluster(), picked.priority()).await
    }
}

/// Connects to a host; counted at the host and against it.
pub(crate) async fn open(
    target: &Target,
    host: &Arc<HostState>,
    cluster: &Cluster,
    priority: RoutingPriority,
) -> Result<RawConnection, ConnectError> {
    let state = &target.state;
    let count = ConnectionCount::open(state, host, &cluster.limits, priority, false);
    let count = count.ok_or(ConnectError::Overflow)?;
    let result = connect::raw(target, count).await;
    if result.is_err() {
        host.numbers.cx_connect_fail.add(1);
    }
    let outcome = match &result {
        // Envoy counts a connection that came up like an answer that is no error.
        Ok(_) => Outcome::Status(StatusCode::OK),
        Err(_) => Outcome::Failure,
    };
    state.report(host, outcome, cluster);
    result.map(RawConnection)
}

impl AsyncRead for RawConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for RawConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
