// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Listening sockets: one for each worker on the same address, so that the kernel spreads connections (SO_REUSEPORT).

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;

/// Opens `count` sockets on one address; port 0 lets the kernel choose one port for all.
///
/// # Errors
/// Those of the system; nothing stays open then.
pub(crate) fn listen(
    address: SocketAddr,
    count: usize,
    backlog: Option<u32>,
) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    let first = open(address, backlog)?;
    let bound = first.local_addr()?;
    let mut sockets = vec![first];
    while sockets.len() < count {
        sockets.push(open(bound, backlog)?);
    }
    Ok((bound, sockets))
}

fn open(address: SocketAddr, backlog: Option<u32>) -> io::Result<TcpListener> {
    let socket =
        Socket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        // `::` takes IPv4 as well, as in Envoy with ipv4_compat and in Go.
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(i32::try_from(backlog.unwrap_or(BACKLOG)).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}
