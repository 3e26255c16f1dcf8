// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Host calls of the ABI, module `env`. One file for each subject.

mod buffers;
mod headers;
pub(crate) mod plugin;
mod shared;
mod stream;

use crate::abi::Status;
use crate::memory::Host;
use crate::state::HostState;
use wasmtime::{FuncType, Linker, Val, ValType};

/// Host calls that are answered "unimplemented" (12) so far, with the number of their 32-bit parameters.
pub const UNIMPLEMENTED: [(&str, usize); 18] = [
    ("proxy_http_call", 10),
    ("proxy_grpc_call", 12),
    ("proxy_grpc_stream", 9),
    ("proxy_grpc_cancel", 1),
    ("proxy_grpc_close", 1),
    ("proxy_grpc_send", 4),
    ("proxy_get_status", 3),
    ("proxy_register_shared_queue", 3),
    ("proxy_resolve_shared_queue", 5),
    ("proxy_dequeue_shared_queue", 3),
    ("proxy_enqueue_shared_queue", 3),
    ("proxy_call_foreign_function", 6),
    ("proxy_done", 0),
    ("proxy_redis_init", 7),
    ("proxy_redis_call", 5),
    ("proxy_inject_encoded_data_to_filter_chain", 3),
    ("proxy_get_upstream_hosts", 2),
    ("proxy_set_upstream_override_host", 2),
];

/// Links all host calls.
pub(crate) fn link(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    headers::link(linker)?;
    buffers::link(linker)?;
    plugin::link(linker)?;
    shared::link(linker)?;
    stream::link(linker)?;
    for (name, parameters) in UNIMPLEMENTED {
        let ty = FuncType::new(linker.engine(), vec![ValType::I32; parameters], [ValType::I32]);
        linker.func_new("env", name, ty, |_: Host<'_>, _, results| {
            results[0] = Val::I32(Status::Unimplemented as i32);
            Ok(())
        })?;
    }
    Ok(())
}
