// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The roles of the operator process: hub and relay, and where their objects come from.

mod args;
pub mod embedded;
pub mod hub;
pub mod local_relays;
pub mod objects;
mod operator;
pub mod pin;
pub mod relay;
mod relay_role;

pub use args::{OperatorArgs, Role};
pub use operator::operator;
