// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Filter chains, and which connections each takes (`envoy.config.listener.v3.FilterChainMatch`).

use crate::{DownstreamTls, HttpConnectionManager, NetworkGate, TcpProxy};
use ipnet::IpNet;
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// What happens to some of a listener's connections.
#[derive(Debug)]
pub struct FilterChain {
    /// Its name; may be empty.
    pub name: Box<str>,
    /// Which connections it takes.
    pub matches: ChainMatch,
    /// TLS; none for plain text.
    pub tls: Option<DownstreamTls>,
    /// What may close a connection before it is handled, in order.
    pub gates: Box<[NetworkGate]>,
    /// The handling of the bytes.
    pub network: NetworkFilter,
    /// Limit of the TLS handshake.
    pub handshake_timeout: Option<Duration>,
}

/// The handling of a connection's bytes.
#[derive(Clone, Debug)]
pub enum NetworkFilter {
    /// As HTTP.
    Http(Arc<HttpConnectionManager>),
    /// As they are.
    Tcp(Arc<TcpProxy>),
}

impl FilterChain {
    /// The handling of HTTP, where it is HTTP.
    #[must_use]
    pub fn http(&self) -> Option<&Arc<HttpConnectionManager>> {
        match &self.network {
            NetworkFilter::Http(http) => Some(http),
            NetworkFilter::Tcp(_) => None,
        }
    }
}

/// The conditions of a chain; an empty one takes everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChainMatch {
    /// The port that the connection came to.
    pub destination_port: Option<u16>,
    /// The address that the connection came to.
    pub destinations: Box<[IpNet]>,
    /// Lower-case server names: exact, or `*.suffix`.
    pub server_names: Box<[Box<str>]>,
    /// With TLS (true) or without.
    pub tls: Option<bool>,
    /// Protocols that the client offers by ALPN.
    pub application_protocols: Box<[Box<str>]>,
    /// The peer's address, whatever a PROXY protocol header says.
    pub direct_sources: Box<[IpNet]>,
    /// From this machine (true) or from elsewhere.
    pub local: Option<bool>,
    /// The client's address.
    pub sources: Box<[IpNet]>,
    /// The client's port.
    pub source_ports: Box<[u16]>,
}

/// What is known of a connection when its chain is chosen.
#[derive(Clone, Copy, Debug)]
pub struct ChainFacts<'a> {
    /// The address that the connection came to.
    pub local: SocketAddr,
    /// The client's address.
    pub remote: SocketAddr,
    /// The peer's address; another where a PROXY protocol header told the client's.
    pub direct_remote: SocketAddr,
    /// Server name of the TLS hello, in lower case.
    pub server_name: Option<&'a str>,
    /// The connection starts with a TLS hello.
    pub tls: bool,
    /// Protocols offered in it.
    pub application_protocols: &'a [Box<str>],
}

/// The filter chains of a listener. Chosen step by step as in Envoy, each step by its most specific condition and without a way back:
/// destination port, destination address, server name, transport, application protocol, direct source, source kind, source, source port.
/// Server names are looked up, however many there are.
#[derive(Debug, Default)]
pub struct FilterChains {
    chains: Box<[Arc<FilterChain>]>,
    groups: Box<[Group]>,
    default: Option<u32>,
    inspects: bool,
}

/// Chains with the same conditions on the destination.
#[derive(Debug, Default)]
struct Group {
    port: Option<u16>,
    destination: Option<IpNet>,
    exact: HashMap<Box<str>, Vec<u32>>,
    suffixes: HashMap<Box<str>, Vec<u32>>,
    any: Vec<u32>,
}

/// Two chains that would take the same connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SameMatch {
    /// Position of the second one.
    pub chain: usize,
}

