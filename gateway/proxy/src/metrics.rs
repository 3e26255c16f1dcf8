// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Counters of connections and requests under Envoy's names. Each worker has its own; a scrape adds them up.

mod collect;
mod histogram;
mod istio;
mod stat;

pub(crate) use collect::visit;
pub(crate) use histogram::Histogram;
pub use istio::IstioSource;
pub(crate) use istio::{IstioRecorder, IstioSeries, Measures, Outcome, write as write_istio};
pub use stat::{PrometheusText, Stat, StatScope, StatTag, StatValue};

use crate::head_guard::Refusal;
use parking_lot::Mutex;
use rustls::{HandshakeKind, ServerConnection};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A number that one thread writes and any thread reads.
#[derive(Debug, Default)]
pub(crate) struct Number(AtomicU64);

impl Number {
    /// Adds one. No locked instruction: there is one writer.
    pub(crate) fn increment(&self) {
        self.add(1);
    }

    /// Adds `count`.
    pub(crate) fn add(&self, count: u64) {
        self.0.store(self.get().wrapping_add(count), Ordering::Relaxed);
    }

    /// Takes one away, of a gauge.
    pub(crate) fn decrement(&self) {
        self.0.store(self.get().wrapping_sub(1), Ordering::Relaxed);
    }

    /// The number now.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! numbers {
    ($(#[$outer:meta])* $type:ident { $($(#[$doc:meta])* $name:ident: $kind:literal,)* } $(and { $($extra:ident: $extra_type:ty,)* })?) => {
        $(#[$outer])*
        #[derive(Debug, Default)]
        pub(crate) struct $type {
            $($(#[$doc])* pub(crate) $name: Number,)*
            $($(pub(crate) $extra: $extra_type,)*)?
        }

        impl $type {
            /// Names and types, in the order of [`Self::values`].
            pub(crate) const NAMES: &'static [(&'static str, &'static str)] = &[$((stringify!($name), $kind),)*];

            /// The numbers now.
            pub(crate) fn values(&self) -> Vec<u64> {
                vec![$(self.$name.get(),)*]
            }
        }
    };
}

numbers! {
    /// Requests and connections of one `stat_prefix` on one worker.
    HttpMetrics {
        /// Connections so far.
        downstream_cx_total: "counter",
        /// Connections open now.
        downstream_cx_active: "gauge",
        /// Connections between requests, held without parser and buffers.
        downstream_cx_resting: "gauge",
        /// Connections that have ended.
        downstream_cx_destroy: "counter",
        /// TLS connections open now.
        downstream_cx_ssl_active: "gauge",
        /// Connections that spoke HTTP/1.
        downstream_cx_http1_total: "counter",
        /// Connections that spoke HTTP/2.
        downstream_cx_http2_total: "counter",
        /// Connections over TLS.
        downstream_cx_ssl_total: "counter",
        /// Connections that were changed to another protocol.
        downstream_cx_upgrades_total: "counter",
        /// Changed connections open now.
        downstream_cx_upgrades_active: "gauge",
        /// Connections that broke the protocol.
        downstream_cx_protocol_error: "counter",
        /// Connections closed for being idle.
        downstream_cx_idle_timeout: "counter",
        /// Connections closed because of a drain.
        downstream_cx_drain_close: "counter",
        /// Connections closed because memory is short.
        downstream_cx_overload_disable_keepalive: "counter",
        /// Connections closed because the client took nothing for too long.
        downstream_cx_write_timeout: "counter",
        /// Requests so far.
        downstream_rq_total: "counter",
        /// Requests being handled.
        downstream_rq_active: "gauge",
        /// Requests by HTTP/1.
        downstream_rq_http1_total: "counter",
        /// Requests by HTTP/2.
        downstream_rq_http2_total: "counter",
        /// Requests whose answer was complete.
        downstream_rq_completed: "counter",
        /// Requests that the client gave up.
        downstream_rq_rx_reset: "counter",
        /// Requests whose head did not come in time.
        downstream_rq_header_timeout: "counter",
        /// Requests whose body did not come in time.
        downstream_rq_idle_timeout: "counter",
        /// Requests answered 503 because memory is short.
        downstream_rq_overload_close: "counter",
        /// Requests that were not there as a whole in time.
        downstream_rq_timeout: "counter",
        /// Requests whose body was above a buffer's limit.
        downstream_rq_too_large: "counter",
        /// Requests refused for an upgrade that is not allowed.
        downstream_rq_ws_on_non_ws_route: "counter",
        /// Requests without a route.
        no_route: "counter",
        /// Requests whose cluster is unknown.
        no_cluster: "counter",
        /// Requests answered by the configuration: redirects and direct responses.
        rq_direct_response: "counter",
        /// Connections cut at the end of a drain.
        drain_forced: "counter",
    } and {
        status_classes: [Number; 5],
        request_time: Histogram,
        connection_length: Histogram,
        refused: [Number; Refusal::ALL.len()],
    }
}

numbers! {
    /// Connections of one listener on one worker.
    ListenerMetrics {
        /// Connections accepted.
        downstream_cx_total: "counter",
        /// Connections open now.
        downstream_cx_active: "gauge",
        /// Connections closed at once because of the limit.
        downstream_cx_overflow: "counter",
        /// Connections closed at once because of the process's limit.
        downstream_global_cx_overflow: "counter",
        /// Connections closed at once because memory is short.
        downstream_cx_overload_reject: "counter",
        /// Connections that did not say in time which protocol they speak.
        downstream_pre_cx_timeout: "counter",
        /// Connections without the PROXY protocol header that they must have, or with a broken one.
        proxy_proto_invalid: "counter",
        /// Connections that no filter chain takes.
        no_filter_chain_match: "counter",
        /// TLS handshakes that were completed.
        ssl_handshake: "counter",
        /// TLS handshakes that failed.
        ssl_connection_error: "counter",
        /// Handshakes that resumed a session.
        ssl_session_reused: "counter",
        /// Handshakes without a client certificate.
        ssl_no_certificate: "counter",
        /// Handshakes that failed for want of a client certificate.
        ssl_fail_verify_no_cert: "counter",
        /// Handshakes that failed because of the client's certificate.
        ssl_fail_verify_error: "counter",
        /// Connections that have ended.
        downstream_cx_destroy: "counter",
    } and {
        source_overflow: Number,
        connection_length: Histogram,
    }
}

impl ListenerMetrics {
    /// Counts a TLS handshake that was completed.
    pub(crate) fn count_handshake(&self, session: &ServerConnection) {
        self.ssl_handshake.increment();
        if session.handshake_kind() == Some(HandshakeKind::Resumed) {
            self.ssl_session_reused.increment();
        }
        if session.peer_certificates().is_none_or(<[_]>::is_empty) {
            self.ssl_no_certificate.increment();
        }
    }

    /// Counts why a client certificate was not good, where that ended a handshake.
    pub(crate) fn count_verification(&self, error: &io::Error) {
        let error = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match error {
            Some(rustls::Error::NoCertificatesPresented) => self.ssl_fail_verify_no_cert.increment(),
            Some(rustls::Error::InvalidCertificate(_)) => self.ssl_fail_verify_error.increment(),
            _ => {}
        }
    }
}

impl HttpMetrics {
    /// Counts an answer by the first digit of its status.
    pub(crate) fn count_status(&self, status: u16) {
        if let Some(class) = self.status_classes.get(usize::from(status / 100).wrapping_sub(1)) {
            class.increment();
        }
    }

    /// Counts a refused head or body.
    pub(crate) fn count_refusal(&self, reason: Refusal) {
        if let Some(number) = self.refused.get(reason as usize - 1) {
            number.increment();
        }
    }
}

/// The numbers of one worker.
#[derive(Debug, Default)]
pub(crate) struct WorkerMetrics {
    http: Mutex<BTreeMap<Box<str>, Arc<HttpMetrics>>>,
    listeners: Mutex<BTreeMap<Box<str>, Arc<ListenerMetrics>>>,
    /// Faults that are injected right now.
    pub(crate) active_faults: Arc<AtomicU32>,
    /// Counters of filters.
    filters: Mutex<BTreeMap<CounterKey, Arc<Number>>>,
    /// Istio's metrics, where they are asked for.
    pub(crate) istio: Arc<IstioSeries>,
}

/// A counter's name below `envoy_`, its one label and the label's value.
type CounterKey = (&'static str, &'static str, Box<str>);

impl WorkerMetrics {
    /// The numbers of a `stat_prefix`; called when a connection starts, not for each request.
    pub(crate) fn http(&self, prefix: &str) -> Arc<HttpMetrics> {
        entry(&self.http, prefix)
    }

    /// The numbers of a listener, by address.
    pub(crate) fn listener(&self, address: &str) -> Arc<ListenerMetrics> {
        entry(&self.listeners, address)
    }

    /// A counter of a filter, such as `http_rbac_allowed` with the label `envoy_http_conn_manager_prefix`. Called when a filter is made,
    /// not for each request.
    pub(crate) fn number(&self, name: &'static str, label: &'static str, value: &str) -> Arc<Number> {
        Arc::clone(self.filters.lock().entry((name, label, value.into())).or_default())
    }
}

fn entry<T: Default>(map: &Mutex<BTreeMap<Box<str>, Arc<T>>>, key: &str) -> Arc<T> {
    let mut map = map.lock();
    match map.get(key) {
        Some(found) => Arc::clone(found),
        None => Arc::clone(map.entry(key.into()).or_default()),
    }
}
