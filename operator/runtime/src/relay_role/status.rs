// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What this relay tells the hub: its entry in the member's status.

use super::RelayName;
use crate::objects::{Objects, chain};
use crate::relay::{PluginState, RelayReport};
use crds::{FleetMember, FleetMemberSpec, FleetMemberStatus, PluginStatus, RelayStatus};
use gateway_telemetry::Gate;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::time::Duration;
use tokio::sync::watch;

/// Reports that come together are written together.
const SETTLE: Duration = Duration::from_millis(100);
/// An entry is renewed so often, to show that the relay is there.
const RENEW: Duration = Duration::from_secs(30);
/// Wait after a write that failed.
const RETRY: Duration = Duration::from_secs(2);
const ABSENT_LIMIT: usize = 20;

/// Writes every change, and the same again from time to time.
pub(super) async fn run(
    objects: &Objects,
    name: &RelayName,
    mut reports: watch::Receiver<RelayReport>,
    ready: &Gate,
) {
    loop {
        let report = reports.borrow_and_update().clone();
        let mut wait = RENEW;
        if !report.hash.is_empty() {
            ready.set(true);
            if let Err(error) = write(objects, name, &report).await {
                tracing::warn!(error = chain(&error), "status not written");
                wait = RETRY;
            }
        }
        tokio::select! {
            changed = reports.changed() => {
                if changed.is_err() {
                    return std::future::pending().await;
                }
                tokio::time::sleep(SETTLE).await;
            }
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn write(
    objects: &Objects,
    name: &RelayName,
    report: &RelayReport,
) -> Result<(), crate::objects::ObjectsError> {
    let mut member = FleetMember::new(&name.member(), FleetMemberSpec::default());
    member.metadata.namespace = Some(name.namespace.clone());
    member.status =
        Some(FleetMemberStatus { relays: vec![entry(name, report)], ..FleetMemberStatus::default() });
    objects.apply_status_fields(&format!("gatefleet-relay-{}", name.pod), &member, &["relays"]).await
}

fn entry(name: &RelayName, report: &RelayReport) -> RelayStatus {
    let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
    RelayStatus {
        name: name.pod.clone(),
        revision: report.revision.clone(),
        config_hash: report.hash.clone(),
        connected: count(report.connected()),
        acked: count(report.acked()),
        nacked: count(report.nacked()),
        nacks: report.nacks(),
        absent_backends: report.absent_backends().into_iter().take(ABSENT_LIMIT).collect(),
        plugins: report.plugins.iter().map(|(image, state)| plugin(image, state)).collect(),
        time: Time(Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default()),
    }
}

fn plugin(image: &str, state: &PluginState) -> PluginStatus {
    let (cached, message) = match state {
        PluginState::Cached(_) => (true, None),
        PluginState::Fetching => (false, None),
        PluginState::Failing(reason) => (false, Some(reason.clone())),
    };
    PluginStatus { name: image.to_owned(), digest: digest(image), cached, message }
}

fn digest(image: &str) -> String {
    image.split_once('@').map(|(_, digest)| digest.to_owned()).unwrap_or_default()
}
