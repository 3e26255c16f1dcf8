// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Header maps.

use crate::abi::{MapKind, Status, code};
use crate::maps::{Head, Put, head, pack, unpack};
use crate::memory::{Host, both, give, slice, text, write_u32};
use crate::state::HostState;
use wasmtime::Linker;

pub(super) fn link(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    linker
        .func_wrap(
            "env",
            "proxy_get_header_map_pairs",
            |mut host: Host<'_>, map: u32, place: u32, length: u32| {
                code(pairs(&mut host, map, place, length))
            },
        )?
        .func_wrap(
            "env",
            "proxy_set_header_map_pairs",
            |mut host: Host<'_>, map: u32, data: u32, size: u32| {
                code(set_pairs(&mut host, map, (data, size)))
            },
        )?
        .func_wrap("env", "proxy_get_header_map_size", |mut host: Host<'_>, map: u32, place: u32| {
            code(size(&mut host, map, place))
        })?
        .func_wrap(
            "env",
            "proxy_get_header_map_value",
            |mut host: Host<'_>, map: u32, name: u32, name_size: u32, place: u32, length: u32| {
                code(value(&mut host, map, (name, name_size), place, length))
            },
        )?
        .func_wrap(
            "env",
            "proxy_add_header_map_value",
            |mut host: Host<'_>, map: u32, name: u32, name_size: u32, value: u32, size: u32| {
                code(put(&mut host, map, (name, name_size), (value, size), Put::Add))
            },
        )?
        .func_wrap(
            "env",
            "proxy_replace_header_map_value",
            |mut host: Host<'_>, map: u32, name: u32, name_size: u32, value: u32, size: u32| {
                code(put(&mut host, map, (name, name_size), (value, size), Put::Replace))
            },
        )?
        .func_wrap(
            "env",
            "proxy_remove_header_map_value",
            |mut host: Host<'_>, map: u32, name: u32, size: u32| code(remove(&mut host, map, (name, size))),
        )?;
    Ok(())
}

/// A place in guest memory and its length.
type Span = (u32, u32);

/// Runs `act` on the head of a map; none where the map is empty by nature.
fn on<R>(
    state: &mut HostState,
    map: u32,
    act: impl FnOnce(Option<Head<'_>>) -> Result<R, Status>,
) -> Result<R, Status> {
    let kind = MapKind::read(map)?;
    match state.call.as_mut() {
        Some(call) => act(head(kind, &mut call.request, call.response.as_mut())),
        None => act(None),
    }
}

fn pairs(host: &mut Host<'_>, map: u32, place: u32, length: u32) -> Result<(), Status> {
    let (_, state) = both(host)?;
    let packed = on(state, map, |head| Ok(head.map_or_else(|| pack(&[]), |head| head.packed())))?;
    give(host, &packed, place, length)
}

fn set_pairs(host: &mut Host<'_>, map: u32, data: Span) -> Result<(), Status> {
    let (memory, state) = both(host)?;
    let pairs = unpack(slice(memory, data.0, data.1)?)?;
    on(state, map, |head| head.ok_or(Status::BadArgument)?.replace_all(&pairs))?;
    note_write(state, map);
    Ok(())
}

fn size(host: &mut Host<'_>, map: u32, place: u32) -> Result<(), Status> {
    let (memory, state) = both(host)?;
    // Envoy counts bytes here; SDKs use it as "how much".
    let bytes = on(state, map, |head| Ok(head.map_or(0, |head| head.bytes() + head.len())))?;
    write_u32(memory, place, u32::try_from(bytes).unwrap_or(u32::MAX))
}

fn value(host: &mut Host<'_>, map: u32, name: Span, place: u32, length: u32) -> Result<(), Status> {
    let (memory, state) = both(host)?;
    let name = text(memory, name.0, name.1)?;
    let value = on(state, map, |head| Ok(head.and_then(|head| head.value(name))))?;
    give(host, &value.ok_or(Status::NotFound)?, place, length)
}

fn put(host: &mut Host<'_>, map: u32, name: Span, value: Span, how: Put) -> Result<(), Status> {
    let (memory, state) = both(host)?;
    let name = text(memory, name.0, name.1)?;
    let value = slice(memory, value.0, value.1)?;
    on(state, map, |head| head.ok_or(Status::BadArgument)?.put(name, value, how))?;
    note_write(state, map);
    Ok(())
}

fn remove(host: &mut Host<'_>, map: u32, name: Span) -> Result<(), Status> {
    let (memory, state) = both(host)?;
    let name = text(memory, name.0, name.1)?;
    on(state, map, |head| {
        head.ok_or(Status::BadArgument)?.remove(name);
        Ok(())
    })?;
    note_write(state, map);
    Ok(())
}

/// A written request header chooses the route anew.
fn note_write(state: &mut HostState, map: u32) {
    if let (Ok(MapKind::RequestHeaders), Some(call)) = (MapKind::read(map), state.call.as_mut()) {
        call.rerouted = true;
    }
}
