// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Host names of STRICT_DNS and LOGICAL_DNS clusters, resolved again and again, away from requests.

mod ask;

use crate::registry::ClusterState;
use ask::Asker;
use gateway_config::{
    Cluster, Discovery, DnsFamily, DnsSettings, Endpoint, EndpointAddress, Endpoints, Locality,
};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

/// Resolving for one cluster; ends when it is dropped.
pub(crate) struct Resolving {
    /// 1 until every name was asked for once, then 0.
    first: watch::Receiver<usize>,
    task: AbortHandle,
}

impl Drop for Resolving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Resolving {
    /// Begins where the cluster has names; `changed` is told the cluster's name when its addresses changed.
    pub(crate) fn begin(
        state: &Arc<ClusterState>,
        cluster: &Arc<Cluster>,
        changed: &mpsc::UnboundedSender<Box<str>>,
    ) -> Option<Self> {
        if !needs(cluster) {
            return None;
        }
        let (done, first) = watch::channel(1);
        let job = resolve(Arc::clone(state), Arc::clone(cluster), changed.clone(), done);
        Some(Self { first, task: tokio::task::spawn_local(job).abort_handle() })
    }

    pub(crate) fn first_round(&self) -> watch::Receiver<usize> {
        self.first.clone()
    }
}

/// Whether a cluster's endpoints have to be resolved.
pub(crate) fn needs(cluster: &Cluster) -> bool {
    matches!(cluster.discovery, Discovery::StrictDns(..) | Discovery::LogicalDns(..))
}

async fn resolve(
    state: Arc<ClusterState>,
    cluster: Arc<Cluster>,
    changed: mpsc::UnboundedSender<Box<str>>,
    done: watch::Sender<usize>,
) {
    let (written, dns, only_first) = match &cluster.discovery {
        Discovery::StrictDns(written, dns) => (written, dns, false),
        Discovery::LogicalDns(written, dns) => (written, dns, true),
        Discovery::Eds { .. } | Discovery::Static(_) | Discovery::Aggregate(_) => return,
    };
    let mut known: HashMap<Box<str>, Vec<IpAddr>> = HashMap::new();
    let mut failures = 0;
    let asker = Asker::new(dns).unwrap_or_else(|error| {
        tracing::error!(cluster = state.name(), %error, "dns servers cannot be asked; the system's resolver is");
        Asker::System
    });
    loop {
        let mut failed = false;
        let mut ttl: Option<Duration> = None;
        for name in names(written) {
            state.metrics.update_attempt.add(1);
            match asker.ask(&name).await {
                Ok(found) => {
                    let addresses = chosen(found.addresses, dns.family);
                    ttl = [ttl, found.ttl].into_iter().flatten().min();
                    state.metrics.update_success.add(1);
                    if addresses.is_empty() {
                        state.metrics.update_empty.add(1);
                    }
                    known.insert(name, addresses);
                }
                Err(error) => {
                    // The last good addresses stay.
                    failed = true;
                    state.metrics.update_failure.add(1);
                    tracing::warn!(cluster = state.name(), name = &*name, %error, "cannot resolve");
                }
            }
        }
        if state.set_resolved(placed(written, &known, only_first)) {
            // The receiver ends with the thread.
            let _ = changed.send(cluster.name.clone());
        }
        done.send_replace(0);
        failures = if failed { failures + 1 } else { 0 };
        tokio::time::sleep(pause(dns, failures, ttl)).await;
    }
}

