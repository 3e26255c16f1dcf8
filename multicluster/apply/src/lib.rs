// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Applies member workloads: to Kubernetes by server-side apply, to a host as processes.
//!
//! [`Backend`] is the seam; [`KubernetesBackend`] and [`HostBackend`] stand behind it. Each instance works for one fleet in
//! one cluster.
//!
//! Invariants:
//! - We force only our own fields, and only against edits: a field that another controller declares is reported.
//! - Never `replicas` beside an autoscaler.
//! - What is removed was in the inventory and still carries the fleet's labels.
//! - Every remote call has a time limit.

mod backend;
mod conflict;
mod difference;
mod host;
mod inventory;
mod kubernetes;
mod observe;
mod order;

pub use backend::{
    Applied, ApplyError, Backend, Change, Desired, Fence, MemberKey, Observed, Outcome, ProblemReason,
    WorkloadProblem, WorkloadState,
};
pub use host::{HostBackend, HostIdentity, HostOptions, HostTokens};
pub use inventory::{Inventory, ObjectKey};
pub use kubernetes::{
    KubernetesBackend, MemberPin, ensure_member_kind, own_namespace, read_member, remove_pin, watch_member,
    write_pin,
};
