// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The drain signal: SIGTERM or SIGINT once asks for an orderly end, a second time for an immediate one.

use crate::TelemetryError;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The two steps of ending.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Set by the first signal: drain, then end.
    pub requested: CancellationToken,
    /// Set by the second signal: end now.
    pub forced: CancellationToken,
}

impl Shutdown {
    /// Listens for signals; needs a tokio runtime.
    ///
    /// # Errors
    /// Where the handlers cannot be installed.
    pub fn on_signals() -> Result<Self, TelemetryError> {
        let mut terminate = signal(SignalKind::terminate()).map_err(TelemetryError::Signal)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(TelemetryError::Signal)?;
        let shutdown = Self::default();
        let tokens = shutdown.clone();
        tokio::spawn(async move {
            for token in [tokens.requested, tokens.forced] {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                };
                tracing::info!(signal = name, "signal received");
                token.cancel();
            }
        });
        Ok(shutdown)
    }
}
