// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A DNS server for the tests: answers with what it was given, over UDP and TCP.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

const A: u16 = 1;
const AAAA: u16 = 28;
const NO_SUCH_NAME: u8 = 3;

/// Addresses of names, and for how many seconds they are good.
type Zone = HashMap<String, (Vec<IpAddr>, u32)>;

/// A running server.
#[derive(Clone)]
pub(crate) struct DnsServer {
    pub(crate) address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    over_udp: Arc<AtomicUsize>,
    over_tcp: Arc<AtomicUsize>,
}

impl DnsServer {
    pub(crate) async fn start() -> Self {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = tcp.local_addr().unwrap();
        let udp = UdpSocket::bind(address).await.unwrap();
        let server =
            Self { address, zone: Arc::default(), over_udp: Arc::default(), over_tcp: Arc::default() };
        let (by_udp, by_tcp) = (server.clone(), server.clone());
        tokio::spawn(async move {
            let mut question = [0; 1500];
            loop {
                let (count, peer) = udp.recv_from(&mut question).await.unwrap();
                by_udp.over_udp.fetch_add(1, Ordering::SeqCst);
                udp.send_to(&by_udp.answer(&question[..count]), peer).await.unwrap();
            }
        });
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = tcp.accept().await.unwrap();
                let server = by_tcp.clone();
                tokio::spawn(async move {
                    while let Ok(count) = stream.read_u16().await {
                        let mut question = vec![0; count.into()];
                        stream.read_exact(&mut question).await.unwrap();
                        server.over_tcp.fetch_add(1, Ordering::SeqCst);
                        let answer = server.answer(&question);
                        stream.write_u16(u16::try_from(answer.len()).unwrap()).await.unwrap();
                        stream.write_all(&answer).await.unwrap();
                    }
                });
            }
        });
        server
    }

    /// A name has these addresses from now on.
    pub(crate) fn set(&self, name: &str, addresses: &[&str], ttl: u32) {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        self.zone.lock().insert(name.to_owned(), (addresses, ttl));
    }

    /// Questions over UDP and TCP so far.
    pub(crate) fn asked(&self) -> (usize, usize) {
        (self.over_udp.load(Ordering::SeqCst), self.over_tcp.load(Ordering::SeqCst))
    }

    /// RFC 1035, 4: the header, the question again, records whose name points to it.
    fn answer(&self, question: &[u8]) -> Vec<u8> {
        let mut labels = Vec::new();
        let mut at = 12;
        while question[at] != 0 {
            let length = usize::from(question[at]);
            labels.push(String::from_utf8_lossy(&question[at + 1..=at + length]).to_ascii_lowercase());
            at += length + 1;
        }
        let kind = u16::from_be_bytes([question[at + 1], question[at + 2]]);
        let end = at + 5;
        let known = self.zone.lock().get(&labels.join(".")).cloned();
        let (code, (addresses, ttl)) = known.map_or((NO_SUCH_NAME, (Vec::new(), 0)), |found| (0, found));
        let fits = |address: &&IpAddr| kind == if address.is_ipv4() { A } else { AAAA };
        let records: Vec<&IpAddr> = addresses.iter().filter(fits).collect();
        let mut answer = question[..2].to_vec();
        answer.extend([0x85, 0x80 | code, 0, 1, 0, u8::try_from(records.len()).unwrap(), 0, 0, 0, 0]);
        answer.extend(&question[12..end]);
        for address in records {
            answer.extend([0xc0, 12]);
            answer.extend(kind.to_be_bytes());
            answer.extend([0, 1]);
            answer.extend(ttl.to_be_bytes());
            let octets = match address {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            answer.extend(u16::try_from(octets.len()).unwrap().to_be_bytes());
            answer.extend(octets);
        }
        answer
    }
}
