// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Asks for the addresses of a host name: the system's resolver, or DNS servers themselves where their answers' time to live counts or the
//! cluster names them.

use gateway_config::{DnsFamily, DnsServers, DnsSettings};
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{Resolver, TokioResolver};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::time::Instant;

/// One resolution takes no longer.
const LIMIT: Duration = Duration::from_secs(5);
/// What comes from the hosts file has this time to live: it says nothing.
const OF_HOSTS: Duration = Duration::from_secs(86_400 - 60);
/// Times that a server is asked (as c-ares does).
const TRIES: usize = 4;

/// Whom to ask.
pub(super) enum Asker {
    System,
    Servers { resolver: Box<TokioResolver>, limit: Duration },
}

/// Addresses, and for how long they hold where the answer says so.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) addresses: Vec<IpAddr>,
    pub(super) ttl: Option<Duration>,
}

impl Asker {
    /// Whom to ask for a cluster.
    pub(super) fn new(dns: &DnsSettings) -> io::Result<Self> {
        if dns.servers.is_none() && !dns.respect_ttl {
            return Ok(Self::System);
        }
        let servers = dns.servers.clone().unwrap_or_default();
        let (mut config, mut options) = match servers.servers.is_empty() {
            true => hickory_resolver::system_conf::read_system_conf().map_err(io::Error::other)?,
            false => (ResolverConfig::from_name_servers(Vec::new()), ResolverOpts::default()),
        };
        for server in &servers.servers {
            config.add_name_server(name_server(*server));
        }
        if servers.tcp {
            config = over_tcp(&config);
        }
        if servers.no_search {
            config = without_search(&config);
        }
        set_options(&mut options, &servers, dns.family);
        let limit = options.timeout.saturating_mul(u32::try_from(options.attempts).unwrap_or(1)).max(LIMIT);
        let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        let resolver = Box::new(builder.build().map_err(io::Error::other)?);
        Ok(Self::Servers { resolver, limit })
    }

    /// Asks once.
    pub(super) async fn ask(&self, name: &str) -> io::Result<Found> {
        match self {
            Self::System => {
                let found = within(LIMIT, tokio::net::lookup_host((name, 0))).await??;
                Ok(Found { addresses: found.map(|address| address.ip()).collect(), ttl: None })
            }
            Self::Servers { resolver, limit } => {
                let answer = within(*limit, resolver.lookup_ip(name)).await?.map_err(io::Error::other)?;
                let ttl = Instant::from_std(answer.valid_until()).saturating_duration_since(Instant::now());
                let ttl = Some(ttl).filter(|ttl| *ttl < OF_HOSTS);
                Ok(Found { addresses: answer.iter().collect(), ttl })
            }
        }
    }
}

async fn within<T>(limit: Duration, job: impl Future<Output = T>) -> io::Result<T> {
    tokio::time::timeout(limit, job).await.map_err(|_| io::ErrorKind::TimedOut.into())
}

fn set_options(options: &mut ResolverOpts, servers: &DnsServers, family: DnsFamily) {
    // Each resolution asks: the time between them is the cluster's.
    options.cache_size = 0;
    options.attempts = servers.tries.map_or(TRIES, |tries| tries as usize);
    if let Some(timeout) = servers.timeout {
        options.timeout = timeout;
    }
    options.ip_strategy = match family {
        DnsFamily::Auto => LookupIpStrategy::Ipv6thenIpv4,
        DnsFamily::V4Preferred => LookupIpStrategy::Ipv4thenIpv6,
        DnsFamily::V4 => LookupIpStrategy::Ipv4Only,
        DnsFamily::V6 => LookupIpStrategy::Ipv6Only,
        DnsFamily::All => LookupIpStrategy::Ipv4AndIpv6,
    };
}

fn name_server(server: SocketAddr) -> NameServerConfig {
    let mut made = NameServerConfig::udp_and_tcp(server.ip());
    made.connections.iter_mut().for_each(|connection| connection.port = server.port());
    made
}

fn over_tcp(config: &ResolverConfig) -> ResolverConfig {
    let servers = config.name_servers().iter().map(|server| {
        let mut made = server.clone();
        let port = made.connections.first().map_or(53, |connection| connection.port);
        let mut tcp = ConnectionConfig::tcp();
        tcp.port = port;
        made.connections = vec![tcp];
        made
    });
    let (domain, search) = (config.domain().cloned(), config.search().to_vec());
    ResolverConfig::from_parts(domain, search, servers.collect::<Vec<_>>())
}

fn without_search(config: &ResolverConfig) -> ResolverConfig {
    ResolverConfig::from_parts(None, Vec::new(), config.name_servers().to_vec())
}
