// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The pin of this cluster and the chunks of its revision, from the member's own API server.

use super::RelayName;
use crate::hub::{ANNOTATION_CONFIG_HASH, CHUNK_KEY, CHUNK_TYPE, chunk_secret_name};
use crate::objects::{ObjectEvent, Objects, Scope, chain};
use crate::pin::{PinSender, Pinned};
use crds::FleetMember;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use operator_ir::{GatewayConfig, GatewayId};
use operator_revision::Opener;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A chunk that is named but not there yet.
#[derive(Debug, thiserror::Error)]
#[error("not in this cluster yet")]
struct Missing;

struct Watch {
    fleet: String,
    /// Chunks by the name of their Secret. They are immutable: a name stands for its bytes.
    chunks: BTreeMap<String, Vec<u8>>,
    member: Option<Arc<FleetMember>>,
    opener: Opener,
    /// What was opened, with the allocations that relays compare.
    gateways: BTreeMap<GatewayId, Arc<GatewayConfig>>,
}

/// Follows pin and chunks; sends each revision once all of it is there.
pub(super) async fn run(objects: &Objects, name: &RelayName, pins: &PinSender) {
    let member = Scope::namespace(&name.namespace).fields(format!("metadata.name={}", name.member()));
    let labels = format!("{}={}", crds::LABEL_FLEET, name.fleet.name);
    let chunks = Scope::namespace(&name.namespace).labels(labels).fields(format!("type={CHUNK_TYPE}"));
    let mut members = objects.watch::<FleetMember>(member);
    let mut secrets = objects.watch::<Secret>(chunks);
    let mut watch = Watch {
        fleet: name.fleet.name.clone(),
        chunks: BTreeMap::new(),
        member: None,
        opener: Opener::new(),
        gateways: BTreeMap::new(),
    };
    loop {
        tokio::select! {
            Some(event) = members.next() => match event {
                ObjectEvent::Upsert(member) => watch.member = Some(member),
                // A pin that vanishes changes nothing: what is served goes on.
                ObjectEvent::Delete(_) => tracing::warn!("the pin was deleted; what is served goes on"),
                ObjectEvent::Failed(reason) => tracing::warn!(reason, "the pin cannot be read now"),
                ObjectEvent::Listed => {}
            },
            Some(event) = secrets.next() => watch.take_chunk(event),
            else => std::future::pending().await,
        }
        watch.settle(name, pins);
    }
}

impl Watch {
    fn take_chunk(&mut self, event: ObjectEvent<Secret>) {
        match event {
            ObjectEvent::Upsert(secret) => {
                let bytes = secret.data.as_ref().and_then(|data| data.get(CHUNK_KEY));
                if let (Some(name), Some(bytes)) = (secret.metadata.name.clone(), bytes) {
                    self.chunks.insert(name, bytes.0.clone());
                }
            }
            ObjectEvent::Delete(secret) => {
                self.chunks.remove(secret.metadata.name.as_deref().unwrap_or_default());
            }
            ObjectEvent::Failed(reason) => tracing::warn!(reason, "chunks cannot be read now"),
            ObjectEvent::Listed => {}
        }
    }

    fn settle(&mut self, name: &RelayName, pins: &PinSender) {
        let Some(member) = self.member.clone() else { return };
        let hash = member.metadata.annotations.as_ref().and_then(|all| all.get(ANNOTATION_CONFIG_HASH));
        let Some(hash) = hash.filter(|hash| *hash != self.opener.revision()) else { return };
        let (fleet, chunks) = (&self.fleet, &self.chunks);
        let opened =
            self.opener.open(hash, |chunk| chunks.get(&chunk_secret_name(fleet, chunk)).ok_or(Missing));
        match opened {
            Ok(gateways) => {
                // An unchanged part is the same allocation, so equality is cheap.
                let held = std::mem::take(&mut self.gateways);
                self.gateways = gateways
                    .iter()
                    .map(|(id, config)| {
                        let kept = held.get(id).filter(|kept| kept.as_ref() == config).cloned();
                        (id.clone(), kept.unwrap_or_else(|| Arc::new(config.clone())))
                    })
                    .collect();
                let pinned = Pinned {
                    fleet: (name.fleet.namespace.clone(), name.fleet.name.clone()),
                    cluster: name.cluster.clone(),
                    revision: member.spec.revision.clone().unwrap_or_default(),
                    hash: hash.clone(),
                    gateways: self.gateways.clone(),
                };
                // Nobody listens only when everything stops.
                let _ = pins.send(Some(Arc::new(pinned)));
            }
            Err(error) => tracing::debug!(hash, reason = chain(&error), "revision not complete yet"),
        }
    }
}
