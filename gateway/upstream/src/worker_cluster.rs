// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A cluster as one worker sees it: the shared view, its own balancer, its own pools.

use crate::RequestBody;
use crate::balancer::Balancer;
use crate::connect::{ConnectSettings, Target};
use crate::error::PickError;
use crate::host::HostState;
use crate::pool::{HostPool, PoolTarget};
use crate::registry::ClusterState;
use crate::upstreams::PickContext;
use crate::view::{ClusterView, ViewHost};
use gateway_config::{CircuitBreakers, EndpointAddress, UpstreamProtocol};
use http::Version;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use tokio::time::Instant;

/// A cluster as one worker sees it, at one state of the configuration.
pub(crate) struct WorkerCluster<B: RequestBody> {
    pub(crate) view: Arc<ClusterView>,
    pub(crate) state: Arc<ClusterState>,
    balancer: RefCell<Balancer>,
    hosts: Vec<Rc<WorkerHost<B>>>,
    settings: Rc<ConnectSettings>,
    limits: Rc<Cell<CircuitBreakers>>,
}

/// A host with this worker's connections to it.
pub(crate) struct WorkerHost<B: RequestBody> {
    pub(crate) state: Arc<HostState>,
    pub(crate) hostname: Option<Box<str>>,
    target: Rc<TargetParts>,
    http1: OnceCell<Rc<HostPool<B>>>,
    http2: OnceCell<Rc<HostPool<B>>>,
}

/// What all pools of a cluster share.
struct TargetParts {
    state: Arc<ClusterState>,
    settings: Rc<ConnectSettings>,
    limits: Rc<Cell<CircuitBreakers>>,
}

impl<B: RequestBody> WorkerCluster<B> {
    /// Takes a new view over from the one before: pools of hosts that stay are kept where connections are still made alike, the rest drains.
    pub(crate) fn new(state: Arc<ClusterState>, view: Arc<ClusterView>, before: Option<&Self>) -> Self {
        let wanted = ConnectSettings::of(&view);
        let kept = before.filter(|before| *before.settings == wanted && Arc::ptr_eq(&before.state, &state));
        let settings = kept.map_or_else(|| Rc::new(wanted), |before| Rc::clone(&before.settings));
        let limits = kept.map_or_else(Rc::default, |before| Rc::clone(&before.limits));
        limits.set(view.cluster.circuit_breakers);
        let parts = Rc::new(TargetParts {
            state: Arc::clone(&state),
            settings: Rc::clone(&settings),
            limits: Rc::clone(&limits),
        });
        let known: HashMap<&EndpointAddress, &Rc<WorkerHost<B>>> = kept
            .into_iter()
            .flat_map(|before| &before.hosts)
            .map(|host| (host.state.address(), host))
            .collect();
        let host_of = |host: &ViewHost| {
            let same = known
                .get(host.state.address())
                .filter(|old| old.hostname == host.hostname && Arc::ptr_eq(&old.state, &host.state));
            same.map_or_else(|| Rc::new(WorkerHost::new(host, &parts)), |old| Rc::clone(old))
        };
        let hosts: Vec<_> = view.hosts.iter().map(host_of).collect();
        if let Some(before) = before {
            before
                .hosts
                .iter()
                .filter(|old| !hosts.iter().any(|host| Rc::ptr_eq(host, old)))
                .for_each(|old| old.drain());
        }
        let balancer = RefCell::new(Balancer::new(state.plan(&view, state.health_epoch())));
        Self { view, state, balancer, hosts, settings, limits }
    }

    /// Picks a host.
    pub(crate) fn pick(&self, context: &PickContext<'_>) -> Result<Rc<WorkerHost<B>>, PickError> {
        let epoch = self.state.health_epoch();
        let mut balancer = self.balancer.borrow_mut();
        if balancer.epoch() != epoch {
            *balancer = Balancer::new(self.state.plan(&self.view, epoch));
        }
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

    pub(crate) fn sweep(&self, now: Instant) {
        self.hosts.iter().flat_map(|host| host.pools()).for_each(|pool| pool.sweep(now));
    }

    pub(crate) fn drain(&self) {
        self.hosts.iter().for_each(|host| host.drain());
    }
}

impl<B: RequestBody> WorkerHost<B> {
    fn new(host: &ViewHost, target: &Rc<TargetParts>) -> Self {
        Self {
            state: Arc::clone(&host.state),
            hostname: host.hostname.clone(),
            target: Rc::clone(target),
            http1: OnceCell::new(),
            http2: OnceCell::new(),
        }
    }

    /// The pool for a request of this version.
    pub(crate) fn pool(&self, version: Version) -> &Rc<HostPool<B>> {
        let http2 = match self.target.settings.protocol {
            UpstreamProtocol::Http1 | UpstreamProtocol::Auto => false,
            UpstreamProtocol::Http2 => true,
            UpstreamProtocol::Downstream => version == Version::HTTP_2,
        };
        let cell = if http2 { &self.http2 } else { &self.http1 };
        cell.get_or_init(|| {
            Rc::new(HostPool::new(PoolTarget {
                state: Arc::clone(&self.target.state),
                host: Arc::clone(&self.state),
                hostname: self.hostname.clone(),
                settings: Rc::clone(&self.target.settings),
                limits: Rc::clone(&self.target.limits),
                http2,
            }))
        })
    }

    /// How to connect to it outside of the pools.
    pub(crate) fn target(&self, state: &Arc<ClusterState>) -> Target {
        Target {
            address: self.state.address().clone(),
            hostname: self.hostname.clone(),
            settings: Rc::clone(&self.target.settings),
            state: Arc::clone(state),
            http2: false,
        }
    }

    fn pools(&self) -> impl Iterator<Item = &Rc<HostPool<B>>> {
        self.http1.get().into_iter().chain(self.http2.get())
    }

    fn drain(&self) {
        self.pools().for_each(|pool| pool.drain());
    }
}
