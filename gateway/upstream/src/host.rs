// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A host's passive state, shared by all workers and kept across configuration changes.

use crate::metrics::HostMetrics;
use crate::outlier::Window;
use gateway_config::{EndpointAddress, EndpointHealth, OutlierDetection, RateDetection};
use http::StatusCode;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// What is known about one endpoint of a cluster.
#[derive(Debug)]
pub struct HostState {
    address: EndpointAddress,
    active: AtomicU32,
    requests: AtomicU64,
    errors: AtomicU64,
    /// Numbers for pages.
    pub numbers: HostMetrics,
    consecutive_5xx: AtomicU32,
    consecutive_gateway: AtomicU32,
    /// Failures without an answer, where they are counted apart.
    consecutive_local: AtomicU32,
    ejections: AtomicU32,
    /// Requests of this interval, and those that went well.
    window: [AtomicU32; 2],
    /// Milliseconds on the registry's clock; 0: in service.
    ejected_until: AtomicU64,
    /// What active checks say: bits of [`CheckFlags`].
    checks: AtomicU8,
    /// When it came, or came back after failed checks; milliseconds on the registry's clock.
    since: AtomicU64,
    /// Active checks are set up for it.
    watched: AtomicBool,
}

/// What active health checks say about a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CheckFlags(u8);

impl CheckFlags {
    /// It failed too often.
    pub(crate) const FAILED: Self = Self(1);
    /// It said that it is degraded.
    pub(crate) const DEGRADED: Self = Self(2);
    /// It was not checked yet.
    pub(crate) const PENDING: Self = Self(4);
    /// It asked to be left alone at once.
    pub(crate) const EXCLUDED: Self = Self(8);

    pub(crate) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(crate) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// What checks say about a host, for pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Active checks failed too often.
    pub failed_active: bool,
    /// Active checks found it degraded.
    pub degraded_active: bool,
    /// It was not checked yet.
    pub pending: bool,
    /// It asked to be left alone at once.
    pub excluded: bool,
    /// Outlier detection took it out of service.
    pub ejected: bool,
}

/// Whether a host may take requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostHealth {
    Healthy,
    Degraded,
    Unhealthy,
    /// Unhealthy, and not counted for the panic threshold.
    Excluded,
}

/// How an attempt ended, for outlier detection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer came.
    Status(StatusCode),
    /// No answer came: connection failure, reset, timeout.
    Failure,
}

impl HostState {
    pub(crate) fn new(address: EndpointAddress, now: u64) -> Self {
        Self {
            address,
            active: AtomicU32::new(0),
            requests: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            numbers: HostMetrics::default(),
            consecutive_5xx: AtomicU32::new(0),
            consecutive_gateway: AtomicU32::new(0),
            consecutive_local: AtomicU32::new(0),
            ejections: AtomicU32::new(0),
            window: Default::default(),
            ejected_until: AtomicU64::new(0),
            checks: AtomicU8::new(0),
            since: AtomicU64::new(now),
            watched: AtomicBool::new(false),
        }
    }

    /// Whether active health checks found it unhealthy.
    #[must_use]
    pub fn failed_checks(&self) -> bool {
        self.checks().has(CheckFlags::FAILED)
    }

