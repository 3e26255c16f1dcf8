// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The kinds of gatefleet.dev and of Gateway API, typed.
//!
//! Four kinds, all namespaced (specification: `docs/architecture.md` and the doc comments, which are what `kubectl
//! explain` prints): [`GatewayFleet`] is what a platform team writes, [`FleetCluster`] a place to run it,
//! [`FleetMember`] the pin and the detail of one fleet in one cluster, [`FleetRevision`] an immutable release record.
//!
//! The schemas are the contract: their CEL rules refuse bad objects at the API server, [`validation`] runs the same rules
//! where there is none (a folder of files, merged overrides). YAML is generated into `crds/generated`.

#![allow(
    clippy::duplicated_attributes,
    reason = "the printcolumn attributes of the CustomResource derive repeat keys"
)]
#![allow(unreachable_pub, reason = "the KubeSchema derive repeats each struct inside a function")]

pub mod conditions;
pub mod definitions;
mod duration;
mod fleet_cluster;
mod fleet_member;
mod fleet_revision;
#[allow(
    clippy::doc_lazy_continuation,
    clippy::wildcard_imports,
    clippy::large_enum_variant,
    clippy::too_long_first_doc_paragraph,
    clippy::tabs_in_doc_comments,
    missing_docs,
    unused_imports,
    unreachable_pub,
    reason = "generated from upstream's schemas, with upstream's documentation"
)]
pub mod gateway_api;
pub mod gateway_fleet;
mod labels;
mod merge;
mod pending;
mod schema;
pub mod selection;
mod share;
pub mod validation;

pub use duration::{InvalidSpan, Span};
pub use fleet_cluster::{
    ArgocdSecretRef, ClusterMode, EnvironmentVariable, FleetCluster, FleetClusterSpec, FleetClusterStatus,
    HostProcess, HostSpec, KubeconfigSecretRef, Taint, TaintEffect,
};
pub use fleet_member::{
    ConfigStatus, Drift, FleetMember, FleetMemberSpec, FleetMemberStatus, GateResult, MemberPhase,
    MemberState, Nack, PluginStatus, RelayStatus, ReplicaStatus,
};
pub use fleet_revision::{
    FleetRevision, FleetRevisionSpec, FleetRevisionStatus, Lane, PluginDigest, Verdict,
};
pub use gateway_fleet::{GatewayFleet, GatewayFleetSpec, GatewayFleetStatus};
pub use labels::*;
pub use merge::merge_named;
pub use pending::pending_fields;
pub use schema::ObjectName;
pub use share::Share;

/// The API group of our kinds.
pub const GROUP: &str = "gatefleet.dev";
/// The version of our kinds.
pub const VERSION: &str = "v1alpha1";
