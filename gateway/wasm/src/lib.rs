// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The proxy-wasm host on wasmtime.
//!
//! (Being written by its own engineer since 10:40, as `gateway/oci` was by the integrator; the binary only calls it.)
