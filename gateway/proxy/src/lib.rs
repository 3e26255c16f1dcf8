// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Listeners, TLS, the request phases, retries, access logs and drain.
//!
//! ```text
//! Proxy::install(snapshot)   sockets, configuration        proxy, worker, listener
//! accept -> tls -> http      connection                    accept, proxy_protocol, tls_hello, tls, preface, downstream_io, head_guard, http, watchdog
//!               -> tcp                                     tcp
//! request                    the phases of a request       request (the list), normalise, routing, filter (the run), filters (the built-in ones), forward, retry, respond,
//!                                                            record
//! ```
//!
//! Each worker is a thread with its own runtime, sockets, upstream connections and counters. A request takes the configuration that is
//! newest when it begins and keeps it to its end; nothing on its way is locked.

mod accept;
mod access_log;
mod access_rules;
mod affinity;
mod answer;
mod callout;
mod cipher;
mod client_address;
mod client_stream;
mod connection;
mod deadline;
mod downstream_io;
mod error;
mod filter;
mod filters;
mod format;
mod forward;
mod frame_guard;
#[doc(hidden)]
pub mod fuzzing;
mod gates;
mod head_guard;
mod http;
mod http_settings;
mod idle;
mod internal_redirect;
mod jwt;
mod listener;
mod local_reply;
mod log_pace;
mod metrics;
mod mirror;
mod mutations;
mod normalise;
mod one_line;
mod options;
mod otlp;
mod overload;
mod path;
mod peer;
mod plugin;
mod preface;
mod protobuf_json;
mod proxy;
mod proxy_protocol;
mod record;
mod request;
mod request_body;
mod respond;
mod response_body;
mod retry;
mod rewrite;
mod routing;
mod service_changes;
mod sockets;
mod sources;
mod steer;
mod stream_task;
mod tcp;
mod tls;
mod tls_hello;
mod trace;
mod tunnel;
mod udp;
mod upgrade;
mod via;
mod watchdog;
mod websocket;
mod worker;

pub use error::{BindFailure, InstallError, NotReady, StartError};
pub use metrics::{IstioSource, PrometheusText, Stat, StatScope, StatTag, StatValue};
pub use options::{ConnectionLimits, DrainOptions, Limits, ProxyOptions};
pub use proxy::{DrainReport, ListenerStatus, Proxy};
