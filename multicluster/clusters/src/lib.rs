// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Member clusters: credentials, clients, health. One supervised task each.
//!
//! - *access*: what a FleetCluster names (a kubeconfig Secret, an Argo CD cluster Secret, the hub's own cluster) becomes
//!   [`Access`], or a [`Refusal`] that names the object, the field and the remedy. Nothing in a Secret makes the hub run a
//!   program, read a file or talk through a proxy.
//! - *actor*: [`ClusterActor`] owns the client of one cluster, probes it and publishes [`Facts`]. Whoever wants to call the
//!   cluster does so through its [`ClusterHandle`]: with a limit in time and number, and not at all while the cluster is
//!   known to be dead. No call to one cluster waits for another.

mod access;
mod actor;
mod argocd;
mod breaker;
mod call;
mod connect;
mod facts;
mod fleet_cluster;
mod kubeconfig;
mod refusal;
mod rights;

pub use access::{Access, ApiAccess, Credential, CredentialKind};
pub use actor::{ClusterActor, ClusterHandle, Settings};
pub use argocd::argocd_access;
pub use call::{CallError, is_unavailable};
pub use connect::{ConnectError, connect};
pub use facts::{Facts, Reach, UnreachableReason};
pub use fleet_cluster::{AccessSource, access_source, secret_access};
pub use kubeconfig::kubeconfig_access;
pub use refusal::Refusal;
pub use rights::{REQUIRED_RIGHTS, Right, missing_rights};
