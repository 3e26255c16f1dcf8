// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A running instance: its life cycle and its callbacks, each within a deadline.

use crate::abi::{Abi, Action};
use crate::error::WasmError;
use crate::exports::{Exports, HeaderCallback};
use crate::host::{Module, TICK};
use crate::metrics::PluginMetrics;
use crate::shared_data::SharedData;
use crate::state::{Call, HostState, LogBudget};
use crate::{WasmLimits, state::Direction};
use gateway_config::WasmFilter;
use gateway_filter_api::{LocalResponse, Resume};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use wasmtime::{Store, StoreLimitsBuilder};

/// The context that start, configuration and ticks run in.
const ROOT: u32 = 1;

/// A trap, already logged; the instance must not be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trapped;

/// What an instance is made of.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) module: Arc<Module>,
    pub(crate) plugin: Arc<WasmFilter>,
    pub(crate) name: Arc<str>,
    pub(crate) shared: Arc<SharedData>,
    pub(crate) metrics: Arc<PluginMetrics>,
    pub(crate) limits: WasmLimits,
}

/// An instance of a module for one plugin on one worker.
pub(crate) struct Instance {
    store: Store<HostState>,
    exports: Exports,
    abi: Abi,
    last_context: u32,
    next_tick: Option<Instant>,
    callback: Duration,
}

impl Instance {
    /// Instantiates, starts and configures.
    pub(crate) fn start(parts: &Parts) -> Result<Self, WasmError> {
        let failed = |step| move |source: wasmtime::Error| WasmError::Start { step, source: source.into() };
        let mut store = Store::new(parts.module.engine(), state(parts));
        store.limiter(|state| &mut state.store_limits);
        store.set_epoch_deadline(ticks(parts.limits.start));
        let instance = parts.module.ready.instantiate(&mut store).map_err(failed("instantiation"))?;
        let exports = Exports::of(&instance, &mut store);
        for start in &exports.start {
            start.call(&mut store, ()).map_err(failed("_initialize or _start"))?;
        }
        if let Some(main) = &exports.main {
            main.call(&mut store, (0, 0)).map_err(failed("main"))?;
        }
        if let Some(create) = &exports.context_create {
            create.call(&mut store, (ROOT, 0)).map_err(failed("proxy_on_context_create"))?;
        }
        let size = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        if let Some(start) = &exports.vm_start {
            let accepted = start.call(&mut store, (ROOT, size(&parts.plugin.vm_configuration)));
            if accepted.map_err(failed("proxy_on_vm_start"))? == 0 {
                return Err(WasmError::Refused("proxy_on_vm_start"));
            }
        }
        if let Some(configure) = &exports.configure {
            let accepted = configure.call(&mut store, (ROOT, size(&parts.plugin.configuration)));
            if accepted.map_err(failed("proxy_on_configure"))? == 0 {
                return Err(WasmError::Refused("proxy_on_configure"));
            }
        }
        let callback = parts.limits.callback;
        Ok(Self { store, exports, abi: parts.module.abi, last_context: ROOT, next_tick: None, callback })
    }

    /// Begins a stream: its context and the first callback.
    pub(crate) fn begin(&mut self, call: &mut Option<Call>, headers: u32) -> Result<(u32, Action), Trapped> {
        // Identifiers come round after four billion requests; the root's is left out.
        self.last_context = self.last_context.checked_add(1).unwrap_or(ROOT + 1);
        let id = self.last_context;
        let abi = self.abi;
        let action = self.run(id, call, |store, exports| {
            if let Some(create) = &exports.context_create {
                create.call(&mut *store, (id, ROOT))?;
            }
            headers_callback(store, exports.request_headers.as_ref(), id, headers)
        })?;
        Ok((id, abi.header_action(action)))
    }

    pub(crate) fn response_headers(
        &mut self,
        id: u32,
        call: &mut Option<Call>,
        headers: u32,
    ) -> Result<Action, Trapped> {
        let abi = self.abi;
        let action = self.run(id, call, |store, exports| {
            headers_callback(store, exports.response_headers.as_ref(), id, headers)
        })?;
        Ok(abi.header_action(action))
    }

    pub(crate) fn body(
        &mut self,
        id: u32,
        call: &mut Option<Call>,
        direction: Direction,
    ) -> Result<Action, Trapped> {
        let (size, end) = call.as_ref().map_or((0, false), |call| {
            (call.body.as_ref().map_or(0, |(_, body)| body.len()), call.end_of_stream)
        });
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        let action = self.run(id, call, |store, exports| {
            let callback = match direction {
                Direction::Request => &exports.request_body,
                Direction::Response => &exports.response_body,
            };
            callback.as_ref().map_or(Ok(0), |callback| callback.call(store, (id, size, u32::from(end))))
        })?;
        Ok(Abi::body_action(action))
    }

