// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The roles of the operator process: hub and relay, and where their objects come from.

mod args;
pub mod local_relays;
pub mod objects;
pub mod pin;
pub mod relay;

pub use args::{OperatorArgs, Role};
