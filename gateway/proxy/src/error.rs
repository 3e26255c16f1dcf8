// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What goes wrong with the proxy itself, as values for NACKs, readiness and logs.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use thiserror::Error;

/// The proxy could not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A worker's thread or runtime could not be made.
    #[error("worker {worker} could not be started")]
    Worker {
        /// Its number, from 0.
        worker: usize,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The thread that watches memory could not be made.
    #[error("the watch over memory could not be started")]
    Memory(#[source] io::Error),
}

/// A listener that could not be opened.
#[derive(Debug, Error)]
#[error("listener {listener} can not listen on {address}: free the port or declare another one")]
pub struct BindFailure {
    /// Name of the listener.
    pub listener: String,
    /// The address that was asked for.
    pub address: SocketAddr,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Parts of a snapshot that are not served; all others are.
#[derive(Debug)]
pub struct InstallError {
    /// Listeners that could not be opened; what listened under their names before goes on.
    pub failures: Vec<BindFailure>,
    /// Workers that did not take the snapshot in time.
    pub stuck_workers: Vec<usize>,
}

impl fmt::Display for InstallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failures = self.failures.iter().map(|failure| format!("{failure} ({})", failure.source));
        let stuck = self.stuck_workers.iter().map(|worker| format!("worker {worker} does not answer"));
        f.write_str(&failures.chain(stuck).collect::<Vec<_>>().join("; "))
    }
}

impl std::error::Error for InstallError {}

/// Why the proxy should get no traffic.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotReady {
    /// No configuration has come yet.
    #[error("no configuration yet")]
    NoConfiguration,
    /// It is draining.
    #[error("draining")]
    Draining,
    /// No listener could be opened.
    #[error("no listener is open: {0}")]
    NoListener(String),
    /// A worker did not answer in time.
    #[error("worker {0} does not answer")]
    Stuck(usize),
}
