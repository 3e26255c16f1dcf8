// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Counters and gauges of a cluster, under Envoy's names, shared by all workers.

use crate::histogram::Histogram;
use gateway_config::RoutingPriority;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// A number's name, its kind and where it is.
pub type NamedMetric<T> = (&'static str, MetricKind, fn(&T) -> &Metric);

macro_rules! metrics {
    ($(#[$outer:meta])* $type:ident { $($(#[$doc:meta])* $name:ident: $kind:ident,)* } $(and { $($(#[$also:meta])* $extra:ident: $extra_type:ty,)* })?) => {
        $(#[$outer])*
        #[derive(Debug, Default)]
        pub struct $type {
            $($(#[$doc])* pub $name: Metric,)*
            $($($(#[$also])* pub $extra: $extra_type,)*)?
        }

        impl $type {
            /// Names and kinds of all numbers, and where each is.
            pub const NUMBERS: &'static [NamedMetric<Self>] =
                &[$((stringify!($name), MetricKind::$kind, |all| &all.$name),)*];

            /// All numbers, by name.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, MetricKind, u64)> {
                [$((stringify!($name), MetricKind::$kind, self.$name.get()),)*].into_iter()
            }
        }
    };
}

metrics! {
    /// The numbers of one host, beside those that balancing needs.
    HostMetrics {
        /// Connections open or being opened.
        cx_active: Gauge,
        /// Connections that could not be made.
        cx_connect_fail: Counter,
        /// Connections that were started.
        cx_total: Counter,
        /// Requests that are waiting for a connection.
        rq_pending_active: Gauge,
        /// Requests answered, and not with 5xx.
        rq_success: Counter,
        /// Requests whose time ran out.
        rq_timeout: Counter,
    }
}

metrics! {
    /// The numbers of one cluster.
    ClusterMetrics {
        /// Connections that were started.
        upstream_cx_total: Counter,
        /// Connections that are open or being opened.
        upstream_cx_active: Gauge,
        /// HTTP/1.1 connections made.
        upstream_cx_http1_total: Counter,
        /// HTTP/2 connections made.
        upstream_cx_http2_total: Counter,
        /// Connections that have ended.
        upstream_cx_destroy: Counter,
        /// Connections that could not be made.
        upstream_cx_connect_fail: Counter,
        /// Of these, those that took too long.
        upstream_cx_connect_timeout: Counter,
        /// Times that the limit of connections held a new one back.
        upstream_cx_overflow: Counter,
        /// Bytes received.
        upstream_cx_rx_bytes_total: Counter,
        /// Bytes sent.
        upstream_cx_tx_bytes_total: Counter,
        /// Requests, retries included.
        upstream_rq_total: Counter,
        /// Requests being handled.
        upstream_rq_active: Gauge,
        /// Requests that had to wait for a connection.
        upstream_rq_pending_total: Counter,
        /// Requests that are waiting for a connection.
        upstream_rq_pending_active: Gauge,
        /// Requests refused by a limit.
        upstream_rq_pending_overflow: Counter,
        /// Requests failed because no connection could be made.
        upstream_rq_pending_failure_eject: Counter,
        /// Requests whose time ran out.
        upstream_rq_timeout: Counter,
        /// Attempts whose time ran out.
        upstream_rq_per_try_timeout: Counter,
        /// Retries.
        upstream_rq_retry: Counter,
        /// Retries that are running.
        upstream_rq_retry_active: Gauge,
        /// Retries after a wait of the gateway's own choice.
        upstream_rq_retry_backoff_exponential: Counter,
        /// Retries after the wait that an answer asked for.
        upstream_rq_retry_backoff_ratelimited: Counter,
        /// Requests that went wrong after all the retries that they may have.
        upstream_rq_retry_limit_exceeded: Counter,
        /// Retries refused by the limit.
        upstream_rq_retry_overflow: Counter,
        /// Requests that went well after a retry.
        upstream_rq_retry_success: Counter,
        /// Streams that the peer reset.
        upstream_rq_rx_reset: Counter,
        /// Requests that were answered.
        upstream_rq_completed: Counter,
        /// Answers 1xx.
        upstream_rq_1xx: Counter,
        /// Answers 2xx.
        upstream_rq_2xx: Counter,
        /// Answers 3xx.
        upstream_rq_3xx: Counter,
        /// Answers 4xx.
        upstream_rq_4xx: Counter,
        /// Answers 5xx.
        upstream_rq_5xx: Counter,
        /// Times that no host could be picked.
        upstream_cx_none_healthy: Counter,
        /// Picks made among all hosts because too few are healthy.
        lb_healthy_panic: Counter,
        /// Hosts.
        membership_total: Gauge,
        /// Hosts that take requests.
        membership_healthy: Gauge,
        /// Hosts that take requests only where the healthy ones are not enough.
        membership_degraded: Gauge,
        /// Hosts that do not count, as they were not checked yet or asked for it.
        membership_excluded: Gauge,
        /// Times that the set of hosts changed.
        membership_change: Counter,
        /// Names asked for.
        update_attempt: Counter,
        /// Names that resolved.
        update_success: Counter,
        /// Of these, those without an address.
        update_empty: Counter,
        /// Names that did not resolve.
        update_failure: Counter,
        /// Active health checks.
        health_check_attempt: Counter,
        /// Checks that went well.
        health_check_success: Counter,
        /// Checks that did not.
        health_check_failure: Counter,
        /// Of these, those without an answer.
        health_check_network_failure: Counter,
        /// Hosts that said in an answer to a request that they want no more.
        health_check_passive_failure: Counter,
        /// Hosts that active checks found healthy.
        health_check_healthy: Gauge,
        /// Hosts that active checks found degraded.
        health_check_degraded: Gauge,
        /// Hosts that are ejected.
        outlier_detection_ejections_active: Gauge,
        /// Ejections.
        outlier_detection_ejections_enforced_total: Counter,
        /// Hosts whose success rate was too low.
        outlier_detection_ejections_detected_success_rate: Counter,
        /// Ejections for that.
        outlier_detection_ejections_enforced_success_rate: Counter,
        /// Hosts that failed too large a share of their requests.
        outlier_detection_ejections_detected_failure_percentage: Counter,
        /// Ejections for that.
        outlier_detection_ejections_enforced_failure_percentage: Counter,
        /// Ejections held back by the largest share.
        outlier_detection_ejections_overflow: Counter,
        /// Datagrams received in sessions.
        udp_sess_rx_datagrams: Counter,
        /// Datagrams that were too large to receive.
        udp_sess_rx_datagrams_dropped: Counter,
        /// Errors of receiving.
        udp_sess_rx_errors: Counter,
        /// Datagrams sent in sessions.
        udp_sess_tx_datagrams: Counter,
        /// Datagrams that could not be sent.
        udp_sess_tx_errors: Counter,
        /// TLS handshakes that were completed.
        ssl_handshake: Counter,
        /// TLS handshakes that failed.
        ssl_connection_error: Counter,
    } and {
        /// From a request to the end of its answer.
        upstream_rq_time: Histogram,
        /// From the first attempt to connect until requests can be sent.
        upstream_cx_connect_ms: Histogram,
        /// How long connections lived.
        upstream_cx_length_ms: Histogram,
        /// Answers by status.
        statuses: Statuses,
        /// Answers that were not passed on but tried again, by status.
        retried_statuses: Statuses,
    }
}

/// Answers by their status; room for a class is made by its first answer.
#[derive(Debug, Default)]
pub struct Statuses([OnceLock<Box<[Metric; 100]>>; 5]);

impl Statuses {
    pub(crate) fn count(&self, status: http::StatusCode) {
        let (class, within) = (usize::from(status.as_u16() / 100), usize::from(status.as_u16() % 100));
        let Some(class) = class.checked_sub(1).and_then(|class| self.0.get(class)) else { return };
        let counts = class.get_or_init(|| Box::new(std::array::from_fn(|_| Metric::default())));
        if let Some(count) = counts.get(within) {
            count.add(1);
        }
    }

    /// Statuses that were seen, and how often.
    pub fn iter(&self) -> impl Iterator<Item = (u16, u64)> {
        let classes = (1_u16..).zip(&self.0).filter_map(|(class, counts)| Some((class, counts.get()?)));
        let each = classes.flat_map(|(class, counts)| {
            (0_u16..).zip(counts.iter()).map(move |(within, count)| (class * 100 + within, count.get()))
        });
        each.filter(|(_, count)| *count > 0)
    }
}

impl ClusterMetrics {
    /// Counts the answer to a request by its status: that of a host, or the gateway's own where none came.
    pub fn count_status(&self, status: http::StatusCode) {
        self.upstream_rq_completed.add(1);
        self.statuses.count(status);
        match status.as_u16() / 100 {
            1 => self.upstream_rq_1xx.add(1),
            2 => self.upstream_rq_2xx.add(1),
            3 => self.upstream_rq_3xx.add(1),
            4 => self.upstream_rq_4xx.add(1),
            _ => self.upstream_rq_5xx.add(1),
        }
    }
}

/// What requests of high priority have of numbers that are limited.
#[derive(Debug, Default)]
pub(crate) struct HighPriority {
    pub(crate) connections: Metric,
    pub(crate) pending: Metric,
    pub(crate) requests: Metric,
    pub(crate) retries: Metric,
}

/// A number that is limited, with the part of it that requests of high priority have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limited<'a> {
    pub(crate) all: &'a Metric,
    pub(crate) high: &'a Metric,
}

impl Limited<'_> {
    /// Takes one where the priority's part is below its limit.
    pub(crate) fn take(self, priority: RoutingPriority, limit: u32) -> bool {
        match priority {
            RoutingPriority::Default => {
                let high = u32::try_from(self.high.get()).unwrap_or(u32::MAX);
                self.all.add_below(limit.saturating_add(high))
            }
            RoutingPriority::High => {
                let taken = self.high.add_below(limit);
                if taken {
                    self.all.add(1);
                }
                taken
            }
        }
    }

    /// Takes one, whatever the limit.
    pub(crate) fn force(self, priority: RoutingPriority) {
        self.all.add(1);
        if priority == RoutingPriority::High {
            self.high.add(1);
        }
    }

    /// Gives one back.
    pub(crate) fn release(self, priority: RoutingPriority) {
        self.all.sub(1);
        if priority == RoutingPriority::High {
            self.high.sub(1);
        }
    }
}

/// One number.
#[derive(Debug, Default)]
pub struct Metric(AtomicU64);

impl Metric {
    /// The number now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Adds to it.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn sub(&self, count: u64) {
        self.0.fetch_sub(count, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Adds one where the number is below `limit`.
    pub(crate) fn add_below(&self, limit: u32) -> bool {
        let limit = u64::from(limit);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| (now < limit).then_some(now + 1))
            .is_ok()
    }
}