    /// What checks say about it.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let flags = self.checks();
        Standing {
            failed_active: flags.has(CheckFlags::FAILED),
            degraded_active: flags.has(CheckFlags::DEGRADED),
            pending: flags.has(CheckFlags::PENDING),
            excluded: flags.has(CheckFlags::EXCLUDED),
            ejected: self.is_ejected(),
        }
    }

    pub(crate) fn checks(&self) -> CheckFlags {
        CheckFlags(self.checks.load(Ordering::Relaxed))
    }

    /// Keeps what checks say; true where that is new.
    pub(crate) fn set_checks(&self, flags: CheckFlags) -> bool {
        self.checks.swap(flags.0, Ordering::Relaxed) != flags.0
    }

    /// Checks are set up for it, or no longer: a host that is to be checked is unhealthy until it was, as in Envoy.
    pub(crate) fn watch(&self, watched: bool, first: CheckFlags) {
        if self.watched.swap(watched, Ordering::Relaxed) != watched {
            let flags = if watched { first } else { CheckFlags::default() };
            self.checks.store(flags.0, Ordering::Relaxed);
        }
    }

    /// When its time in service began.
    pub(crate) fn since(&self) -> u64 {
        self.since.load(Ordering::Relaxed)
    }

    pub(crate) fn begin_service(&self, now: u64) {
        self.since.store(now, Ordering::Relaxed);
    }

    /// Whether it may take requests, with what the control plane says about it.
    pub(crate) fn health(&self, told: EndpointHealth) -> HostHealth {
        let checks = self.checks();
        match told {
            _ if checks.has(CheckFlags::EXCLUDED.with(CheckFlags::PENDING)) => HostHealth::Excluded,
            _ if checks.has(CheckFlags::FAILED) || self.is_ejected() => HostHealth::Unhealthy,
            EndpointHealth::Draining | EndpointHealth::Unhealthy => HostHealth::Unhealthy,
            EndpointHealth::Degraded => HostHealth::Degraded,
            EndpointHealth::Healthy if checks.has(CheckFlags::DEGRADED) => HostHealth::Degraded,
            EndpointHealth::Healthy => HostHealth::Healthy,
        }
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> &EndpointAddress {
        &self.address
    }

    /// Requests being handled.
    #[must_use]
    pub fn active(&self) -> u32 {
        self.active.load(Ordering::Relaxed)
    }

    /// Counts a connection; false where the host has as many as it may have.
    pub(crate) fn open_connection(&self, limit: Option<u32>) -> bool {
        let counted = self.numbers.cx_active.add_below(limit.unwrap_or(u32::MAX));
        if counted {
            self.numbers.cx_total.add(1);
        }
        counted
    }

    pub(crate) fn close_connection(&self) {
        self.numbers.cx_active.sub(1);
    }

    /// Requests so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Requests that failed or were answered 5xx.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// Whether it is out of service now.
    #[must_use]
    pub fn is_ejected(&self) -> bool {
        self.ejected_until.load(Ordering::Relaxed) != 0
    }

    pub(crate) fn begin(&self) {
        self.active.fetch_add(1, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn end(&self) {
        self.active.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts an outcome; tells where the host has failed often enough in a row to be ejected.
    ///
    /// The number tells which of [`OutlierDetection::enforcing`] applies.
    pub(crate) fn count(&self, outcome: Outcome, policy: Option<&OutlierDetection>) -> Option<usize> {
        if policy.is_some_and(|policy| policy.rates != RateDetection::default()) {
            self.count_in_window(outcome, policy.is_some_and(|policy| policy.split_local_origin));
        }
        let split = policy.is_some_and(|policy| policy.split_local_origin);
        match outcome {
            Outcome::Failure => {
                self.errors.fetch_add(1, Ordering::Relaxed);
                if split {
                    let in_row = self.consecutive_local.fetch_add(1, Ordering::Relaxed) + 1;
                    let limit = policy.and_then(|policy| policy.consecutive_local_origin_failure);
                    return reached(limit, in_row).then_some(2);
                }
                let counts = (add(&self.consecutive_5xx), add(&self.consecutive_gateway));
                in_a_row(policy, counts.0, counts.1)
            }
            Outcome::Status(status) => {
                clear(&self.consecutive_local);
                let gateway = matches!(status.as_u16(), 502..=504);
                let gateway_count =
                    if gateway { add(&self.consecutive_gateway) } else { clear(&self.consecutive_gateway) };
                if !status.is_server_error() {
                    self.numbers.rq_success.add(1);
                    clear(&self.consecutive_5xx);
                    return None;
                }
                self.errors.fetch_add(1, Ordering::Relaxed);
                let count = add(&self.consecutive_5xx);
                in_a_row(policy, count, gateway_count)
            }
        }
    }

    /// A connection is there: failures before it are no longer in a row, as Envoy counts.
    pub(crate) fn reached(&self) {
        clear(&self.consecutive_local);
    }

    fn count_in_window(&self, outcome: Outcome, split: bool) {
        let good = match outcome {
            Outcome::Status(status) => !status.is_server_error(),
            Outcome::Failure if split => return,
            Outcome::Failure => false,
        };
        let [total, well] = &self.window;
        total.fetch_add(1, Ordering::Relaxed);
        if good {
            well.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What it did since the last call.
    pub(crate) fn take_window(&self) -> Window {
        let [total, good] = &self.window;
        let total = total.swap(0, Ordering::Relaxed);
        Window { total, good: good.swap(0, Ordering::Relaxed).min(total) }
    }

    /// Takes it out of service; gives the end of that, or none where it is out already.
    pub(crate) fn eject(&self, now: u64, policy: &OutlierDetection) -> Option<u64> {
        let times = self.ejections.load(Ordering::Relaxed).saturating_add(1);
        let longest = policy.max_ejection_time.max(policy.base_ejection_time);
        let length =
            policy.base_ejection_time.saturating_mul(times).min(longest).max(Duration::from_millis(1));
        let length = length + policy.ejection_jitter.mul_f64(rand::random::<f64>());
        let until = now.saturating_add(u64::try_from(length.as_millis()).unwrap_or(u64::MAX)).max(1);
        self.ejected_until.compare_exchange(0, until, Ordering::Relaxed, Ordering::Relaxed).ok()?;
        self.ejections.store(times, Ordering::Relaxed);
        Some(until)
    }

    /// Puts it back where its time is over; gives the end of its time where it is still out.
    pub(crate) fn return_if_due(&self, now: u64) -> Result<bool, u64> {
        let until = self.ejected_until.load(Ordering::Relaxed);
        if until == 0 {
            return Ok(false);
        }
        if until > now {
            return Err(until);
        }
        for counter in [&self.consecutive_5xx, &self.consecutive_gateway, &self.consecutive_local] {
            clear(counter);
        }
        Ok(self.ejected_until.compare_exchange(until, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok())
    }

    /// Ends an ejection at once (outlier detection was switched off, or an active check passed).
    pub(crate) fn reinstate(&self) -> bool {
        for counter in [&self.consecutive_5xx, &self.consecutive_gateway, &self.consecutive_local] {
            clear(counter);
        }
        self.ejected_until.swap(0, Ordering::Relaxed) != 0
    }
}

fn reached(limit: Option<u32>, count: u32) -> bool {
    limit.is_some_and(|limit| count >= limit.max(1))
}

fn in_a_row(policy: Option<&OutlierDetection>, errors: u32, gateway: u32) -> Option<usize> {
    let policy = policy?;
    if reached(policy.consecutive_5xx, errors) {
        return Some(0);
    }
    reached(policy.consecutive_gateway_failure, gateway).then_some(1)
}

fn add(counter: &AtomicU32) -> u32 {
    counter.fetch_add(1, Ordering::Relaxed) + 1
}

/// Stores only where needed: the cache line of a healthy host stays shared between workers.
fn clear(counter: &AtomicU32) -> u32 {
    if counter.load(Ordering::Relaxed) != 0 {
        counter.store(0, Ordering::Relaxed);
    }
    0
}
