// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The one seam between the proxy and its filters, built in or wasm: the HttpFilter trait.
//!
//! Three levels, each `dyn`, none `async`:
//! - [`FilterFactory`]: one for each configured filter, shared by all workers, made when configuration is compiled.
//! - [`WorkerFilter`]: one for each factory and worker; lives on one thread, so it may hold what is not `Send`.
//! - [`HttpFilter`]: one for each request.
//!
//! The callbacks are synchronous because proxy-wasm's are; a filter that has to wait says so by [`Outcome::Pause`]. Built-in filters
//! implement [`HttpFilter`] alone.

mod context;
mod error;
mod factory;
mod filter;
mod flags;
mod head;
mod metadata;
mod pause;
mod peer;
mod respond;

pub use context::{ConnectionInfo, FilterContext, RequestLog, TlsInfo};
pub use error::FilterError;
pub use factory::{FilterFactory, FilterProvider, WorkerFilter};
pub use filter::{HttpFilter, Outcome, Phase};
pub use flags::ResponseFlags;
pub use head::{RequestHead, ResponseHead, is_authority};
pub use metadata::Metadata;
pub use pause::{Pause, Resume};
pub use peer::PeerNames;
pub use respond::LocalResponse;
