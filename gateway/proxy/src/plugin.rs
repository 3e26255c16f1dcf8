// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Plugins: one factory for the process, one part on each worker, started when first needed and again while it fails.

use gateway_config::WasmFilter;
use gateway_filter_api::{FilterFactory, FilterProvider, WorkerFilter};
use parking_lot::Mutex;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Least time between two attempts to start a plugin on a worker.
const RESTART: Duration = Duration::from_millis(100);

/// A configuration with its factory.
type Made = (Arc<WasmFilter>, Arc<dyn FilterFactory>);

/// The factories of all plugins that are configured.
#[derive(Debug, Default)]
pub(crate) struct Factories {
    provider: Option<Arc<dyn FilterProvider<WasmFilter>>>,
    made: Mutex<Vec<Made>>,
}

impl Factories {
    pub(crate) fn new(provider: Option<Arc<dyn FilterProvider<WasmFilter>>>) -> Self {
        Self { provider, made: Mutex::default() }
    }

    /// The factory of a plugin; none where it can not be made, which is logged.
    pub(crate) fn get(&self, name: &str, wasm: &Arc<WasmFilter>) -> Option<Arc<dyn FilterFactory>> {
        let provider = self.provider.as_ref()?;
        let mut made = self.made.lock();
        made.retain(|(config, _)| Arc::strong_count(config) > 1 || **config == **wasm);
        if let Some((_, factory)) =
            made.iter().find(|(config, _)| Arc::ptr_eq(config, wasm) || **config == **wasm)
        {
            return Some(Arc::clone(factory));
        }
        match provider.factory(name, wasm) {
            Ok(factory) => {
                made.push((Arc::clone(wasm), Arc::clone(&factory)));
                Some(factory)
            }
            Err(error) => {
                tracing::error!(
                    filter = name,
                    error = &error as &dyn std::error::Error,
                    "plugin can not be made"
                );
                None
            }
        }
    }
}

/// A plugin on one worker.
pub(crate) struct Plugin {
    factory: Option<Arc<dyn FilterFactory>>,
    worker: usize,
    running: RefCell<Option<Rc<dyn WorkerFilter>>>,
    next_try: Cell<Option<Instant>>,
}

impl Plugin {
    pub(crate) fn new(factory: Option<Arc<dyn FilterFactory>>, worker: usize) -> Self {
        Self { factory, worker, running: RefCell::default(), next_try: Cell::new(None) }
    }

    /// The running plugin; none while it can not be started.
    pub(crate) fn running(&self) -> Option<Rc<dyn WorkerFilter>> {
        if let Some(running) = &*self.running.borrow() {
            return Some(Rc::clone(running));
        }
        let factory = self.factory.as_ref()?;
        if self.next_try.get().is_some_and(|next| next > Instant::now()) {
            return None;
        }
        match factory.start(self.worker) {
            Ok(started) => {
                let started: Rc<dyn WorkerFilter> = Rc::from(started);
                self.running.replace(Some(Rc::clone(&started)));
                Some(started)
            }
            Err(error) => {
                if self.next_try.replace(Some(Instant::now() + RESTART)).is_none() {
                    tracing::warn!(
                        filter = factory.name(),
                        error = &error as &dyn std::error::Error,
                        "plugin is not running yet"
                    );
                }
                None
            }
        }
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin")
            .field("factory", &self.factory)
            .field("running", &self.running.borrow().is_some())
            .finish_non_exhaustive()
    }
}
