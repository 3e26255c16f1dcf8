// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Why a plugin cannot be used.

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a plugin cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WasmError {
    /// No engine.
    #[error("wasm engine cannot be made")]
    Engine(#[source] Source),
    /// Too large.
    #[error("module has {size} bytes, at most {limit} are allowed")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// Not a module, or one that uses what is not allowed.
    #[error("module cannot be compiled")]
    Compile(#[source] Source),
    /// It declares no known version of the ABI.
    #[error(
        "module exports no proxy_abi_version_0_2_1 (or 0_2_0, 0_2_100, 0_1_0); is it a proxy-wasm plugin?"
    )]
    Abi,
    /// It exports no memory or no allocator.
    #[error("module exports no {0}")]
    Export(&'static str),
    /// It imports what this host does not have.
    #[error("module imports what this host does not have")]
    Import(#[source] Source),
    /// Its module is not there (yet).
    #[error("module {0} was not fetched yet")]
    Missing(String),
    /// It could not be started.
    #[error("plugin failed in {step}")]
    Start {
        /// The callback.
        step: &'static str,
        /// The trap.
        #[source]
        source: Source,
    },
    /// It said no.
    #[error("plugin refused its configuration in {0}")]
    Refused(&'static str),
    /// It trapped lately and is left alone for a while.
    #[error("plugin trapped too often and is left alone for {0:?}")]
    Resting(std::time::Duration),
}
