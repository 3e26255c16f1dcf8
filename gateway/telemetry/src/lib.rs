// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Logs, metrics, readiness and drain signals shared by both binaries. Nothing here knows what a gateway is.

mod error;
mod logs;
mod metrics;
mod pages;
mod process;
mod readiness;
mod server;
mod shutdown;

pub use error::TelemetryError;
pub use logs::{LogFormat, LogHandle, LogOptions, init_logs};
pub use metrics::{OPENMETRICS_CONTENT_TYPE, encode_metrics, register_build_info};
pub use pages::{Page, PageRequest, Pages};
pub use process::{ProcessMetrics, resident_bytes};
pub use readiness::{Gate, Readiness};
pub use server::PageServer;
pub use shutdown::Shutdown;
