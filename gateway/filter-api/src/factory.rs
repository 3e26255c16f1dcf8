// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! How filters come to be: provider -> factory -> worker -> request.

use crate::{ConnectionInfo, FilterError, HttpFilter};
use std::fmt::Debug;
use std::sync::Arc;

/// Turns filter configuration of type `C` into factories; the binary wires the wasm host in here.
pub trait FilterProvider<C>: Send + Sync + Debug {
    /// Makes the factory for filter `name`. Must not wait: what takes time (fetching, compiling) goes on behind the factory, whose
    /// [`FilterFactory::start`] fails until it is done.
    ///
    /// # Errors
    /// [`FilterError::Configuration`]; requests are then treated by the filter's failure policy.
    fn factory(&self, name: &str, config: &Arc<C>) -> Result<Arc<dyn FilterFactory>, FilterError>;
}

/// One configured filter, shared by all workers.
pub trait FilterFactory: Send + Sync + Debug {
    /// The filter's name as configured; what a route disables or overrides it by.
    fn name(&self) -> &str;

    /// Makes the filter's part on worker number `worker`; called on that worker's thread.
    ///
    /// # Errors
    /// [`FilterError::Start`]; requests are then treated by the filter's failure policy, and the next request tries again.
    fn start(&self, worker: usize) -> Result<Box<dyn WorkerFilter>, FilterError>;
}

/// A filter on one worker: never leaves its thread.
pub trait WorkerFilter {
    /// Makes the filter of one request.
    fn stream(&self, connection: &ConnectionInfo) -> Box<dyn HttpFilter>;
}
