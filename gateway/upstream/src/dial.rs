// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! TCP connections: to an address or a name, from a source address, with options.

use crate::error::ConnectError;
use gateway_config::ConnectionSettings;
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::net::SocketAddr;
use tokio::net::{TcpSocket, TcpStream};

/// Connects to an address; from the first of `sources` that is of its family, or else the first.
pub(crate) async fn address(address: SocketAddr, sources: &[SocketAddr]) -> io::Result<TcpStream> {
    let same = sources.iter().find(|source| source.is_ipv4() == address.is_ipv4());
    let Some(source) = same.or(sources.first()) else { return TcpStream::connect(address).await };
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if source.port() != 0 {
        socket.set_reuseaddr(true)?;
    }
    socket.bind(*source)?;
    socket.connect(address).await
}

/// Tries the addresses of a name, starting anywhere, until one takes the connection.
pub(crate) async fn name(host: &str, port: u16, sources: &[SocketAddr]) -> Result<TcpStream, ConnectError> {
    let resolved =
        tokio::net::lookup_host((host, port)).await.map_err(|e| ConnectError::Resolve(e.into()))?;
    let mut addresses: Vec<SocketAddr> = resolved.collect();
    if !addresses.is_empty() {
        let start = rand::random_range(0..addresses.len());
        addresses.rotate_left(start);
    }
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for found in addresses {
        match address(found, sources).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(ConnectError::Tcp(last.into()))
}

/// Sets options of a connection; failure to set one leaves a connection that works.
pub(crate) fn set_options(stream: &TcpStream, settings: &ConnectionSettings) {
    let _ = stream.set_nodelay(true);
    if let Some(keepalive) = settings.tcp_keepalive {
        let mut options = TcpKeepalive::new();
        if let Some(time) = keepalive.time {
            options = options.with_time(time);
        }
        if let Some(interval) = keepalive.interval {
            options = options.with_interval(interval);
        }
        if let Some(probes) = keepalive.probes {
            options = options.with_retries(probes);
        }
        let _ = SockRef::from(stream).set_tcp_keepalive(&options);
    }
}
