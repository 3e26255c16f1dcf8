// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Buffers: bodies and configurations.

use crate::abi::{BufferKind, Status, code};
use crate::memory::{Host, both, give, slice, write_u32};
use crate::state::{Direction, HostState};
use bytes::{Bytes, BytesMut};
use wasmtime::Linker;

pub(super) fn link(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    linker
        .func_wrap(
            "env",
            "proxy_get_buffer_bytes",
            |mut host: Host<'_>, buffer: u32, start: u32, size: u32, place: u32, length: u32| {
                code(get(&mut host, buffer, (start, size), place, length))
            },
        )?
        .func_wrap(
            "env",
            "proxy_set_buffer_bytes",
            |mut host: Host<'_>, buffer: u32, start: u32, size: u32, data: u32, data_size: u32| {
                code(set(&mut host, buffer, (start, size), (data, data_size)))
            },
        )?
        .func_wrap(
            "env",
            "proxy_get_buffer_status",
            |mut host: Host<'_>, buffer: u32, length: u32, flags: u32| {
                code(status(&mut host, buffer, length, flags))
            },
        )?;
    Ok(())
}

fn body(state: &mut HostState, wanted: Direction) -> Result<&mut BytesMut, Status> {
    match state.call.as_mut().and_then(|call| call.body.as_mut()) {
        Some((direction, body)) if *direction == wanted => Ok(body),
        _ => Err(Status::NotFound),
    }
}

/// A copy of the wanted part; the guest's allocator runs in between, so it cannot stay borrowed.
fn content(state: &mut HostState, buffer: u32, start: u32, size: u32) -> Result<Bytes, Status> {
    let start = start as usize;
    let end = start.saturating_add(size as usize);
    let part = |whole: &[u8]| {
        let end = end.min(whole.len());
        whole.get(start..end).map(Bytes::copy_from_slice).ok_or(Status::BadArgument)
    };
    match BufferKind::read(buffer)? {
        BufferKind::RequestBody => part(body(state, Direction::Request)?),
        BufferKind::ResponseBody => part(body(state, Direction::Response)?),
        BufferKind::VmConfiguration => part(&state.plugin.vm_configuration),
        BufferKind::PluginConfiguration => part(&state.plugin.configuration),
    }
}

fn get(host: &mut Host<'_>, buffer: u32, part: (u32, u32), place: u32, length: u32) -> Result<(), Status> {
    let (_, state) = both(host)?;
    let content = content(state, buffer, part.0, part.1)?;
    give(host, &content, place, length)
}

fn set(host: &mut Host<'_>, buffer: u32, part: (u32, u32), data: (u32, u32)) -> Result<(), Status> {
    let (memory, state) = both(host)?;
    let data = slice(memory, data.0, data.1)?;
    let body = match BufferKind::read(buffer)? {
        BufferKind::RequestBody => body(state, Direction::Request)?,
        BufferKind::ResponseBody => body(state, Direction::Response)?,
        BufferKind::VmConfiguration | BufferKind::PluginConfiguration => return Err(Status::BadArgument),
    };
    let start = (part.0 as usize).min(body.len());
    let end = start.saturating_add(part.1 as usize).min(body.len());
    if start == body.len() {
        body.extend_from_slice(data);
    } else if start == 0 && end == body.len() {
        body.clear();
        body.extend_from_slice(data);
    } else {
        let tail = body.split_off(end);
        body.truncate(start);
        body.extend_from_slice(data);
        body.unsplit(tail);
    }
    Ok(())
}

fn status(host: &mut Host<'_>, buffer: u32, length: u32, flags: u32) -> Result<(), Status> {
    let (memory, state) = both(host)?;
    let size = match BufferKind::read(buffer)? {
        BufferKind::RequestBody => body(state, Direction::Request)?.len(),
        BufferKind::ResponseBody => body(state, Direction::Response)?.len(),
        BufferKind::VmConfiguration => state.plugin.vm_configuration.len(),
        BufferKind::PluginConfiguration => state.plugin.configuration.len(),
    };
    write_u32(memory, length, u32::try_from(size).unwrap_or(u32::MAX))?;
    write_u32(memory, flags, 0)
}
