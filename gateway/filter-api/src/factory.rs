// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! How filters come to be: provider -> factory -> worker -> request.

use crate::{ConnectionInfo, FilterError, HttpFilter};
use bytes::Bytes;
use std::fmt::Debug;
use std::sync::Arc;

/// Turns filter configuration into factories; the binary wires the wasm host in here.
pub trait FilterProvider: Send + Sync + Debug {
    /// Makes the factory for filter `name` with the packed configuration of type `type_url`.
    ///
    /// # Errors
    /// [`FilterError::UnknownType`] and [`FilterError::Configuration`]; both refuse the resource that names the filter.
    fn factory(&self, name: &str, type_url: &str, config: &Bytes) -> Result<Arc<dyn FilterFactory>, FilterError>;
}

/// One configured filter, shared by all workers.
pub trait FilterFactory: Send + Sync + Debug {
    /// The filter's name as configured; what a route disables or overrides it by.
    fn name(&self) -> &str;

    /// Makes the filter's part on worker number `worker`; called on that worker's thread.
    ///
    /// # Errors
    /// [`FilterError::Start`]; requests that need the filter are then answered 500 until it starts.
    fn start(&self, worker: usize) -> Result<Box<dyn WorkerFilter>, FilterError>;
}

/// A filter on one worker: never leaves its thread.
pub trait WorkerFilter {
    /// Makes the filter of one request.
    fn stream(&self, connection: &ConnectionInfo) -> Box<dyn HttpFilter>;
}
