// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The cluster's live objects as one stream of changes.

use crate::objects::{ObjectEvent, Objects, Scope};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;

/// Secrets that hold certificates.
const TLS_SECRETS: &str = "type=kubernetes.io/tls";

/// One change of a live object.
#[derive(Clone, Debug)]
pub(super) enum LiveEvent {
    Service(ObjectEvent<Service>),
    Slice(ObjectEvent<EndpointSlice>),
    Secret(ObjectEvent<Secret>),
}

/// Follows Services, EndpointSlices and certificates of the whole cluster.
pub(super) fn watch(objects: &Objects) -> BoxStream<'static, LiveEvent> {
    let services = objects.watch::<Service>(Scope::all()).map(LiveEvent::Service);
    let slices = objects.watch::<EndpointSlice>(Scope::all()).map(LiveEvent::Slice);
    let secrets = objects.watch::<Secret>(Scope::all().fields(TLS_SECRETS)).map(LiveEvent::Secret);
    stream::select_all([services.boxed(), slices.boxed(), secrets.boxed()]).boxed()
}
