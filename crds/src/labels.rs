// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Labels and annotations that Gatefleet writes or reads.

/// Label: name of the GatewayFleet that an object belongs to.
pub const LABEL_FLEET: &str = "gatefleet.dev/fleet";
/// Label: namespace of the GatewayFleet (on the hub).
pub const LABEL_FLEET_NAMESPACE: &str = "gatefleet.dev/fleet-namespace";
/// Label: uid of the GatewayFleet; tells a fleet from a later one of the same name.
pub const LABEL_FLEET_UID: &str = "gatefleet.dev/fleet-uid";
/// Label: name of the FleetCluster that an object was made for.
pub const LABEL_CLUSTER: &str = "gatefleet.dev/cluster";
/// Label: the gateway (name of the workload) that an object belongs to.
pub const LABEL_GATEWAY: &str = "gatefleet.dev/gateway";
/// Label: what an object is for: `relay`, `gateway`, `anchor`, `revision`.
pub const LABEL_COMPONENT: &str = "app.kubernetes.io/component";
/// Label: `gatefleet` on all that we manage.
pub const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Value of [`LABEL_MANAGED_BY`].
pub const MANAGED_BY: &str = "gatefleet";
/// Label that Gateway API sets on the objects of a Gateway.
pub const LABEL_GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";
/// Annotation on a GatewayFleet: `<revision>/<wave>` approves that wave of that revision.
pub const ANNOTATION_APPROVE: &str = "gatefleet.dev/approve";
/// Finalizer of GatewayFleets.
pub const FINALIZER: &str = "gatefleet.dev/fleet";
/// Field manager of server-side apply for all that Gatefleet owns.
pub const FIELD_MANAGER: &str = "gatefleet";
/// Field manager of the first apply of an autoscaled Deployment, the only one that carries `replicas`.
pub const FIELD_MANAGER_INIT: &str = "gatefleet-init";
/// `GatewayClass.spec.controllerName` of Gatefleet.
pub const CONTROLLER_NAME: &str = "gatefleet.dev/gateway-controller";
/// The IngressClass that a fleet without config sources takes.
pub const DEFAULT_INGRESS_CLASS: &str = "gatefleet";
