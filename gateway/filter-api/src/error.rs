// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What goes wrong between the proxy and a filter.

use std::error::Error;
use thiserror::Error;

/// A filter could not be made, or refused a change.
#[derive(Debug, Error)]
pub enum FilterError {
    /// The configuration of a filter is not usable; the listener or route that names it is refused.
    #[error("filter {filter:?} is not configured rightly")]
    Configuration {
        /// Name of the filter as configured.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A pseudo header or a value that must not be on the wire.
    #[error("header {name:?} can not be set to this value")]
    InvalidHeader {
        /// The header's name.
        name: String,
    },
    /// An instance could not be made on a worker (memory, start function).
    #[error("filter {filter:?} could not be started on a worker")]
    Start {
        /// Name of the filter as configured.
        filter: String,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}
