;; SPDX-FileCopyrightText: The Gatefleet Authors
;; SPDX-License-Identifier: Apache-2.0
;; Holds every request until its second tick, then lets it go on.
(module
  (import "env" "proxy_set_tick_period_milliseconds" (func $tick (param i32) (result i32)))
  (import "env" "proxy_set_effective_context" (func $effective (param i32) (result i32)))
  (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))
  (import "env" "proxy_http_call" (func $call
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (global $held (mut i32) (i32.const 0))
  (global $ticks (mut i32) (i32.const 0))
  (func (export "proxy_abi_version_0_2_0"))
  (func (export "malloc") (param i32) (result i32) (i32.const 4096))
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (drop (call $tick (i32.const 10)))
    ;; Callouts are not there yet, and say so.
    (i32.eq (i32.const 12) (call $call (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))))
  (func (export "proxy_on_request_headers") (param $id i32) (param i32 i32) (result i32)
    (global.set $held (local.get $id))
    (global.set $ticks (i32.const 0))
    (i32.const 1))
  (func (export "proxy_on_tick") (param i32)
    (global.set $ticks (i32.add (global.get $ticks) (i32.const 1)))
    (if (i32.and (i32.ne (global.get $held) (i32.const 0)) (i32.ge_u (global.get $ticks) (i32.const 2)))
      (then
        (drop (call $effective (global.get $held)))
        (drop (call $continue (i32.const 0)))
        (global.set $held (i32.const 0))))))
