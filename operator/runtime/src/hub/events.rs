// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Events on our objects: one for each transition, never one for each retry.

use super::FleetKey;
use crate::objects::Objects;
use crds::GatewayFleet;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Resource as _};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Longest note that the API takes, bytes.
const NOTE_LIMIT: usize = 1024;
const CALL_LIMIT: Duration = Duration::from_secs(10);
/// Events of one reason on one object in a row, and the time after which one more may follow: as of client-go's filter. Who
/// creates a thousand routes makes hundreds of releases; the log has them all.
const BURST: u32 = 25;
const REFILL: Duration = Duration::from_secs(60);

/// What an Event is about.
#[derive(Clone, Debug)]
pub(super) struct Subject(ObjectReference);

impl Subject {
    pub(super) fn fleet(fleet: &GatewayFleet, key: &FleetKey) -> Self {
        Self(ObjectReference {
            api_version: Some(GatewayFleet::api_version(&()).into_owned()),
            kind: Some(GatewayFleet::kind(&()).into_owned()),
            namespace: Some(key.namespace.clone()),
            name: Some(key.name.clone()),
            uid: fleet.metadata.uid.clone(),
            ..ObjectReference::default()
        })
    }
}

/// Writes Events; without an API server they are only logged.
#[derive(Clone)]
pub(super) struct Events {
    objects: Objects,
    identity: String,
    allowances: Arc<Mutex<HashMap<Topic, Allowance>>>,
}

/// Namespace and name of the object, and the reason.
type Topic = (String, String, String);

/// How many Events may still be written, as of when.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    left: u32,
    since: Instant,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        Self { left: BURST, since: now }
    }

    /// Takes one where one is left.
    fn take(&mut self, now: Instant) -> bool {
        let steps = now.duration_since(self.since).as_secs() / REFILL.as_secs();
        let steps = u32::try_from(steps).unwrap_or(BURST);
        if steps > 0 {
            self.left = self.left.saturating_add(steps).min(BURST);
            self.since = now;
        }
        let some = self.left > 0;
        self.left = self.left.saturating_sub(1);
        some
    }
}

impl Events {
    pub(super) fn new(objects: Objects, identity: String) -> Self {
        Self { objects, identity, allowances: Arc::default() }
    }

    /// Tells of a transition. Never waits and never fails: an Event that is lost is no harm.
    pub(super) fn tell(&self, subject: &Subject, reason: &str, note: &str, warning: bool) {
        let name = subject.0.name.clone().unwrap_or_default();
        tracing::info!(object = %name, reason, note, warning, "event");
        let Some(client) = self.objects.client().cloned() else { return };
        let namespace = subject.0.namespace.clone().unwrap_or_default();
        let now = Instant::now();
        let place = (namespace.clone(), name.clone(), reason.to_owned());
        if !self.allowances.lock().entry(place).or_insert_with(|| Allowance::new(now)).take(now) {
            return;
        }
        let note: String = note
            .char_indices()
            .take_while(|(at, c)| at + c.len_utf8() <= NOTE_LIMIT)
            .map(|(_, c)| c)
            .collect();
        let event = Event {
            // A dash: the API refuses a prefix that ends in a dot.
            metadata: ObjectMeta { generate_name: Some(format!("{name}-")), ..ObjectMeta::default() },
            action: Some("Reconcile".to_owned()),
            event_time: Some(MicroTime(jiff::Timestamp::now())),
            reason: Some(reason.to_owned()),
            note: Some(note),
            type_: Some(if warning { "Warning" } else { "Normal" }.to_owned()),
            regarding: Some(subject.0.clone()),
            reporting_controller: Some("gatefleet.dev/hub".to_owned()),
            reporting_instance: Some(self.identity.clone()),
            ..Event::default()
        };
        tokio::spawn(async move {
            let api: Api<Event> = Api::namespaced(client, &namespace);
            match tokio::time::timeout(CALL_LIMIT, api.create(&PostParams::default(), &event)).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => {
                    tracing::warn!(object = %name, error = crate::objects::chain(&error), "event not written");
                }
                Err(_) => tracing::warn!(object = %name, limit = ?CALL_LIMIT, "event not written in time"),
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_written_and_then_one_a_while() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        let written = (0..1000).filter(|_| allowance.take(start)).count();
        assert_eq!(written, BURST as usize);
        assert!(allowance.take(start + REFILL));
        assert!(!allowance.take(start + REFILL));
        let later = start + REFILL * 1000;
        assert_eq!((0..1000).filter(|_| allowance.take(later)).count(), BURST as usize);
    }
}
