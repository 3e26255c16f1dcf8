// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Data that instances share.

use crate::abi::{Status, code};
use crate::memory::{Host, both, give, slice, write_u32};
use crate::state::HostState;
use wasmtime::Linker;

pub(super) fn link(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    linker
        .func_wrap(
            "env",
            "proxy_get_shared_data",
            |mut host: Host<'_>, key: u32, size: u32, place: u32, length: u32, cas: u32| {
                code(get(&mut host, (key, size), (place, length), cas))
            },
        )?
        .func_wrap(
            "env",
            "proxy_set_shared_data",
            |mut host: Host<'_>, key: u32, size: u32, value: u32, value_size: u32, cas: u32| {
                code(set(&mut host, (key, size), (value, value_size), cas))
            },
        )?;
    Ok(())
}

fn get(host: &mut Host<'_>, key: (u32, u32), out: (u32, u32), cas: u32) -> Result<(), Status> {
    let (memory, state) = both(host)?;
    let (value, number) = state.shared.get(slice(memory, key.0, key.1)?)?;
    write_u32(memory, cas, number)?;
    give(host, &value, out.0, out.1)
}

fn set(host: &mut Host<'_>, key: (u32, u32), value: (u32, u32), cas: u32) -> Result<(), Status> {
    let (memory, state) = both(host)?;
    let key = slice(memory, key.0, key.1)?;
    let value = slice(memory, value.0, value.1)?;
    state.shared.set(key, value, cas)
}
