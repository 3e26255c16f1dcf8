// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! One fleet in one cluster: a task that carries out orders there and reports what it sees.
//!
//! Everything that may wait for a cluster happens here; the controller only sends orders and reads reports.

mod link;
mod report;

pub(super) use report::{ConfigReport, MemberReport};

use report::AppliedReport;

use crate::relay::RelayReport;
use futures::StreamExt as _;
use jiff::Timestamp;
use link::Link;
use multicluster_apply::{
    ApplyError, Change, Desired, Fence, HostBackend, HostOptions, MemberKey, MemberPin,
};
use multicluster_clusters::{ClusterHandle, Facts, Reach};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Limit for one call to a cluster.
pub(super) const CALL_LIMIT: Duration = Duration::from_secs(10);
/// Between looks at a member that is not ready, and at one that is.
const LOOK_SOON: Duration = Duration::from_secs(2);
const LOOK_LATER: Duration = Duration::from_secs(30);
/// Objects that were refused are tried again so often: what stood in the way may be gone.
const APPLY_AGAIN: Duration = Duration::from_secs(15);
/// Changes that come together are looked at together.
const SETTLE: Duration = Duration::from_millis(50);
const RETRY_BASE: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// What a relay that runs as a Deployment signs with: a Secret beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RelayIdentity {
    /// Name of the Secret.
    pub(super) secret: String,
    /// Its data.
    pub(super) data: BTreeMap<String, Vec<u8>>,
}

/// What a member is to be. Newest wins.
#[derive(Clone, Debug, Default)]
pub(super) struct Order {
    /// The workloads; none: as they are.
    pub(super) desired: Option<Arc<Desired>>,
    /// The pin to write into the cluster; none: as it is.
    pub(super) pin: Option<Arc<MemberPin>>,
    /// The relay's authority and trust bundle.
    pub(super) identity: Option<Arc<RelayIdentity>>,
    /// Remove everything, as this writer.
    pub(super) remove: Option<Fence>,
}

impl Order {
    /// Whether it asks for the very same.
    pub(super) fn same(&self, other: &Self) -> bool {
        same(&self.desired, &other.desired)
            && same(&self.pin, &other.pin)
            && same(&self.identity, &other.identity)
            && self.remove == other.remove
    }
}

/// How a member is reached.
#[derive(Debug)]
pub(super) enum Place {
    /// Over an API server.
    Api(ClusterHandle),
    /// As processes of this machine.
    Host(Box<HostOptions>),
}

/// What a worker is started with.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) member: MemberKey,
    /// Namespace of the fleet's objects in the cluster.
    pub(super) namespace: String,
    pub(super) place: Place,
    /// A relay of this process reports here.
    pub(super) relay: Option<watch::Receiver<RelayReport>>,
    pub(super) reports: mpsc::Sender<(MemberKey, MemberReport)>,
}

/// The controller's end of a worker. The worker ends with it; host processes are ended first.
#[derive(Debug)]
pub(super) struct WorkerHandle {
    orders: watch::Sender<Order>,
    _stop: DropGuard,
}

impl WorkerHandle {
    /// Gives an order.
    pub(super) fn order(&self, order: Order) {
        self.orders.send_replace(order);
    }
}

/// Starts a worker.
pub(super) fn start(start: Start, tasks: &tokio_util::task::TaskTracker) -> WorkerHandle {
    let (orders, received) = watch::channel(Order::default());
    let stop = CancellationToken::new();
    let worker = Worker {
        member: start.member,
        namespace: start.namespace,
        orders: received,
        relay: start.relay,
        reports: start.reports,
        report: MemberReport::default(),
        done: Done::default(),
        need: Need::default(),
        failures: 0,
        applied_at: Instant::now(),
    };
    tasks.spawn(worker.run(start.place, stop.clone()));
    WorkerHandle { orders, _stop: stop.drop_guard() }
}

/// What was carried out.
#[derive(Default)]
struct Done {
    desired: Option<Arc<Desired>>,
    pin: Option<Arc<MemberPin>>,
    identity: Option<Arc<RelayIdentity>>,
}

