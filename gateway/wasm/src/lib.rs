// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The proxy-wasm host on wasmtime.
//!
//! - [`WasmHost`]: one engine for the process; compiles each module once ([`WasmHost::prepare`]) and makes filters of it.
//! - One instance for each worker and configured plugin, kept across requests; a request is a context in it.
//! - Heads and bodies are moved into the instance's store for the time of a callback and back: no copy, no borrow.
//!
//! Invariants:
//! - A callback ends within its deadline; whatever a module does costs its own plugin's requests only.
//! - A trap ends the instance: requests in it are treated by the plugin's failure policy, later ones get a new instance,
//!   after a pause where traps repeat.
//! - Guest memory is reached through the bounds-checked helpers in `memory` only; a guest cannot make the host allocate
//!   without limit.

mod abi;
mod breaker;
mod calls;
mod error;
mod exports;
mod factory;
mod host;
mod instance;
mod limits;
mod maps;
mod memory;
mod metrics;
mod properties;
mod shared_data;
mod state;
mod stream;
mod wasi;
mod worker;

pub use calls::UNIMPLEMENTED;
pub use error::WasmError;
pub use host::{Module, ModuleKey, WasmHost};
pub use limits::WasmLimits;
