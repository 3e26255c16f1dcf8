// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A cluster as one worker sees it: the shared view, its own balancer, its own pools.

use crate::RequestBody;
use crate::balancer::Balancer;
use crate::connect::{ConnectSettings, Target};
use crate::error::PickError;
use crate::host::{HostHealth, HostState};
use crate::pool::{HostPool, PoolTarget};
use crate::pool_key::{Client, PoolKey};
use crate::registry::ClusterState;
use crate::upstreams::PickContext;
use crate::view::{ClusterView, ViewHost};
use gateway_config::{ClusterLimits, EndpointAddress, RoutingPriority, UpstreamProtocol};
use http::{HeaderMap, Request, Version};
use std::cell::{Cell, OnceCell, RefCell, RefMut};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use tokio::time::Instant;

/// A cluster as one worker sees it, at one state of the configuration.
pub(crate) struct WorkerCluster<B: RequestBody> {
    pub(crate) view: Arc<ClusterView>,
    pub(crate) state: Arc<ClusterState>,
    balancer: RefCell<Balancer>,
    hosts: Vec<Rc<WorkerHost<B>>>,
    /// By socket.
    parts: Vec<Rc<TargetParts>>,
    limits: Rc<Cell<ClusterLimits>>,
}

/// Pools by protocol (true: HTTP/2) and what divides them.
type DividedPools<B> = HashMap<(bool, PoolKey), Rc<HostPool<B>>>;

/// A host with this worker's connections to it.
pub(crate) struct WorkerHost<B: RequestBody> {
    pub(crate) state: Arc<HostState>,
    pub(crate) hostname: Option<Box<str>>,
    connect_proxy: Option<SocketAddr>,
    target: Rc<TargetParts>,
    http1: OnceCell<Rc<HostPool<B>>>,
    http2: OnceCell<Rc<HostPool<B>>>,
    /// Pools of requests that do not share connections with all others, by protocol (true: HTTP/2) and key.
    divided: RefCell<DividedPools<B>>,
}

/// What all pools of a cluster's socket share.
struct TargetParts {
    state: Arc<ClusterState>,
    settings: Rc<ConnectSettings>,
    limits: Rc<Cell<ClusterLimits>>,
}

impl<B: RequestBody> WorkerCluster<B> {
    /// Takes a new view over from the one before: pools of hosts that stay are kept where connections are still made alike, the rest drains.
    pub(crate) fn new(state: Arc<ClusterState>, view: Arc<ClusterView>, before: Option<&Self>) -> Self {
        let kept = before.filter(|before| Arc::ptr_eq(&before.state, &state));
        let limits = kept.map_or_else(Rc::default, |before| Rc::clone(&before.limits));
        limits.set(view.cluster.limits);
        let parts: Vec<_> = ConnectSettings::all(&view)
            .map(|wanted| {
                let mut known = kept.into_iter().flat_map(|before| &before.parts);
                known.find(|parts| *parts.settings == wanted).cloned().unwrap_or_else(|| {
                    let settings = Rc::new(wanted);
                    Rc::new(TargetParts { state: Arc::clone(&state), settings, limits: Rc::clone(&limits) })
                })
            })
            .collect();
        let known: HashMap<&EndpointAddress, &Rc<WorkerHost<B>>> = kept
            .filter(|before| !view.cluster.balancing.drain_on_change || same_hosts(&before.view, &view))
            .into_iter()
            .flat_map(|before| &before.hosts)
            .map(|host| (host.state.address(), host))
            .collect();
        let host_of = |host: &ViewHost| {
            let parts = parts.get(host.socket)?;
            let same = known.get(host.state.address()).filter(|old| {
                old.hostname == host.hostname
                    && old.connect_proxy == host.connect_proxy
                    && Rc::ptr_eq(&old.target, parts)
                    && Arc::ptr_eq(&old.state, &host.state)
            });
            Some(same.map_or_else(|| Rc::new(WorkerHost::new(host, parts)), |old| Rc::clone(old)))
        };
        // There is a socket for each host: none is left out.
        let hosts: Vec<_> = view.hosts.iter().filter_map(host_of).collect();
        if let Some(before) = before {
            before
                .hosts
                .iter()
                .filter(|old| !hosts.iter().any(|host| Rc::ptr_eq(host, old)))
                .for_each(|old| old.drain());
        }
        let balancer = RefCell::new(Balancer::new(state.plan(&view, state.health_epoch())));
        Self { view, state, balancer, hosts, parts, limits }
    }

    /// Picks a host.
    pub(crate) fn pick(&self, context: &PickContext<'_>) -> Result<Rc<WorkerHost<B>>, PickError> {
        if let Some(host) = context.headers.and_then(|headers| self.named(headers, context.tried)) {
            return Ok(Rc::clone(host));
        }
        let mut balancer = self.balancer();
        let tried = context.tried;
        let avoid = |at: usize| {
            !tried.is_empty()
                && self.hosts.get(at).is_some_and(|host| tried.iter().any(|t| Arc::ptr_eq(t, &host.state)))
        };
        let choice = balancer.pick(&self.view, &self.state, context, avoid);
        let found = choice.and_then(|choice| self.hosts.get(choice.host).map(|host| (choice.panic, host)));
        let Some((panic, host)) = found else {
            self.state.metrics.upstream_cx_none_healthy.add(1);
            return Err(PickError::NoHealthy);
        };
        if panic {
            self.state.metrics.lb_healthy_panic.add(1);
        }
        Ok(Rc::clone(host))
    }