fn names(endpoints: &Endpoints) -> Vec<Box<str>> {
    let all = endpoints.localities.iter().flat_map(|locality| &locality.endpoints);
    let mut names: Vec<Box<str>> = all
        .filter_map(|endpoint| match &endpoint.address {
            EndpointAddress::Name { host, .. } => Some(host.clone()),
            EndpointAddress::Socket(_) => None,
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

/// The addresses that count, in a stable order.
fn chosen(mut all: Vec<IpAddr>, family: DnsFamily) -> Vec<IpAddr> {
    let has = |all: &[IpAddr], v6: bool| all.iter().any(|address| address.is_ipv6() == v6);
    let only = match family {
        DnsFamily::All => None,
        DnsFamily::V4 => Some(false),
        DnsFamily::V6 => Some(true),
        DnsFamily::Auto => Some(has(&all, true)),
        DnsFamily::V4Preferred => Some(!has(&all, false)),
    };
    all.retain(|address| only.is_none_or(|v6| address.is_ipv6() == v6));
    let mut seen = Vec::new();
    for address in all {
        if !seen.contains(&address) {
            seen.push(address);
        }
    }
    seen
}

/// The endpoints with addresses for names: one for each address, or only for the first.
fn placed(written: &Endpoints, known: &HashMap<Box<str>, Vec<IpAddr>>, only_first: bool) -> Endpoints {
    let at = |endpoint: &Endpoint| -> Vec<Endpoint> {
        let EndpointAddress::Name { host, port } = &endpoint.address else { return vec![endpoint.clone()] };
        let mut addresses = known.get(host).cloned().unwrap_or_default();
        if only_first {
            addresses.truncate(1);
        } else {
            // The order of answers turns; it says nothing here.
            addresses.sort();
        }
        let address = |ip| EndpointAddress::Socket(SocketAddr::new(ip, *port));
        addresses.into_iter().map(|ip| Endpoint { address: address(ip), ..endpoint.clone() }).collect()
    };
    let localities = written.localities.iter().map(|locality| Locality {
        endpoints: locality.endpoints.iter().flat_map(at).collect(),
        ..locality.clone()
    });
    Endpoints { localities: localities.collect(), ..written.clone() }
}

/// Time to the next resolution: what the answers say or the refresh rate, or longer and longer after failures where the cluster says so.
fn pause(dns: &DnsSettings, failures: u32, ttl: Option<Duration>) -> Duration {
    let jitter = dns.jitter.mul_f64(rand::random::<f64>());
    match (failures, dns.failure_refresh) {
        (1.., Some((base, max))) => {
            let longest = base.saturating_mul(1_u32.checked_shl(failures - 1).unwrap_or(u32::MAX)).min(max);
            base.max(longest.mul_f64(rand::random::<f64>()))
        }
        (1.., None) => dns.refresh + jitter,
        (0, _) => {
            let told = ttl.filter(|ttl| dns.respect_ttl && ttl.as_secs_f64() >= 0.5);
            told.map_or(dns.refresh, |ttl| ttl.max(dns.min_refresh)) + jitter
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{chosen, pause, placed};
    use gateway_config::{
        DnsFamily, DnsSettings, Endpoint, EndpointAddress, Endpoints, LbMetadata, Locality, Place,
    };
    use std::collections::HashMap;
    use std::net::IpAddr;
    use std::time::Duration;

    fn ips(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|ip| ip.parse().unwrap()).collect()
    }

    #[test]
    fn families_choose_addresses() {
        let (both, v4) = (["10.0.0.2", "::1", "10.0.0.1", "10.0.0.2"], ["10.0.0.1"]);
        for (all, family, expected) in [
            (&both[..], DnsFamily::Auto, &["::1"][..]),
            (&both, DnsFamily::V4, &["10.0.0.2", "10.0.0.1"]),
            (&both, DnsFamily::V4Preferred, &["10.0.0.2", "10.0.0.1"]),
            (&both, DnsFamily::V6, &["::1"]),
            (&both, DnsFamily::All, &["10.0.0.2", "::1", "10.0.0.1"]),
            (&v4, DnsFamily::Auto, &["10.0.0.1"]),
            (&v4, DnsFamily::V6, &[]),
            (&["::1"], DnsFamily::V4Preferred, &["::1"]),
        ] {
            assert_eq!(chosen(ips(all), family), ips(expected), "{family:?}");
        }
    }

    #[test]
    fn every_address_is_an_endpoint() {
        let name = |host: &str| Endpoint::new(EndpointAddress::Name { host: host.into(), port: 80 });
        let fixed = Endpoint::new(EndpointAddress::Socket(([10, 0, 0, 9], 80).into()));
        let locality = Locality {
            place: Place::default(),
            priority: 0,
            weight: None,
            socket_metadata: LbMetadata::default(),
            endpoints: [name("a"), fixed, name("unknown")].into(),
        };
        let written = Endpoints { cluster: "c".into(), localities: [locality].into(), overprovisioning: 140 };
        let known = HashMap::from([("a".into(), ips(&["10.0.0.2", "10.0.0.1"]))]);
        let found = |only_first| -> Vec<String> {
            let placed = placed(&written, &known, only_first);
            placed.localities[0].endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect()
        };
        assert_eq!(found(false), ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.9:80"]);
        assert_eq!(found(true), ["10.0.0.2:80", "10.0.0.9:80"]);
    }

    #[test]
    fn failures_wait_longer() {
        let second = Duration::from_secs(1);
        let dns = DnsSettings {
            refresh: 5 * second,
            failure_refresh: Some((second, 8 * second)),
            jitter: Duration::ZERO,
            family: DnsFamily::Auto,
            respect_ttl: true,
            min_refresh: 2 * second,
            servers: None,
        };
        for (ttl, expected) in [(None, 5), (Some(30), 30), (Some(1), 2), (Some(0), 5)] {
            let ttl = ttl.map(Duration::from_secs);
            assert_eq!(pause(&dns, 0, ttl), expected * second, "{ttl:?}");
            let plain = DnsSettings { respect_ttl: false, ..dns.clone() };
            assert_eq!(pause(&plain, 0, ttl), 5 * second);
        }
        for failures in 1..100 {
            assert!((second..=8 * second).contains(&pause(&dns, failures, None)));
        }
    }
}
