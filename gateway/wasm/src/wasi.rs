// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! As much of WASI preview 1 as toolchains link in: clock, random bytes, standard output as log. There are no files.

use crate::calls::plugin as plugin_log;
use crate::memory::{Host, both, slice, write, write_u32};
use crate::state::HostState;
use rand::Rng;
use wasmtime::{FuncType, Linker, Val, ValType};

/// The names under which modules import it.
const MODULES: [&str; 2] = ["wasi_snapshot_preview1", "wasi_unstable"];

// `errno` of the specification.
const SUCCESS: u32 = 0;
const BAD_DESCRIPTOR: u32 = 8;
const INVALID: u32 = 28;
const FAULT: u32 = 21;
const NOT_SUPPORTED: u32 = 52;

/// Most bytes of one write or one random request.
const LARGEST: u32 = 64 * 1024;

/// Calls about files, answered "bad descriptor", with the types of their parameters (`i`: 32 bits, `I`: 64 bits).
const FILES: [(&str, &str); 14] = [
    ("fd_close", "i"),
    ("fd_read", "iiii"),
    ("fd_seek", "iIii"),
    ("fd_sync", "i"),
    ("fd_tell", "ii"),
    ("fd_filestat_get", "ii"),
    ("fd_fdstat_set_flags", "ii"),
    ("fd_prestat_get", "ii"),
    ("fd_prestat_dir_name", "iii"),
    ("fd_readdir", "iiiIi"),
    ("path_open", "iiiiiIIii"),
    ("path_filestat_get", "iiiii"),
    ("path_unlink_file", "iii"),
    ("path_create_directory", "iii"),
];

/// Links the stub.
pub(crate) fn link(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    for module in MODULES {
        link_as(linker, module)?;
        for (name, parameters) in FILES {
            refuse(linker, module, name, parameters, BAD_DESCRIPTOR)?;
        }
        refuse(linker, module, "poll_oneoff", "iiii", NOT_SUPPORTED)?;
    }
    Ok(())
}

fn refuse(
    linker: &mut Linker<HostState>,
    module: &str,
    name: &str,
    parameters: &str,
    answer: u32,
) -> wasmtime::Result<()> {
    let parameters = parameters.chars().map(|c| if c == 'I' { ValType::I64 } else { ValType::I32 });
    let ty = FuncType::new(linker.engine(), parameters.collect::<Vec<_>>(), [ValType::I32]);
    linker.func_new(module, name, ty, move |_: Host<'_>, _, results| {
        results[0] = Val::I32(answer.cast_signed());
        Ok(())
    })?;
    Ok(())
}

fn link_as(linker: &mut Linker<HostState>, module: &str) -> wasmtime::Result<()> {
    linker
        .func_wrap(
            module,
            "fd_write",
            |mut host: Host<'_>, file: u32, parts: u32, count: u32, written: u32| {
                errno(fd_write(&mut host, file, parts, count, written))
            },
        )?
        .func_wrap(module, "fd_fdstat_get", |mut host: Host<'_>, file: u32, place: u32| {
            errno(fd_fdstat_get(&mut host, file, place))
        })?
        .func_wrap(module, "environ_sizes_get", nothing)?
        .func_wrap(module, "args_sizes_get", nothing)?
        .func_wrap(module, "environ_get", |_: Host<'_>, _: u32, _: u32| SUCCESS)?
        .func_wrap(module, "args_get", |_: Host<'_>, _: u32, _: u32| SUCCESS)?
        .func_wrap(module, "clock_time_get", |mut host: Host<'_>, clock: u32, _: u64, place: u32| {
            let time = if clock <= 3 { Ok(plugin_log::now()) } else { Err(INVALID) };
            errno(time.and_then(|time| put(&mut host, place, &time.to_le_bytes())))
        })?
        .func_wrap(module, "clock_res_get", |mut host: Host<'_>, _: u32, place: u32| {
            errno(put(&mut host, place, &1_u64.to_le_bytes()))
        })?
        .func_wrap(module, "random_get", |mut host: Host<'_>, place: u32, size: u32| {
            let mut bytes = vec![0; size.min(LARGEST) as usize];
            rand::rng().fill_bytes(&mut bytes);
            if size > LARGEST { INVALID } else { errno(put(&mut host, place, &bytes)) }
        })?
        .func_wrap(module, "sched_yield", |_: Host<'_>| SUCCESS)?
        .func_wrap(module, "proc_exit", |_: Host<'_>, status: u32| -> wasmtime::Result<()> {
            Err(wasmtime::format_err!("plugin called proc_exit({status})"))
        })?;
    Ok(())
}

fn errno(result: Result<(), u32>) -> u32 {
    result.err().unwrap_or(SUCCESS)
}

fn put(host: &mut Host<'_>, place: u32, bytes: &[u8]) -> Result<(), u32> {
    both(host).and_then(|(memory, _)| write(memory, place, bytes)).map_err(|_| FAULT)
}

/// No arguments, no environment: two counts of zero.
fn nothing(mut host: Host<'_>, count: u32, bytes: u32) -> u32 {
    errno(put(&mut host, count, &[0; 4]).and_then(|()| put(&mut host, bytes, &[0; 4])))
}

/// Standard output and error are the plugin's log.
fn fd_write(host: &mut Host<'_>, file: u32, parts: u32, count: u32, written: u32) -> Result<(), u32> {
    if file != 1 && file != 2 {
        return Err(BAD_DESCRIPTOR);
    }
    if count > 1024 {
        return Err(INVALID);
    }
    let (memory, state) = both(host).map_err(|_| FAULT)?;
    let mut line = Vec::new();
    let mut total = 0_u32;
    for index in 0..count {
        let part = slice(memory, parts.wrapping_add(index * 8), 8).map_err(|_| FAULT)?;
        let number = |at: usize| u32::from_le_bytes([part[at], part[at + 1], part[at + 2], part[at + 3]]);
        let bytes = slice(memory, number(0), number(4)).map_err(|_| FAULT)?;
        total = total.saturating_add(number(4));
        if line.len() < LARGEST as usize {
            line.extend_from_slice(&bytes[..bytes.len().min(LARGEST as usize)]);
        }
    }
    plugin_log::write_log(state, if file == 1 { 2 } else { 4 }, &line);
    write_u32(memory, written, total).map_err(|_| FAULT)
}

/// Standard streams are character devices, all else does not exist.
fn fd_fdstat_get(host: &mut Host<'_>, file: u32, place: u32) -> Result<(), u32> {
    if file > 2 {
        return Err(BAD_DESCRIPTOR);
    }
    let mut stat = [0_u8; 24];
    stat[0] = 2;
    put(host, place, &stat)
}
