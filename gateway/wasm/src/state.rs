// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What host calls work on: the plugin's own things, and for the time of a callback the stream's.

use crate::WasmLimits;
use crate::metrics::PluginMetrics;
use crate::shared_data::SharedData;
use bytes::{Bytes, BytesMut};
use gateway_config::WasmFilter;
use gateway_filter_api::{ConnectionInfo, LocalResponse, RequestHead, ResponseHead, Resume};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use wasmtime::{Memory, StoreLimits, TypedFunc};

/// Most bytes of properties that a stream may set.
pub(crate) const PROPERTY_BYTES: usize = 1024 * 1024;

/// The data of an instance's store.
pub(crate) struct HostState {
    pub(crate) plugin: Arc<WasmFilter>,
    pub(crate) plugin_name: Arc<str>,
    pub(crate) shared: Arc<SharedData>,
    pub(crate) metrics: Arc<PluginMetrics>,
    pub(crate) limits: WasmLimits,
    pub(crate) store_limits: StoreLimits,
    pub(crate) memory: Option<Memory>,
    pub(crate) allocate: Option<TypedFunc<u32, u32>>,
    pub(crate) tick: Option<Duration>,
    pub(crate) logs: LogBudget,
    /// The context that host calls are about.
    pub(crate) context: u32,
    /// The stream of the running callback; none in the root context.
    pub(crate) call: Option<Call>,
    /// Streams that wait until the plugin lets them go on.
    pub(crate) paused: HashMap<u32, Resume>,
    /// Answers that a plugin gave to waiting streams.
    pub(crate) answers: HashMap<u32, Box<LocalResponse>>,
    /// Names of the running callback's route and cluster; kept to use their memory again.
    pub(crate) route: String,
    pub(crate) cluster: Option<String>,
}

/// A stream, for the time of a callback.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) request: RequestHead,
    pub(crate) response: Option<ResponseHead>,
    pub(crate) body: Option<(Direction, BytesMut)>,
    pub(crate) end_of_stream: bool,
    pub(crate) connection: Rc<ConnectionInfo>,
    pub(crate) properties: Properties,
    pub(crate) answer: Option<Box<LocalResponse>>,
    /// The plugin said that the stream may go on.
    pub(crate) continued: bool,
    /// A request header was written.
    pub(crate) rerouted: bool,
}

/// Which body a callback is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Request,
    Response,
}

/// What a stream's plugins set.
#[derive(Debug, Default)]
pub(crate) struct Properties {
    values: HashMap<Vec<u8>, Bytes>,
    bytes: usize,
    /// Set by the property `clear_route_cache` = `off`.
    pub(crate) keep_route: bool,
}

impl Properties {
    pub(crate) fn get(&self, path: &[u8]) -> Option<&Bytes> {
        self.values.get(path)
    }

    /// Stores a value; false where the stream's share is used up.
    pub(crate) fn set(&mut self, path: &[u8], value: &[u8]) -> bool {
        let freed = self.values.get(path).map_or(0, |before| path.len() + before.len());
        let bytes = self.bytes - freed + path.len() + value.len();
        if bytes > PROPERTY_BYTES {
            return false;
        }
        self.bytes = bytes;
        self.values.insert(path.to_vec(), Bytes::copy_from_slice(value));
        true
    }
}

/// Log lines of the running second.
#[derive(Debug)]
pub(crate) struct LogBudget {
    second: Instant,
    lines: u32,
    dropped: u64,
}

impl LogBudget {
    pub(crate) fn new() -> Self {
        Self { second: Instant::now(), lines: 0, dropped: 0 }
    }

    /// Whether a line may be written; some if so, with the number of lines that were not before it.
    pub(crate) fn take(&mut self, limit: u32) -> Option<u64> {
        let now = Instant::now();
        if now.duration_since(self.second) >= Duration::from_secs(1) {
            (self.second, self.lines) = (now, 0);
        }
        if self.lines >= limit {
            self.dropped += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.dropped))
    }
}