    /// Ends a stream: done, log, delete.
    pub(crate) fn end(&mut self, id: u32, call: &mut Option<Call>) -> Result<(), Trapped> {
        self.store.data_mut().paused.remove(&id);
        self.store.data_mut().answers.remove(&id);
        self.run(id, call, |store, exports| {
            // A plugin that is not done yet would go on in callouts, which do not outlive their stream here.
            if let Some(done) = &exports.done {
                done.call(&mut *store, id)?;
            }
            if let Some(log) = &exports.log {
                log.call(&mut *store, id)?;
            }
            exports.delete.as_ref().map_or(Ok(()), |delete| delete.call(&mut *store, id))
        })
    }

    /// Runs the tick callback if its time has come. Gives the time of the next one.
    pub(crate) fn tick(&mut self, now: Instant) -> Result<Option<Instant>, Trapped> {
        let Some(period) = self.store.data().tick else { return Ok(None) };
        let due = *self.next_tick.get_or_insert(now + period);
        if due > now {
            return Ok(Some(due));
        }
        self.next_tick = Some(now + period);
        self.run(ROOT, &mut None, |store, exports| {
            exports.tick.as_ref().map_or(Ok(()), |tick| tick.call(store, ROOT))
        })?;
        Ok(self.next_tick)
    }

    /// Keeps the handle of a stream that waits.
    pub(crate) fn pause(&mut self, id: u32, resume: Resume) {
        self.store.data_mut().paused.insert(id, resume);
    }

    /// The answer that the plugin gave to a waiting stream.
    pub(crate) fn take_answer(&mut self, id: u32) -> Option<Box<LocalResponse>> {
        self.store.data_mut().answers.remove(&id)
    }

    pub(crate) fn wants_body(&self, direction: Direction) -> bool {
        match direction {
            Direction::Request => self.exports.request_body.is_some(),
            Direction::Response => self.exports.response_body.is_some(),
        }
    }

    /// Gives the call's names room that is used again and again.
    pub(crate) fn name(&mut self, route: &str, cluster: Option<&str>) {
        let state = self.store.data_mut();
        state.route.clear();
        state.route.push_str(route);
        match (&mut state.cluster, cluster) {
            (Some(kept), Some(cluster)) => {
                kept.clear();
                kept.push_str(cluster);
            }
            (kept, cluster) => *kept = cluster.map(str::to_owned),
        }
    }

    /// Runs guest code within the deadline, with the stream's things in reach of host calls.
    fn run<R>(
        &mut self,
        id: u32,
        call: &mut Option<Call>,
        callbacks: impl FnOnce(&mut Store<HostState>, &Exports) -> wasmtime::Result<R>,
    ) -> Result<R, Trapped> {
        self.store.set_epoch_deadline(ticks(self.callback));
        let state = self.store.data_mut();
        state.context = id;
        state.call = call.take();
        let result = callbacks(&mut self.store, &self.exports);
        *call = self.store.data_mut().call.take();
        result.map_err(|error| {
            let plugin = &self.store.data().plugin_name;
            let trap = format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ");
            tracing::warn!(%plugin, trap, "plugin trapped");
            Trapped
        })
    }
}

fn headers_callback(
    store: &mut Store<HostState>,
    callback: Option<&HeaderCallback>,
    id: u32,
    headers: u32,
) -> wasmtime::Result<u32> {
    let end = store.data().call.as_ref().is_some_and(|call| call.end_of_stream);
    match callback {
        Some(HeaderCallback::WithEnd(callback)) => callback.call(store, (id, headers, u32::from(end))),
        Some(HeaderCallback::Plain(callback)) => callback.call(store, (id, headers)),
        None => Ok(0),
    }
}

fn state(parts: &Parts) -> HostState {
    let store_limits = StoreLimitsBuilder::new()
        .memory_size(parts.limits.memory_bytes)
        .table_elements(parts.limits.table_elements)
        .instances(1)
        .memories(1)
        .tables(8)
        .build();
    HostState {
        plugin: parts.plugin.clone(),
        plugin_name: parts.name.clone(),
        shared: parts.shared.clone(),
        metrics: parts.metrics.clone(),
        limits: parts.limits,
        store_limits,
        memory: None,
        allocate: None,
        tick: None,
        logs: LogBudget::new(),
        context: ROOT,
        call: None,
        paused: HashMap::new(),
        answers: HashMap::new(),
        route: String::new(),
        cluster: None,
    }
}

/// A time as ticks of the epoch, at least that long.
fn ticks(time: Duration) -> u64 {
    let ticks = time.as_nanos().div_ceil(TICK.as_nanos());
    u64::try_from(ticks).unwrap_or(u64::MAX / 2).saturating_add(1)
}
