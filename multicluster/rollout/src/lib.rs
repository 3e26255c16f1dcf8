// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Rollout planning as a pure function.
//!
//! [`plan`] takes what the user wants, which revisions there are and what is known of every member, and says what each
//! cluster is pinned to. No I/O and no clock of its own, so that a run can be replayed from recorded facts.
//!
//! Invariants (property-tested):
//! - A cluster is pinned to the target only when every earlier wave passed it.
//! - Only facts stamped with the target count as evidence for it.
//! - A cluster that does not answer is neither good nor bad; it keeps its pin and has its own budget.
//! - A failed revision is never the target again until `retryToken` changes.
//! - Nobody is left without a pin that had one.

mod evidence;
mod failure;
mod model;
mod plan;
mod target;
mod waves;

pub use model::{Event, EventKind, Facts, Gateways, Intent, Member, Pin, Plan, Rejection, Revision};
pub use plan::plan;
