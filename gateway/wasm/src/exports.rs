// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What a module offers: checked when it is compiled, looked up when it is instantiated.

use crate::abi::Abi;
use crate::error::WasmError;
use crate::state::HostState;
use wasmtime::{ExternType, Instance, Module, Store, TypedFunc};

/// Names that a module's allocator may have, preferred first.
const ALLOCATORS: [&str; 2] = ["proxy_on_memory_allocate", "malloc"];

/// The version that a module declares.
pub(crate) fn abi_of(module: &Module) -> Result<Abi, WasmError> {
    let declared = Abi::DECLARATIONS.iter().find(|(name, _)| module.get_export(name).is_some());
    let (_, abi) = declared.ok_or(WasmError::Abi)?;
    if !matches!(module.get_export("memory"), Some(ExternType::Memory(_))) {
        return Err(WasmError::Export("memory"));
    }
    if ALLOCATORS.iter().all(|name| module.get_export(name).is_none()) {
        return Err(WasmError::Export("proxy_on_memory_allocate or malloc"));
    }
    Ok(*abi)
}

/// A header callback; 0.1.0 has no `end_of_stream`.
#[derive(Clone)]
pub(crate) enum HeaderCallback {
    WithEnd(TypedFunc<(u32, u32, u32), u32>),
    Plain(TypedFunc<(u32, u32), u32>),
}

/// The callbacks of an instance; absent ones are skipped.
pub(crate) struct Exports {
    pub(crate) start: Vec<TypedFunc<(), ()>>,
    pub(crate) main: Option<TypedFunc<(u32, u32), u32>>,
    pub(crate) context_create: Option<TypedFunc<(u32, u32), ()>>,
    pub(crate) vm_start: Option<TypedFunc<(u32, u32), u32>>,
    pub(crate) configure: Option<TypedFunc<(u32, u32), u32>>,
    pub(crate) tick: Option<TypedFunc<u32, ()>>,
    pub(crate) request_headers: Option<HeaderCallback>,
    pub(crate) request_body: Option<TypedFunc<(u32, u32, u32), u32>>,
    pub(crate) response_headers: Option<HeaderCallback>,
    pub(crate) response_body: Option<TypedFunc<(u32, u32, u32), u32>>,
    pub(crate) done: Option<TypedFunc<u32, u32>>,
    pub(crate) log: Option<TypedFunc<u32, ()>>,
    pub(crate) delete: Option<TypedFunc<u32, ()>>,
}

impl Exports {
    /// Looks the callbacks up and gives the store its memory and allocator.
    pub(crate) fn of(instance: &Instance, store: &mut Store<HostState>) -> Self {
        store.data_mut().memory = instance.get_memory(&mut *store, "memory");
        store.data_mut().allocate =
            ALLOCATORS.iter().find_map(|name| instance.get_typed_func(&mut *store, name).ok());
        let initialize = instance.get_typed_func::<(), ()>(&mut *store, "_initialize").ok();
        // A reactor has `_initialize` and perhaps a `main` after it; a command has `_start`, which does both.
        let main = initialize.as_ref().and_then(|_| instance.get_typed_func(&mut *store, "main").ok());
        let start = initialize.or_else(|| instance.get_typed_func(&mut *store, "_start").ok());
        Self {
            start: start.into_iter().collect(),
            main,
            context_create: instance.get_typed_func(&mut *store, "proxy_on_context_create").ok(),
            vm_start: instance.get_typed_func(&mut *store, "proxy_on_vm_start").ok(),
            configure: instance.get_typed_func(&mut *store, "proxy_on_configure").ok(),
            tick: instance.get_typed_func(&mut *store, "proxy_on_tick").ok(),
            request_headers: header_callback(instance, store, "proxy_on_request_headers"),
            request_body: instance.get_typed_func(&mut *store, "proxy_on_request_body").ok(),
            response_headers: header_callback(instance, store, "proxy_on_response_headers"),
            response_body: instance.get_typed_func(&mut *store, "proxy_on_response_body").ok(),
            done: instance.get_typed_func(&mut *store, "proxy_on_done").ok(),
            log: instance.get_typed_func(&mut *store, "proxy_on_log").ok(),
            delete: instance.get_typed_func(&mut *store, "proxy_on_delete").ok(),
        }
    }
}

fn header_callback(instance: &Instance, store: &mut Store<HostState>, name: &str) -> Option<HeaderCallback> {
    let with_end = instance.get_typed_func(&mut *store, name).ok().map(HeaderCallback::WithEnd);
    with_end.or_else(|| instance.get_typed_func(&mut *store, name).ok().map(HeaderCallback::Plain))
}
