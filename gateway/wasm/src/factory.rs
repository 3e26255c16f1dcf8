// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! One configured plugin, shared by all workers.

use crate::host::WasmHost;
use crate::worker::{Shared, WorkerPlugin};
use gateway_config::WasmFilter;
use gateway_filter_api::{FilterError, FilterFactory, WorkerFilter};
use std::rc::Rc;
use std::sync::Arc;

/// Makes the plugin's instance on each worker.
#[derive(Debug)]
pub(crate) struct WasmFactory {
    host: WasmHost,
    name: Box<str>,
    plugin: Arc<WasmFilter>,
}

impl WasmFactory {
    pub(crate) fn new(host: WasmHost, name: &str, plugin: Arc<WasmFilter>) -> Self {
        Self { host, name: name.into(), plugin }
    }
}

impl FilterFactory for WasmFactory {
    fn name(&self) -> &str {
        &self.name
    }

    fn start(&self, worker: usize) -> Result<Box<dyn WorkerFilter>, FilterError> {
        let failed = |source: crate::WasmError| FilterError::Start {
            filter: self.name.to_string(),
            source: source.into(),
        };
        let parts = self.host.parts(&self.name, &self.plugin).map_err(failed)?;
        let plugin = WorkerPlugin::start(parts).map_err(failed)?;
        tracing::debug!(plugin = %self.name, worker, "plugin started");
        Ok(Box::new(Shared(Rc::new(plugin))))
    }
}
