// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Readiness: true once there is something to serve and it is being served, false again while draining.

use crate::process::Shared;
use gateway_proxy::NotReady;
use gateway_telemetry::{Gate, Readiness};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Time between looks.
const LOOK: Duration = Duration::from_millis(250);
/// A listener or type that has not come within this time after the first configuration holds readiness up no longer: one
/// missing certificate must not keep a gateway out of service.
const PATIENCE: Duration = Duration::from_secs(15);

/// When everything was told and nothing was installed for so long, there is nothing to serve.
const NOTHING_COMES: Duration = Duration::from_secs(2);

/// The gates of this process.
#[derive(Debug)]
pub(crate) struct Gates {
    /// A configuration is installed, and on the first start the relay's answer to every type was in it.
    configuration: Gate,
    /// Every listener was bound once.
    listeners: Gate,
    /// Every worker answers, and the process does not drain.
    workers: Gate,
}

impl Gates {
    pub(crate) fn new(readiness: &Readiness) -> Self {
        let (configuration, listeners) = (readiness.gate("configuration"), readiness.gate("listeners"));
        Self { configuration, listeners, workers: readiness.gate("workers") }
    }
}

/// Moves the gates as the process goes on; never ends.
pub(crate) async fn watch(gates: Gates, shared: Arc<Shared>) {
    let mut first_configuration: Option<Instant> = None;
    let mut first_complete: Option<Instant> = None;
    let (mut configured, mut bound) = (false, false);
    loop {
        let installed = shared.proxy.generation().is_some();
        if installed && first_configuration.is_none() {
            first_configuration = Some(Instant::now());
        }
        let waited = first_configuration.is_some_and(|since| since.elapsed() > PATIENCE);
        let complete = shared.initial_state_is_complete();
        if complete && first_complete.is_none() {
            first_complete = Some(Instant::now());
        }
        // The relay told everything and there was nothing to install: that is a configuration, too.
        let empty = !installed && first_complete.is_some_and(|since| since.elapsed() > NOTHING_COMES);
        if !configured {
            configured = empty || (installed && (shared.started_from_disk || complete || waited));
            gates.configuration.set(configured);
        }
        // A listener that fails later must not take the others out of service, so this gate opens once.
        if configured && !bound {
            let all = shared.proxy.bind_failures().is_empty() && shared.store.lock().waiting().is_empty();
            bound = all || waited;
            gates.listeners.set(bound);
        }
        let works = match shared.proxy.ready().await {
            Ok(()) => true,
            Err(NotReady::NoConfiguration) => empty,
            Err(_) => false,
        };
        gates.workers.set(works && !shared.proxy_is_draining());
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = shared.draining.cancelled(), if !shared.proxy_is_draining() => gates.workers.set(false),
        }
    }
}
