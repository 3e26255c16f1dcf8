// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What fleets and members say of themselves. Pure.

mod fleet;
mod member;

pub(super) use fleet::{FleetView, fleet_status};
pub(super) use member::{MemberView, evidence, gateway_facts, member_status};
