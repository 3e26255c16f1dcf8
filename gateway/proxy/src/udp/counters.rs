// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What the sessions of a listener are served by: its settings, their numbers and logs.

use crate::access_log::LogWriter;
use crate::filters::Counter;
use crate::listener::ListenerState;
use crate::metrics::WorkerMetrics;
use crate::worker::Worker;
use gateway_config::{Listener, UdpProxy};
use std::rc::Rc;
use std::sync::Arc;

/// Settings with their numbers and logs.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) proxy: Arc<UdpProxy>,
    pub(super) counters: Counters,
    /// In the order of the configuration; none where a log can not be opened.
    pub(super) logs: Box<[Option<Rc<LogWriter>>]>,
}

impl Settings {
    /// None where the listener takes no datagrams.
    pub(super) fn new(worker: &Worker, listener: &ListenerState, config: &Listener) -> Option<Rc<Self>> {
        let proxy = config.udp.as_ref()?;
        let logs = proxy.access_logs.logs.iter().map(|log| worker.log_writer(log)).collect();
        let counters = Counters::new(worker.metrics(), &proxy.stat_prefix, &listener.shared.metrics_label());
        Some(Rc::new(Self { proxy: Arc::clone(proxy), counters, logs }))
    }
}

/// Numbers of one `stat_prefix` on one worker.
#[derive(Debug)]
pub(super) struct Counters {
    pub(super) active: Counter,
    pub(super) total: Counter,
    pub(super) no_route: Counter,
    pub(super) idle_timeout: Counter,
    pub(super) received_bytes: Counter,
    pub(super) received: Counter,
    pub(super) receive_errors: Counter,
    pub(super) sent_bytes: Counter,
    pub(super) sent: Counter,
    pub(super) send_errors: Counter,
    /// Datagrams of clients that were too large.
    pub(super) dropped: Counter,
}

impl Counters {
    fn new(metrics: &WorkerMetrics, prefix: &str, address: &str) -> Self {
        let number = |name| metrics.number(name, "envoy_udp_prefix", prefix);
        Self {
            active: number("udp_downstream_sess_active"),
            total: number("udp_downstream_sess_total"),
            no_route: number("udp_downstream_sess_no_route"),
            idle_timeout: number("udp_idle_timeout"),
            received_bytes: number("udp_downstream_sess_rx_bytes"),
            received: number("udp_downstream_sess_rx_datagrams"),
            receive_errors: number("udp_downstream_sess_rx_errors"),
            sent_bytes: number("udp_downstream_sess_tx_bytes"),
            sent: number("udp_downstream_sess_tx_datagrams"),
            send_errors: number("udp_downstream_sess_tx_errors"),
            dropped: metrics.number("udp_downstream_rx_datagram_dropped", "envoy_listener_address", address),
        }
    }
}
