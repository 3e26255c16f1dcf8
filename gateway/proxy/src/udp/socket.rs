// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A listener's socket for datagrams. Where it listens on all addresses, it knows which of them a datagram came to, and answers from that
//! one: a client takes answers from no other.

use nix::cmsg_space;
use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt, sockopt,
};
use socket2::SockRef;
use std::cell::RefCell;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// The socket on one worker.
#[derive(Debug)]
pub(super) struct ClientSocket {
    socket: UdpSocket,
    address: SocketAddr,
    /// Room for what the kernel says beside a datagram; none where it is asked nothing.
    beside: Option<RefCell<Vec<u8>>>,
}

/// A datagram that came.
#[derive(Debug)]
pub(super) struct Received {
    /// How long it is.
    pub(super) bytes: usize,
    /// Where it comes from.
    pub(super) client: SocketAddr,
    /// The address that it came to.
    pub(super) local: IpAddr,
}

impl ClientSocket {
    /// A socket that is bound to `address`.
    pub(super) fn new(socket: UdpSocket, address: SocketAddr) -> io::Result<Self> {
        let all = address.ip().is_unspecified();
        match address.ip() {
            IpAddr::V4(_) if all => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?,
            IpAddr::V6(_) if all => setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?,
            _ => {}
        }
        // The larger of the two has room for the other.
        let beside = all.then(|| RefCell::new(cmsg_space!(in6_pktinfo, in_pktinfo)));
        Ok(Self { socket, address, beside })
    }

    /// Returns once there is something to receive.
    pub(super) async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// Receives a datagram without waiting.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let Some(beside) = &self.beside else {
            let (bytes, client) = self.socket.try_recv_from(buffer)?;
            return Ok(Received { bytes, client, local: self.address.ip() });
        };
        self.socket.try_io(Interest::READABLE, || {
            let mut beside = beside.borrow_mut();
            let mut parts = [IoSliceMut::new(buffer)];
            let fd = self.socket.as_raw_fd();
            let message =
                recvmsg::<SockaddrStorage>(fd, &mut parts, Some(&mut beside), MsgFlags::MSG_DONTWAIT)?;
            let client = message.address.as_ref().and_then(socket_address);
            let client = client.ok_or(io::ErrorKind::InvalidData)?;
            let local = message.cmsgs()?.find_map(|said| destination(&said));
            Ok(Received { bytes: message.bytes, client, local: local.unwrap_or(self.address.ip()) })
        })
    }

    /// Sends a datagram to a client from the address that it sent to; what can not be sent at once is lost.
    pub(super) fn send(&self, bytes: &[u8], client: SocketAddr, local: IpAddr) -> io::Result<()> {
        if self.beside.is_none() || local.is_unspecified() {
            return SockRef::from(&self.socket).send_to(bytes, &client.into()).map(drop);
        }
        let parts = [IoSlice::new(bytes)];
        let to = SockaddrStorage::from(client);
        let fd = self.socket.as_raw_fd();
        let send = |beside| sendmsg(fd, &parts, &[beside], MsgFlags::MSG_DONTWAIT, Some(&to));
        match local {
            IpAddr::V4(local) => {
                let source = in_addr { s_addr: u32::from_ne_bytes(local.octets()) };
                let none = in_addr { s_addr: 0 };
                let info = in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: source, ipi_addr: none };
                send(ControlMessage::Ipv4PacketInfo(&info))
            }
            IpAddr::V6(local) => {
                let source = in6_addr { s6_addr: local.octets() };
                let info = in6_pktinfo { ipi6_addr: source, ipi6_ifindex: 0 };
                send(ControlMessage::Ipv6PacketInfo(&info))
            }
        }?;
        Ok(())
    }
}

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|address| SocketAddr::V4((*address).into()));
    v4.or_else(|| address.as_sockaddr_in6().map(|address| SocketAddr::V6((*address).into())))
}

/// The address that a datagram came to.
fn destination(said: &ControlMessageOwned) -> Option<IpAddr> {
    match said {
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            Some(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()).into())
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into()),
        _ => None,
    }
}
