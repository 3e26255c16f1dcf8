// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The plugin's surroundings: log, clock, ticks, properties, metrics.

use crate::abi::{Status, code};
use crate::memory::{Host, both, give, slice, text, write, write_u32};
use crate::properties;
use crate::state::HostState;
use std::time::{Duration, SystemTime};
use wasmtime::Linker;

/// Longest log line.
const LINE_BYTES: usize = 8 * 1024;
/// Ticks are not more frequent than this.
const SHORTEST_TICK: Duration = Duration::from_millis(10);
/// What `proxy_get_log_level` answers: info. Filtering is the host's.
const LOG_LEVEL: u32 = 2;

pub(super) fn link(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    linker
        .func_wrap("env", "proxy_log", |mut host: Host<'_>, level: u32, data: u32, size: u32| {
            code(log(&mut host, level, data, size))
        })?
        .func_wrap("env", "proxy_get_log_level", |mut host: Host<'_>, place: u32| {
            code(both(&mut host).and_then(|(memory, _)| write_u32(memory, place, LOG_LEVEL)))
        })?
        .func_wrap("env", "proxy_get_current_time_nanoseconds", |mut host: Host<'_>, place: u32| {
            code(both(&mut host).and_then(|(memory, _)| write(memory, place, &now().to_le_bytes())))
        })?
        .func_wrap("env", "proxy_set_tick_period_milliseconds", |mut host: Host<'_>, period: u32| {
            let period = Duration::from_millis(u64::from(period));
            host.data_mut().tick = (!period.is_zero()).then(|| period.max(SHORTEST_TICK));
            crate::abi::OK
        })?
        .func_wrap(
            "env",
            "proxy_get_property",
            |mut host: Host<'_>, path: u32, size: u32, place: u32, length: u32| {
                code(get_property(&mut host, (path, size), place, length))
            },
        )?
        .func_wrap(
            "env",
            "proxy_set_property",
            |mut host: Host<'_>, path: u32, size: u32, value: u32, value_size: u32| {
                code(set_property(&mut host, (path, size), (value, value_size)))
            },
        )?
        .func_wrap(
            "env",
            "proxy_define_metric",
            |mut host: Host<'_>, kind: u32, name: u32, size: u32, place: u32| {
                code(define_metric(&mut host, kind, (name, size), place))
            },
        )?
        .func_wrap("env", "proxy_increment_metric", |host: Host<'_>, id: u32, offset: i64| {
            code(host.data().metrics.increment(&host.data().plugin_name, id, offset))
        })?
        .func_wrap("env", "proxy_record_metric", |host: Host<'_>, id: u32, value: u64| {
            code(host.data().metrics.record(&host.data().plugin_name, id, value))
        })?
        .func_wrap("env", "proxy_get_metric", |mut host: Host<'_>, id: u32, place: u32| {
            code(get_metric(&mut host, id, place))
        })?;
    Ok(())
}

/// Writes a line of the plugin to the log, within its budget.
pub(crate) fn write_log(state: &mut HostState, level: u32, line: &[u8]) {
    let Some(dropped) = state.logs.take(state.limits.log_lines) else { return };
    let line = String::from_utf8_lossy(&line[..line.len().min(LINE_BYTES)]);
    let (line, plugin) = (line.trim_end(), &state.plugin_name);
    if dropped > 0 {
        tracing::warn!(target: "wasm", %plugin, dropped, "plugin writes too many log lines");
    }
    match level {
        0 => tracing::trace!(target: "wasm", %plugin, line, "plugin log"),
        1 => tracing::debug!(target: "wasm", %plugin, line, "plugin log"),
        2 => tracing::info!(target: "wasm", %plugin, line, "plugin log"),
        3 => tracing::warn!(target: "wasm", %plugin, line, "plugin log"),
        _ => tracing::error!(target: "wasm", %plugin, line, "plugin log"),
    }
}

fn log(host: &mut Host<'_>, level: u32, data: u32, size: u32) -> Result<(), Status> {
    let (memory, state) = both(host)?;
    let line = slice(memory, data, size)?;
    if level > 5 {
        return Err(Status::BadArgument);
    }
    write_log(state, level, line);
    Ok(())
}

/// Nanoseconds since 1970.
pub(crate) fn now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

fn get_property(host: &mut Host<'_>, path: (u32, u32), place: u32, length: u32) -> Result<(), Status> {
    let (memory, state) = both(host)?;
    let path = slice(memory, path.0, path.1)?;
    let value = if path == b"plugin_vm_memory" {
        Some((memory.len() as u64).to_le_bytes().to_vec())
    } else {
        properties::get(state, path)
    };
    give(host, &value.ok_or(Status::NotFound)?, place, length)
}

fn set_property(host: &mut Host<'_>, path: (u32, u32), value: (u32, u32)) -> Result<(), Status> {
    let (memory, state) = both(host)?;
    let path = slice(memory, path.0, path.1)?;
    let value = slice(memory, value.0, value.1)?;
    let call = state.call.as_mut().ok_or(Status::NotFound)?;
    let path = path.strip_suffix(b"\0").unwrap_or(path);
    if path == b"clear_route_cache" {
        call.properties.keep_route = value == b"off";
        return Ok(());
    }
    if call.properties.set(path, value) { Ok(()) } else { Err(Status::InternalFailure) }
}

fn define_metric(host: &mut Host<'_>, kind: u32, name: (u32, u32), place: u32) -> Result<(), Status> {
    let (memory, state) = both(host)?;
    let name = text(memory, name.0, name.1)?;
    let id = state.metrics.define(&state.plugin_name, kind, name, state.limits.metrics)?;
    write_u32(memory, place, id)
}

fn get_metric(host: &mut Host<'_>, id: u32, place: u32) -> Result<(), Status> {
    let (memory, state) = both(host)?;
    let value = state.metrics.get(&state.plugin_name, id)?;
    write(memory, place, &value.to_le_bytes())
}
