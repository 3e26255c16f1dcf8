// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A plugin on one worker: its instance, replaced after a trap.

use crate::breaker::Breaker;
use crate::error::WasmError;
use crate::instance::{Instance, Parts, Trapped};
use crate::stream::WasmStream;
use gateway_filter_api::{ConnectionInfo, HttpFilter, WorkerFilter};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use tokio::time::Instant;

/// A plugin on one worker.
pub(crate) struct WorkerPlugin {
    pub(crate) parts: Parts,
    instance: RefCell<Option<Instance>>,
    /// Counts instances: contexts belong to one of them.
    generation: Cell<u64>,
    breaker: RefCell<Breaker>,
}

impl WorkerPlugin {
    /// Starts the first instance.
    pub(crate) fn start(parts: Parts) -> Result<Self, WasmError> {
        let instance = Instance::start(&parts)?;
        Ok(Self {
            parts,
            instance: RefCell::new(Some(instance)),
            generation: Cell::new(1),
            breaker: RefCell::default(),
        })
    }

    /// The instance that new streams begin in; started anew where the one before trapped and rest is over.
    pub(crate) fn ensure(&self) -> Result<u64, WasmError> {
        let mut instance = self.instance.borrow_mut();
        if instance.is_none() {
            let now = Instant::now();
            if let Some(rest) = self.breaker.borrow().resting(now) {
                return Err(WasmError::Resting(rest));
            }
            let started =
                Instance::start(&self.parts).inspect_err(|_| self.breaker.borrow_mut().trapped(now))?;
            *instance = Some(started);
            self.generation.set(self.generation.get() + 1);
        }
        Ok(self.generation.get())
    }

    /// Runs `callbacks` in the instance of a generation. After a trap the instance is gone, and all streams in it fail.
    pub(crate) fn with<R>(
        &self,
        generation: u64,
        callbacks: impl FnOnce(&mut Instance) -> Result<R, Trapped>,
    ) -> Result<R, Trapped> {
        if generation != self.generation.get() {
            return Err(Trapped);
        }
        let mut instance = self.instance.borrow_mut();
        let result = instance.as_mut().map_or(Err(Trapped), callbacks);
        if result.is_err() && instance.is_some() {
            // Dropping it also lets the streams go on that wait in it.
            *instance = None;
            self.breaker.borrow_mut().trapped(Instant::now());
        }
        result
    }

    /// Ticks as long as it is polled; for streams that wait.
    pub(crate) async fn keep_ticking(&self, generation: u64) {
        while let Ok(Some(next)) = self.with(generation, |instance| instance.tick(Instant::now())) {
            tokio::time::sleep_until(next).await;
        }
        // Without ticks, or without the instance, there is nothing to do but wait for whoever drops this.
        std::future::pending().await
    }
}

/// What the proxy holds of it; requests hold it too.
pub(crate) struct Shared(pub(crate) Rc<WorkerPlugin>);

impl WorkerFilter for Shared {
    fn stream(&self, connection: &ConnectionInfo) -> Box<dyn HttpFilter> {
        Box::new(WasmStream::new(self.0.clone(), connection))
    }
}
