// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The one seam between the proxy and wasm: the HttpFilter trait.
