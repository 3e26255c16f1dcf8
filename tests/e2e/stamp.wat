;; SPDX-FileCopyrightText: The Gatefleet Authors
;; SPDX-License-Identifier: Apache-2.0
;; A proxy-wasm plugin (ABI 0.2.1): each request gets the header `x-gatefleet-plugin: stamped`.
(module
  (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (global $heap (mut i32) (i32.const 4096))
  (data (i32.const 0) "x-gatefleet-plugin")
  (data (i32.const 32) "stamped")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "_initialize"))
  ;; A bump allocator is enough: the host asks for configuration only.
  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $heap))
    (global.set $heap (i32.add (global.get $heap) (local.get $size)))
    (local.get $at))
  (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 1))
  (func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.const 1))
  (func (export "proxy_on_context_create") (param i32 i32))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (drop (call $add (i32.const 0) (i32.const 0) (i32.const 18) (i32.const 32) (i32.const 7)))
    (i32.const 0))
  (func (export "proxy_on_done") (param i32) (result i32) (i32.const 1))
  (func (export "proxy_on_delete") (param i32)))