impl FilterChains {
    /// Indexes chains; `default` takes what no other one does.
    ///
    /// # Errors
    /// Where two chains would take the same connections.
    pub fn new(chains: Vec<FilterChain>, default: Option<FilterChain>) -> Result<Self, SameMatch> {
        let mut seen = BTreeSet::new();
        let mut groups: Vec<Group> = Vec::new();
        for (at, chain) in chains.iter().enumerate() {
            for single in chain.matches.singles() {
                if !seen.insert(single) {
                    return Err(SameMatch { chain: at });
                }
            }
            let number = u32::try_from(at).unwrap_or(u32::MAX);
            let destinations = each(&chain.matches.destinations);
            for destination in destinations {
                let port = chain.matches.destination_port;
                let known =
                    groups.iter().position(|group| (group.port, group.destination) == (port, destination));
                let group = known.unwrap_or_else(|| {
                    groups.push(Group { port, destination, ..Group::default() });
                    groups.len() - 1
                });
                groups[group].add(number, &chain.matches);
            }
        }
        let inspects = chains.iter().any(|chain| chain.matches.reads_hello());
        let default = default.map(|chain| (u32::try_from(chains.len()).unwrap_or(u32::MAX), chain));
        let number = default.as_ref().map(|(number, _)| *number);
        let chains = chains.into_iter().chain(default.map(|(_, chain)| chain)).map(Arc::new).collect();
        Ok(Self { chains, groups: groups.into(), default: number, inspects })
    }

    /// The chain for a connection.
    #[must_use]
    pub fn select(&self, facts: &ChainFacts<'_>) -> Option<&Arc<FilterChain>> {
        let found = self.group(facts).and_then(|group| self.within(group.named(facts.server_name), facts));
        self.chains.get(found.or(self.default)? as usize)
    }

    fn group(&self, facts: &ChainFacts<'_>) -> Option<&Group> {
        let port = Some(facts.local.port());
        let exact = self.groups.iter().any(|group| group.port == port);
        let of_port = self.groups.iter().filter(|group| group.port == if exact { port } else { None });
        let address = facts.local.ip().to_canonical();
        of_port
            .filter(|group| group.destination.is_none_or(|net| net.contains(&address)))
            .max_by_key(|group| group.destination.map_or(0, |net| u16::from(net.prefix_len()) + 1))
    }

    /// The steps behind the server name, over the few chains that are left.
    fn within(&self, chains: &[u32], facts: &ChainFacts<'_>) -> Option<u32> {
        let matches = |number: u32| self.chains.get(number as usize).map(|chain| &chain.matches);
        let mut left: Vec<(u32, &ChainMatch)> =
            chains.iter().filter_map(|&number| Some((number, matches(number)?))).collect();
        narrow(&mut left, |m| m.tls.map_or(Some(0), |tls| (tls == facts.tls).then_some(1)));
        narrow(&mut left, |m| offered(&m.application_protocols, facts.application_protocols));
        narrow(&mut left, |m| closest(&m.direct_sources, facts.direct_remote.ip()));
        let local = facts.remote.ip().is_loopback() || facts.remote.ip() == facts.local.ip();
        // The one step with a way back: what is for this kind of source alone comes first.
        let (own, all): (Vec<_>, Vec<_>) = left
            .into_iter()
            .filter(|(_, m)| m.local.is_none_or(|wanted| wanted == local))
            .partition(|(_, m)| m.local.is_some());
        [own, all].into_iter().find_map(|mut left| {
            narrow(&mut left, |m| closest(&m.sources, facts.remote.ip()));
            narrow(&mut left, |m| match &*m.source_ports {
                [] => Some(0),
                ports => ports.contains(&facts.remote.port()).then_some(1),
            });
            left.first().map(|(number, _)| *number)
        })
    }

    /// All chains, the default one last.
    #[must_use]
    pub fn all(&self) -> &[Arc<FilterChain>] {
        &self.chains
    }