    /// The balancer for the hosts' health as it is now.
    fn balancer(&self) -> RefMut<'_, Balancer> {
        let epoch = self.state.health_epoch();
        let mut balancer = self.balancer.borrow_mut();
        if balancer.epoch() != epoch {
            *balancer = Balancer::new(self.state.plan(&self.view, epoch));
        }
        balancer
    }

    /// Where among the cluster's hosts this one is.
    pub(crate) fn position_of(&self, host: &Arc<HostState>) -> Option<usize> {
        self.view.hosts.iter().position(|other| Arc::ptr_eq(&other.state, host))
    }

    /// Percent of all requests that healthy hosts are good for, and that degraded ones are; each up to 100.
    pub(crate) fn capacity(&self) -> (u32, u32) {
        self.balancer().capacity()
    }

    /// The first host that a header names and that can take requests.
    fn named(&self, headers: &HeaderMap, tried: &[Arc<HostState>]) -> Option<&Rc<WorkerHost<B>>> {
        let names = &self.view.cluster.balancing.overrides;
        let values = names.iter().flat_map(|name| headers.get_all(name)).filter_map(|v| v.to_str().ok());
        let mut addresses =
            values.flat_map(|value| value.split(',')).filter_map(|text| text.trim().parse().ok());
        addresses.find_map(|address: SocketAddr| {
            let at = self.view.position_of(&EndpointAddress::Socket(address))?;
            let usable =
                matches!(self.view.hosts.get(at)?.health(), HostHealth::Healthy | HostHealth::Degraded);
            self.hosts
                .get(at)
                .filter(|host| usable && !tried.iter().any(|tried| Arc::ptr_eq(tried, &host.state)))
        })
    }

    pub(crate) fn sweep(&self, now: Instant) {
        for host in &self.hosts {
            host.pools().for_each(|pool| pool.sweep(now));
            let mut divided = host.divided.borrow_mut();
            divided.retain(|_, pool| {
                pool.sweep(now);
                Rc::strong_count(pool) > 1 || !pool.is_unused()
            });
        }
    }

    pub(crate) fn drain(&self) {
        self.hosts.iter().for_each(|host| host.drain());
    }
}

fn same_hosts(before: &ClusterView, after: &ClusterView) -> bool {
    let addresses = |view: &ClusterView| -> HashSet<EndpointAddress> {
        view.hosts.iter().map(|host| host.state.address().clone()).collect()
    };
    addresses(before) == addresses(after)
}

impl<B: RequestBody> WorkerHost<B> {
    fn new(host: &ViewHost, target: &Rc<TargetParts>) -> Self {
        Self {
            state: Arc::clone(&host.state),
            hostname: host.hostname.clone(),
            connect_proxy: host.connect_proxy,
            target: Rc::clone(target),
            http1: OnceCell::new(),
            http2: OnceCell::new(),
            divided: RefCell::default(),
        }
    }

    /// The pool for a request.
    pub(crate) fn pool<R>(
        &self,
        request: &Request<R>,
        priority: RoutingPriority,
        client: Option<Client>,
    ) -> Rc<HostPool<B>> {
        let settings = &self.target.settings;
        let http2 = match settings.protocol {
            UpstreamProtocol::Http1 | UpstreamProtocol::Auto => false,
            UpstreamProtocol::Http2 => true,
            UpstreamProtocol::Downstream => request.version() == Version::HTTP_2,
        };
        if settings.divided || priority != RoutingPriority::Default {
            let key = PoolKey::of(settings, request, priority, client);
            if !key.is_usual() {
                let mut divided = self.divided.borrow_mut();
                let pool = divided
                    .entry((http2, key))
                    .or_insert_with_key(|(_, key)| self.make_pool(http2, key.clone()));
                return Rc::clone(pool);
            }
        }
        let cell = if http2 { &self.http2 } else { &self.http1 };
        Rc::clone(cell.get_or_init(|| self.make_pool(http2, PoolKey::default())))
    }

    fn make_pool(&self, http2: bool, key: PoolKey) -> Rc<HostPool<B>> {
        Rc::new(HostPool::new(PoolTarget {
            state: Arc::clone(&self.target.state),
            host: Arc::clone(&self.state),
            hostname: self.hostname.clone(),
            connect_proxy: self.connect_proxy,
            settings: Rc::clone(&self.target.settings),
            limits: Rc::clone(&self.target.limits),
            key,
            http2,
        }))
    }

    /// How to connect to it outside of the pools.
    pub(crate) fn target(&self, state: &Arc<ClusterState>, client: Option<Client>) -> Target {
        Target {
            address: self.state.address().clone(),
            hostname: self.hostname.clone(),
            connect_proxy: self.connect_proxy,
            settings: Rc::clone(&self.target.settings),
            state: Arc::clone(state),
            key: PoolKey::of_client(&self.target.settings, client),
            http2: false,
        }
    }

    fn pools(&self) -> impl Iterator<Item = &Rc<HostPool<B>>> {
        self.http1.get().into_iter().chain(self.http2.get())
    }

    fn drain(&self) {
        self.pools().for_each(|pool| pool.drain());
        self.divided.borrow().values().for_each(|pool| pool.drain());
    }
}
