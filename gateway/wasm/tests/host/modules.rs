// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Modules that are refused, by reason.

use crate::{STAMP, host, plugin};
use gateway_config::{WasmFailurePolicy, WasmModule};
use gateway_filter_api::FilterProvider;
use gateway_wasm::{ModuleKey, UNIMPLEMENTED, WasmHost, WasmLimits};
use std::error::Error;
use std::sync::Arc;

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn refused(host: &WasmHost, guest: &str) -> String {
    let bytes = wat::parse_str(guest).unwrap();
    let key = ModuleKey::of(&WasmModule::Inline(bytes.clone().into()));
    chain(&host.prepare(key, &bytes).unwrap_err())
}

#[test]
fn modules_that_are_no_plugins_are_refused_by_reason() {
    let host = host();
    let exports =
        r#"(memory (export "memory") 1) (func (export "malloc") (param i32) (result i32) (i32.const 0))"#;
    let abi = r#"(func (export "proxy_abi_version_0_2_1"))"#;
    for (guest, reason) in [
        (format!("(module {exports})"), "is it a proxy-wasm plugin?"),
        (format!("(module {abi})"), "exports no memory"),
        (
            format!(r#"(module {abi} (memory (export "memory") 1))"#),
            "exports no proxy_on_memory_allocate or malloc",
        ),
        (format!(r#"(module (import "env" "steal" (func)) {abi} {exports})"#), "steal"),
        (
            format!(
                r#"(module {abi} (memory (export "memory") i64 1) (func (export "malloc") (param i32) (result i32) (i32.const 0)))"#
            ),
            "memory64",
        ),
    ] {
        let said = refused(&host, &guest);
        assert!(said.contains(reason), "{guest}: {said}");
    }
    let key = || ModuleKey::of(&WasmModule::File("x".into()));
    let said = chain(&host.prepare(key(), b"\0asm nonsense").unwrap_err());
    assert!(said.contains("cannot be compiled"), "{said}");
    let small = WasmHost::new(WasmLimits { module_bytes: 10, instances: 4, ..WasmLimits::default() });
    let said = chain(&small.prepare(key(), &[0; 11]).unwrap_err());
    assert_eq!(said, "module has 11 bytes, at most 10 are allowed");
}

#[test]
fn a_configuration_that_the_plugin_refuses_is_refused_when_tried_out() {
    let host = host();
    let taken = plugin(&host, STAMP, "x", WasmFailurePolicy::FailClosed);
    host.try_out("stamp", &taken).unwrap();
    let empty = plugin(&host, STAMP, "", WasmFailurePolicy::FailClosed);
    assert_eq!(
        chain(&host.try_out("stamp", &empty).unwrap_err()),
        "plugin refused its configuration in proxy_on_configure"
    );
    let failed = host.factory("stamp", &empty).unwrap().start(0).err().expect("it does not start");
    assert!(chain(&failed).contains("proxy_on_configure"), "{}", chain(&failed));
}

#[test]
fn a_module_that_is_not_there_yet_starts_once_it_is() {
    let host = host();
    let known = plugin(&host, STAMP, "x", WasmFailurePolicy::FailClosed);
    host.retain(|_| false);
    let factory = host.factory("stamp", &known).unwrap();
    assert!(chain(&factory.start(0).err().expect("not there")).contains("was not fetched yet"));
    let again = plugin(&host, STAMP, "x", WasmFailurePolicy::FailClosed);
    assert!(Arc::ptr_eq(&known, &known) && *known == *again);
    assert!(factory.start(0).is_ok());
}

#[test]
fn start_functions_that_never_end_or_eat_memory_are_cut_off() {
    let host = WasmHost::new(WasmLimits {
        instances: 8,
        memory_bytes: 2 << 20,
        start: std::time::Duration::from_millis(50),
        ..WasmLimits::default()
    });
    let rest = r#"(memory (export "memory") 1) (func (export "proxy_abi_version_0_2_1"))
        (func (export "malloc") (param i32) (result i32) (i32.const 0))"#;
    for (body, reason) in [
        ("(loop $ever (br $ever))", "interrupt"),
        (
            "(loop $ever (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then (unreachable))) (br $ever))",
            "unreachable",
        ),
        ("(call 1)", "call stack exhausted"),
    ] {
        let guest = format!(r#"(module {rest} (func (export "_initialize") {body}))"#);
        // The recursion calls itself: functions are numbered abi 0, malloc 1, _initialize 2.
        let guest = guest.replace("(call 1)", "(call 2)");
        let endless = plugin(&host, &guest, "", WasmFailurePolicy::FailClosed);
        let said = chain(&host.try_out("endless", &endless).unwrap_err());
        assert!(said.contains(reason), "{body}: {said}");
    }
}

#[test]
fn every_unimplemented_call_can_be_imported() {
    let host = host();
    let imports = UNIMPLEMENTED.iter().map(|(name, parameters)| {
        format!(r#"(import "env" "{name}" (func (param {}) (result i32)))"#, "i32 ".repeat(*parameters))
    });
    let wasi =
        ["fd_write", "environ_get", "proc_exit", "random_get", "clock_time_get", "fd_seek", "path_open"];
    let types = [
        "i32 i32 i32 i32",
        "i32 i32",
        "i32",
        "i32 i32",
        "i32 i64 i32",
        "i32 i64 i32 i32",
        "i32 i32 i32 i32 i32 i64 i64 i32 i32",
    ];
    let wasi = wasi.iter().zip(types).map(|(name, types)| {
        let result = if *name == "proc_exit" { "" } else { "(result i32)" };
        format!(r#"(import "wasi_snapshot_preview1" "{name}" (func (param {types}) {result}))"#)
    });
    let imports: String = imports.chain(wasi).collect();
    let guest = format!(
        r#"(module {imports} (memory (export "memory") 1) (func (export "proxy_abi_version_0_2_100"))
        (func (export "malloc") (param i32) (result i32) (i32.const 0)))"#
    );
    let plugin = plugin(&host, &guest, "", WasmFailurePolicy::FailClosed);
    host.try_out("imports", &plugin).unwrap();
}