/// What is to be done beside new orders.
#[derive(Debug, Default)]
struct Need {
    apply: bool,
    observe: bool,
}

struct Worker {
    member: MemberKey,
    namespace: String,
    orders: watch::Receiver<Order>,
    relay: Option<watch::Receiver<RelayReport>>,
    reports: mpsc::Sender<(MemberKey, MemberReport)>,
    report: MemberReport,
    done: Done,
    need: Need,
    failures: u32,
    applied_at: Instant,
}

impl Worker {
    async fn run(mut self, place: Place, stop: CancellationToken) {
        match place {
            Place::Api(handle) => {
                stop.run_until_cancelled(self.over_api(handle)).await;
            }
            Place::Host(options) => {
                let Some(backend) = self.open(*options, &stop).await else { return };
                let backend = Arc::new(backend);
                let mut link = Link::host(backend.clone());
                stop.run_until_cancelled(self.serve(&mut link)).await;
                backend.shutdown().await;
            }
        }
    }

    async fn open(&mut self, options: HostOptions, stop: &CancellationToken) -> Option<HostBackend> {
        loop {
            match HostBackend::open(options.clone()).await {
                Ok(backend) => return Some(backend),
                Err(error) => self.failed(&error).await,
            }
            let wait = self.backoff();
            tokio::select! {
                () = stop.cancelled() => return None,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Serves the cluster while it is reachable, with the client of the day.
    async fn over_api(&mut self, handle: ClusterHandle) {
        let mut facts = handle.facts();
        loop {
            let known: Facts = facts.borrow_and_update().clone();
            if let (Some(client), Reach::Reachable { .. }) = (handle.client(), &known.reach) {
                let mut link =
                    Link::api(client, &self.member, &self.namespace, handle.clone(), known.client_generation);
                self.need = Need { apply: true, observe: true };
                self.serve(&mut link).await;
            } else if facts.changed().await.is_err() {
                return;
            }
        }
    }

    /// Carries out orders over one link until it is no longer the right one.
    async fn serve(&mut self, link: &mut Link) {
        loop {
            let order = self.orders.borrow_and_update().clone();
            match self.step(link, &order).await {
                Ok(()) => {
                    self.failures = 0;
                    self.report.problem = None;
                    self.publish().await;
                }
                Err(error) => {
                    self.failed(&error).await;
                    if error.is_unavailable() {
                        link.failed();
                    }
                }
            }
            let (wait, stale) = (self.wait(), link.stale());
            let wake = tokio::select! {
                changed = self.orders.changed() => if changed.is_err() { return } else { Wake::Order },
                change = link.changes.next() => match change {
                    Some(change) => Wake::Change(change),
                    None => return tokio::time::sleep(RETRY_BASE).await,
                },
                member = link.members.next() => match member {
                    Some(member) => Wake::Member(Box::new(member)),
                    None => return tokio::time::sleep(RETRY_BASE).await,
                },
                report = next_report(&mut self.relay) => Wake::Relay(report),
                () = stale => return,
                () = tokio::time::sleep(wait) => Wake::Time,
            };
            self.woken(wake, link).await;
        }
    }

    async fn woken(&mut self, wake: Wake, link: &mut Link) {
        match wake {
            Wake::Order => {}
            Wake::Time => {
                self.need.observe = true;
                let refused =
                    self.report.applied.as_ref().is_some_and(|applied| !applied.problems.is_empty());
                self.need.apply |= refused && self.applied_at.elapsed() >= APPLY_AGAIN;
            }
            Wake::Relay(report) => self.report.take_relay(&report),
            // A relay of this process speaks for itself; what the cluster holds of it is our own echo.
            Wake::Member(member) if self.relay.is_none() => {
                self.report.take_member(member.as_ref().as_ref(), Timestamp::now());
            }
            Wake::Member(_) => {}
            Wake::Change(first) => {
                self.note(first);
                let until = Instant::now() + SETTLE;
                while let Ok(Some(change)) = tokio::time::timeout_at(until, link.changes.next()).await {
                    self.note(change);
                }
            }
        }
    }

    fn note(&mut self, change: Change) {
        self.need.observe = true;
        self.need.apply |= change == Change::Repair;
    }

    /// One round: what was ordered and is not done, then a look where one is due.
    async fn step(&mut self, link: &mut Link, order: &Order) -> Result<(), ApplyError> {
        if let Some(fence) = &order.remove {
            return self.remove(link, fence).await;
        }
        // A new pin must not wait for workloads that are there already; the first one needs their namespace.
        if self.done.desired.is_some() {
            self.pin(link, order).await?;
        }
        let renewed = !same(&self.done.identity, &order.identity);
        if let Some(desired) = &order.desired
            && (self.need.apply || renewed || !same(&self.done.desired, &order.desired))
        {
            link.prepare(&self.member, &self.namespace, order.identity.as_deref()).await?;
            let applied = link.backend.apply(desired).await?;
            self.applied_at = Instant::now();
            self.report.applied = Some(AppliedReport::new(Arc::clone(desired), &applied));
            self.done.desired = Some(Arc::clone(desired));
            self.done.identity.clone_from(&order.identity);
            self.need = Need { apply: false, observe: true };
        }
        self.pin(link, order).await?;
        if self.need.observe {
            self.report.observed = Some(link.backend.observe().await?);
            self.need.observe = false;
        }
        Ok(())
    }

    async fn pin(&mut self, link: &mut Link, order: &Order) -> Result<(), ApplyError> {
        let Some(pin) = &order.pin else { return Ok(()) };
        if same(&self.done.pin, &order.pin) {
            return Ok(());
        }
        link.pin(pin).await?;
        self.report.pinned.clone_from(&pin.spec.revision);
        self.done.pin = Some(Arc::clone(pin));
        Ok(())
    }

    async fn remove(&mut self, link: &mut Link, fence: &Fence) -> Result<(), ApplyError> {
        if self.report.removed {
            return Ok(());
        }
        let gone = link.backend.delete_all(fence).await?;
        if gone {
            link.remove(&self.member, &self.namespace).await?;
        }
        self.report.removed = gone;
        Ok(())
    }

    async fn failed(&mut self, error: &ApplyError) {
        self.failures = self.failures.saturating_add(1);
        let text = error.describe();
        tracing::warn!(fleet = %self.member.fleet, cluster = %self.member.cluster, error = %text, "member");
        self.report.problem = Some(text);
        self.report.fenced = matches!(error, ApplyError::Fenced { .. });
        self.publish().await;
    }

    async fn publish(&self) {
        // The controller is gone: so are we in a moment.
        let _ = self.reports.send((self.member.clone(), self.report.clone())).await;
    }

    fn wait(&self) -> Duration {
        if self.failures > 0 {
            return self.backoff();
        }
        let ready = self.report.observed.as_ref().is_some_and(|o| o.gateways.values().all(|g| g.is_ready()));
        let removing = self.orders.borrow().remove.is_some() && !self.report.removed;
        let refused = self.report.applied.as_ref().is_some_and(|applied| !applied.problems.is_empty());
        if ready && !removing && !refused { LOOK_LATER } else { LOOK_SOON }
    }

    fn backoff(&self) -> Duration {
        RETRY_BASE.saturating_mul(1 << self.failures.saturating_sub(1).min(8)).min(RETRY_MAX)
    }
}

/// Why a worker woke.
enum Wake {
    Order,
    Time,
    Change(Change),
    Member(Box<Option<crds::FleetMember>>),
    Relay(RelayReport),
}

async fn next_report(relay: &mut Option<watch::Receiver<RelayReport>>) -> RelayReport {
    if let Some(receiver) = relay
        && receiver.changed().await.is_ok()
    {
        return receiver.borrow_and_update().clone();
    }
    std::future::pending().await
}

fn same<T>(a: &Option<Arc<T>>, b: &Option<Arc<T>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        _ => false,
    }
}
