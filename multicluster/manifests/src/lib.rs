// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What a fleet member's Kubernetes objects look like. Pure.
//!
//! [`resolve_template`] merges the overrides of one cluster, [`build`] makes the objects: the relay and every
//! gateway. `multicluster/apply` applies them, records that with [`Resources::into_applied`], and keeps the anchor (inventory,
//! hub and epoch) beside them, since the anchor is claimed before anything else is written.
//!
//! Invariants:
//! - The same input gives the same objects.
//! - An autoscaled Deployment never carries `replicas`; whoever creates it starts with [`Object::initial_replicas`].
//! - Nothing here depends on the hub's process: a restarted hub changes no pod template.

mod bootstrap;
mod error;
mod gateway;
mod input;
mod labels;
mod names;
mod overrides;
mod patch;
mod relay;
mod resources;

pub use bootstrap::{Bootstrap, BootstrapFleet, BootstrapNode, BootstrapRelay};
pub use error::ManifestError;
pub use gateway::{container_port, metrics_service_name};
pub use input::{
    FleetIdentity, GatewayPort, GatewayWorkload, Images, MemberInput, PortProtocol, RelayPlacement,
    WorkloadId, WorkloadOwner,
};
pub use labels::{inventory_selector, member_labels};
pub use names::shortened;
pub use overrides::{Resolved, resolve_template};
pub use relay::{RELAY_AUDIENCE, RELAY_SERVER_NAME, relay_identity_secret, relay_name};
pub use resources::{Applied, Object, Prepared, Resources};

use kube_core::DynamicObject;

/// The objects of one fleet in one cluster.
///
/// Fails only where an override's patch does not fit the objects; the error names the override.
pub fn build(input: &MemberInput) -> Result<Resources<Prepared>, ManifestError> {
    let mut objects = relay::objects(input)?;
    for workload in &input.gateways {
        objects.extend(gateway::objects(input, workload)?);
    }
    patch::apply_overrides(&mut objects, &input.patches)?;
    let objects = objects.into_iter().map(|object| with_initial_replicas(input, object)).collect();
    Ok(Resources::prepared(objects, input.gateways.clone()))
}

/// Deployments without `replicas` are those that an HPA scales.
fn with_initial_replicas(input: &MemberInput, object: DynamicObject) -> Object {
    let scaled =
        resources::kind_of(&object) == "Deployment" && object.data.pointer("/spec/replicas").is_none();
    let initial_replicas = scaled.then_some(input.template.autoscaling.min_replicas);
    Object { object, initial_replicas }
}
