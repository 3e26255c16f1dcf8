// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What can go wrong while setting logs, pages and signals up.

use std::net::SocketAddr;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The text is no log filter.
    #[error("log filter {filter:?} is invalid; write for example info,gateway_proxy=debug")]
    Filter {
        /// The refused text.
        filter: String,
        /// What the parser said.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// Logs were set up before.
    #[error("logs are already set up in this process")]
    LogsTwice(#[source] tracing_subscriber::util::TryInitError),
    /// The reload handle outlived its subscriber.
    #[error("the log filter can no longer be changed")]
    Reload(#[source] tracing_subscriber::reload::Error),
    /// An address could not be bound.
    #[error("cannot listen on {address}; is another process using it?")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// A signal handler could not be installed.
    #[error("cannot listen for signals")]
    Signal(#[source] std::io::Error),
}