    /// Whether every connection starts with a TLS hello.
    #[must_use]
    pub fn all_use_tls(&self) -> bool {
        !self.chains.is_empty() && self.chains.iter().all(|chain| chain.tls.is_some())
    }

    /// Whether a chain is chosen by the TLS hello.
    #[must_use]
    pub fn reads_hello(&self) -> bool {
        self.inspects
    }
}

impl Group {
    fn add(&mut self, number: u32, matches: &ChainMatch) {
        if matches.server_names.is_empty() {
            self.any.push(number);
        }
        for name in &matches.server_names {
            match name.strip_prefix("*.") {
                Some(suffix) => self.suffixes.entry(suffix.into()).or_default().push(number),
                None => self.exact.entry(name.clone()).or_default().push(number),
            }
        }
    }

    /// The chains for a server name: exact, longest suffix, any.
    fn named(&self, server_name: Option<&str>) -> &[u32] {
        let named = server_name.and_then(|name| {
            self.exact.get(name).or_else(|| {
                let dots = name.bytes().enumerate().skip(1).filter(|(_, b)| *b == b'.');
                dots.map(|(dot, _)| &name[dot + 1..]).find_map(|suffix| self.suffixes.get(suffix))
            })
        });
        named.unwrap_or(&self.any)
    }
}

impl ChainMatch {
    /// Whether it can only be decided by a TLS hello.
    fn reads_hello(&self) -> bool {
        !self.server_names.is_empty() || self.tls.is_some() || !self.application_protocols.is_empty()
    }

    /// The same conditions with one value in each list, to tell two that overlap exactly.
    fn singles(&self) -> Vec<Self> {
        let mut all = vec![Self {
            tls: self.tls,
            local: self.local,
            destination_port: self.destination_port,
            ..Self::default()
        }];
        spread(&mut all, &self.destinations, |m, value| m.destinations = value);
        spread(&mut all, &self.server_names, |m, value| m.server_names = value);
        spread(&mut all, &self.application_protocols, |m, value| m.application_protocols = value);
        spread(&mut all, &self.direct_sources, |m, value| m.direct_sources = value);
        spread(&mut all, &self.sources, |m, value| m.sources = value);
        spread(&mut all, &self.source_ports, |m, value| m.source_ports = value);
        all
    }
}

fn spread<T: Clone>(all: &mut Vec<ChainMatch>, values: &[T], set: impl Fn(&mut ChainMatch, Box<[T]>)) {
    if values.is_empty() {
        return;
    }
    *all = all
        .iter()
        .flat_map(|one| {
            values.iter().map(|value| {
                let mut made = one.clone();
                set(&mut made, [value.clone()].into());
                made
            })
        })
        .collect();
}

fn each(nets: &[IpNet]) -> Vec<Option<IpNet>> {
    if nets.is_empty() { vec![None] } else { nets.iter().copied().map(Some).collect() }
}

/// Keeps the chains whose condition is the most specific one that holds; none where it does not hold.
fn narrow(left: &mut Vec<(u32, &ChainMatch)>, holds: impl Fn(&ChainMatch) -> Option<u16>) {
    let best = left.iter().filter_map(|(_, m)| holds(m)).max();
    left.retain(|(_, m)| best.is_some() && holds(m) == best);
}

fn closest(nets: &[IpNet], address: IpAddr) -> Option<u16> {
    if nets.is_empty() {
        return Some(0);
    }
    let address = address.to_canonical();
    nets.iter().filter(|net| net.contains(&address)).map(|net| u16::from(net.prefix_len()) + 1).max()
}

/// The protocol that the client likes best counts.
fn offered(wanted: &[Box<str>], offered: &[Box<str>]) -> Option<u16> {
    if wanted.is_empty() {
        return Some(0);
    }
    let at = offered.iter().position(|protocol| wanted.contains(protocol))?;
    Some(u16::MAX - u16::try_from(at).unwrap_or(u16::MAX - 1))
}

#[cfg(test)]
mod tests;
