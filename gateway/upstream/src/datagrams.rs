// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Sockets for datagrams: one for each session, connected to its host, counted at the cluster as a connection is.

use crate::RequestBody;
use crate::error::ConnectError;
use crate::host::{HostHealth, HostState};
use crate::registry::ClusterState;
use crate::stream::ConnectionCount;
use crate::upstreams::{Picked, Upstreams};
use crate::view::ViewHost;
use crate::worker_cluster::WorkerCluster;
use gateway_config::{EndpointAddress, Snapshot};
use socket2::SockRef;
use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use tokio::net::UdpSocket;

/// A socket to a host; counted at the cluster while it is open.
pub struct DatagramSocket<B: RequestBody> {
    socket: UdpSocket,
    state: Arc<ClusterState>,
    host: Arc<HostState>,
    /// The cluster as it was looked at last, and where in it the host is.
    place: RefCell<(Rc<WorkerCluster<B>>, usize)>,
    _count: ConnectionCount,
}

/// How a socket's host stands now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prospect {
    /// It may go on.
    Usable,
    /// It takes nothing now.
    Unhealthy,
    /// It is no longer one of the cluster's, or there is no such cluster any more.
    Gone,
}

impl<B: RequestBody> Upstreams<B> {
    /// Opens a socket to a picked host. TLS and what else the cluster says of connections plays no part.
    ///
    /// # Errors
    /// Where the cluster has all the connections it may have, or the system has no socket left.
    pub fn open_datagrams(&self, picked: &Picked<B>) -> Result<DatagramSocket<B>, ConnectError> {
        let (state, host, cluster) = (picked.state(), picked.host(), picked.cluster());
        let place = picked.worker_cluster();
        let at = place.position_of(host).ok_or(ConnectError::Closed)?;
        let count = ConnectionCount::open(state, host, &cluster.limits, picked.priority(), false);
        let count = count.ok_or(ConnectError::Overflow)?;
        let socket = connect(picked.address(), &cluster.source_addresses).map_err(|error| {
            host.numbers.cx_connect_fail.add(1);
            state.metrics.upstream_cx_connect_fail.add(1);
            ConnectError::Tcp(error.into())
        })?;
        let (state, host) = (Arc::clone(state), Arc::clone(host));
        let place = RefCell::new((Rc::clone(place), at));
        Ok(DatagramSocket { socket, state, host, place, _count: count })
    }
}

impl<B: RequestBody> Picked<B> {
    /// How the host stands now: where too few are healthy, any may have been picked.
    #[must_use]
    pub fn prospect(&self) -> Prospect {
        let cluster = self.worker_cluster();
        cluster.position_of(self.host()).map_or(Prospect::Gone, |at| prospect(cluster, at))
    }
}

fn prospect<B: RequestBody>(cluster: &WorkerCluster<B>, at: usize) -> Prospect {
    match cluster.view.hosts.get(at).map(ViewHost::health) {
        None => Prospect::Gone,
        Some(HostHealth::Healthy | HostHealth::Degraded) => Prospect::Usable,
        Some(HostHealth::Unhealthy | HostHealth::Excluded) => Prospect::Unhealthy,
    }
}

impl<B: RequestBody> DatagramSocket<B> {
    /// The host.
    #[must_use]
    pub fn host(&self) -> &Arc<HostState> {
        &self.host
    }

    /// How the host stands now.
    #[must_use]
    pub fn prospect(&self, upstreams: &Upstreams<B>, snapshot: &Snapshot) -> Prospect {
        let Some(cluster) = upstreams.cluster(snapshot, self.state.name()) else { return Prospect::Gone };
        let mut place = self.place.borrow_mut();
        if !Rc::ptr_eq(&cluster, &place.0) {
            let Some(at) = cluster.position_of(&self.host) else { return Prospect::Gone };
            *place = (cluster, at);
        }
        prospect(&place.0, place.1)
    }

    /// Returns once there is something to receive.
    ///
    /// # Errors
    /// Those of the runtime.
    pub async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// Receives one datagram without waiting; one that does not fit into `buffer` fills it.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where there is none, and what the host's network said of datagrams that were sent.
    pub fn try_receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.try_recv(buffer)
    }

    /// Counts what was received; none: it was too large, and dropped.
    pub fn count_received(&self, bytes: Option<usize>) {
        let metrics = &self.state.metrics;
        match bytes {
            Some(bytes) => {
                metrics.udp_sess_rx_datagrams.add(1);
                metrics.upstream_cx_rx_bytes_total.add(bytes as u64);
            }
            None => metrics.udp_sess_rx_datagrams_dropped.add(1),
        }
    }

    /// Counts an error of receiving.
    pub fn count_error(&self) {
        self.state.metrics.udp_sess_rx_errors.add(1);
    }

    /// Sends a datagram; what can not be sent at once is dropped and counted.
    pub fn send(&self, bytes: &[u8]) {
        let metrics = &self.state.metrics;
        // The runtime learns that a new socket can be written to later than the first datagram is there: the kernel itself is asked.
        let socket = SockRef::from(&self.socket);
        let sent = match socket.send(bytes) {
            // That is about a datagram of before, and nothing was sent.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                self.count_error();
                socket.send(bytes)
            }
            sent => sent,
        };
        match sent {
            Ok(_) => {
                metrics.udp_sess_tx_datagrams.add(1);
                metrics.upstream_cx_tx_bytes_total.add(bytes.len() as u64);
            }
            Err(_) => metrics.udp_sess_tx_errors.add(1),
        }
    }
}

impl<B: RequestBody> std::fmt::Debug for DatagramSocket<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatagramSocket")
            .field("cluster", &self.state.name())
            .field("host", self.host.address())
            .finish_non_exhaustive()
    }
}

/// A socket that sends to and receives from one address alone.
fn connect(address: &EndpointAddress, sources: &[SocketAddr]) -> io::Result<UdpSocket> {
    let EndpointAddress::Socket(address) = address else {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "datagrams go to addresses, not to names"));
    };
    let any: SocketAddr =
        if address.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let source = sources.iter().find(|source| source.is_ipv4() == address.is_ipv4()).unwrap_or(&any);
    let socket = std::net::UdpSocket::bind(source)?;
    socket.set_nonblocking(true)?;
    socket.connect(address)?;
    UdpSocket::from_std(socket)
}
