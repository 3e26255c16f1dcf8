// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Listening sockets: one for each worker on the same address, so that the kernel spreads connections and clients' datagrams
//! (SO_REUSEPORT).

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
#[cfg(target_os = "linux")]
use socket2::{SockFilter, SockRef};
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;

/// A socket that listens.
#[derive(Debug)]
pub(crate) enum ListenSocket {
    /// For connections.
    Tcp(TcpListener),
    /// For datagrams.
    Udp(UdpSocket),
}

/// What is listened for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wanted {
    /// Connections, of which so many may wait to be accepted.
    Tcp { backlog: Option<u32> },
    /// Datagrams.
    Udp,
}

/// Opens `count` sockets on one address; port 0 lets the kernel choose one port for all. Those that are there already (of a process whose
/// place this one takes) are used, all of them: clients may wait in each.
///
/// # Errors
/// Those of the system; nothing stays open then.
pub(crate) fn listen(
    address: SocketAddr,
    count: usize,
    wanted: Wanted,
    there: Vec<TcpListener>,
) -> io::Result<(SocketAddr, Vec<ListenSocket>)> {
    let mut there = there.into_iter().map(ListenSocket::Tcp);
    let first = there.next().map_or_else(|| open(address, wanted), Ok)?;
    let bound = match &first {
        ListenSocket::Tcp(socket) => socket.local_addr()?,
        ListenSocket::Udp(socket) => socket.local_addr()?,
    };
    let mut sockets: Vec<_> = std::iter::once(first).chain(there).collect();
    while sockets.len() < count {
        sockets.push(open(bound, wanted)?);
    }
    Ok((bound, sockets))
}

/// Bytes of an answer that the kernel takes before the client's window lets them out. Without this limit it holds megabytes for a client
/// that reads nothing, which no budget counts and no timeout of ours sees.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 128 << 10;

fn open(address: SocketAddr, wanted: Wanted) -> io::Result<ListenSocket> {
    let (kind, protocol) = match wanted {
        Wanted::Tcp { .. } => (Type::STREAM, Protocol::TCP),
        Wanted::Udp => (Type::DGRAM, Protocol::UDP),
    };
    let socket = Socket::new(Domain::for_address(address), kind.nonblocking().cloexec(), Some(protocol))?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        // `::` takes IPv4 as well, as in Envoy with ipv4_compat and in Go.
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_port(true)?;
    let Wanted::Tcp { backlog } = wanted else {
        socket.bind(&SockAddr::from(address))?;
        return Ok(ListenSocket::Udp(socket.into()));
    };
    socket.set_reuse_address(true)?;
    // What is accepted inherits it.
    #[cfg(target_os = "linux")]
    socket.set_tcp_notsent_lowat(UNSENT)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(i32::try_from(backlog.unwrap_or(BACKLOG)).unwrap_or(i32::MAX))?;
    Ok(ListenSocket::Tcp(socket.into()))
}

/// Lets no further client begin a handshake on a listening socket; those that have begun are completed. A socket that closes resets who is
/// between its first packet and `accept`, while a first packet that is dropped is sent again a second later, to whoever listens then.
#[cfg(target_os = "linux")]
pub(crate) fn begin_no_handshake(socket: &tokio::net::TcpListener) {
    // The flags of TCP's header (RFC 9293, 3.1): SYN without ACK is dropped, everything else passes.
    let filter = [
        SockFilter::new(0x30, 0, 0, 13),
        SockFilter::new(0x54, 0, 0, 0x12),
        SockFilter::new(0x15, 0, 1, 0x02),
        SockFilter::new(0x06, 0, 0, 0),
        SockFilter::new(0x06, 0, 0, u32::MAX),
    ];
    if let Err(error) = SockRef::from(socket).attach_filter(&filter) {
        tracing::debug!(%error, "a listening socket closes without waiting for handshakes");
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn begin_no_handshake(_: &tokio::net::TcpListener) {}
