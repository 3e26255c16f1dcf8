// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Bounds on what a plugin may cost; safe defaults.

use std::time::Duration;

/// Bounds on plugins.
#[derive(Clone, Copy, Debug)]
pub struct WasmLimits {
    /// Largest module, bytes.
    pub module_bytes: usize,
    /// Largest memory of one instance, bytes.
    pub memory_bytes: usize,
    /// Most elements of one table.
    pub table_elements: usize,
    /// Instances of all plugins over all workers.
    pub instances: u32,
    /// Time for a callback of a request.
    pub callback: Duration,
    /// Time for start and configuration.
    pub start: Duration,
    /// Keys and values that the plugins of one VM id share, bytes.
    pub shared_bytes: usize,
    /// Metrics of one plugin.
    pub metrics: usize,
    /// Log lines of one instance in a second; further ones are counted only.
    pub log_lines: u32,
}

impl Default for WasmLimits {
    fn default() -> Self {
        Self {
            module_bytes: 64 * 1024 * 1024,
            memory_bytes: 64 * 1024 * 1024,
            table_elements: 100_000,
            instances: 512,
            callback: Duration::from_millis(20),
            start: Duration::from_secs(1),
            shared_bytes: 16 * 1024 * 1024,
            metrics: 1000,
            log_lines: 100,
        }
    }
}
