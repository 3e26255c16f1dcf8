// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Releases of a fleet: FleetRevisions, with their bodies while this process knows them.

use super::{FleetState, template_digest};
use crate::hub::bodies::{self, Body};
use crate::hub::controller::Context;
use crate::hub::events::Subject;
use crate::hub::routing::FleetConfig;
use crate::hub::time;
use crate::pin::Pinned;
use crds::conditions::Reason;
use crds::{
    FleetRevision, FleetRevisionSpec, FleetRevisionStatus, GatewayFleet, Lane, PluginDigest, Verdict,
};
use jiff::Timestamp;
use multicluster_rollout::{Plan, Revision};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Most lines of a difference that are kept.
const DIFF_LIMIT: usize = 100;
/// Digits of the hash in a configuration version.
const SHORT_HASH: usize = 12;

/// One release.
#[derive(Clone, Debug)]
pub(in crate::hub) struct Release {
    pub(in crate::hub) name: String,
    pub(in crate::hub) number: i64,
    pub(in crate::hub) hash: String,
    pub(in crate::hub) config_version: String,
    pub(in crate::hub) verdict: Verdict,
    /// The FleetRevision's status as last written or seen.
    pub(in crate::hub) clusters: i32,
    pub(in crate::hub) decided: Option<Timestamp>,
    /// The fleet as it was released; none for a release of an earlier life.
    pub(in crate::hub) fleet: Option<Arc<GatewayFleet>>,
    pub(in crate::hub) config: Option<Arc<FleetConfig>>,
    pub(in crate::hub) body: Option<Arc<Body>>,
    /// Digest of what is no routing.
    pub(in crate::hub) template: String,
    /// The same in memory, for relays of this process.
    pub(in crate::hub) object: Option<FleetRevision>,
}

impl Release {
    /// A release that an object tells of.
    fn of_object(object: &FleetRevision) -> Self {
        let status = object.status.clone().unwrap_or_default();
        Self {
            name: object.metadata.name.clone().unwrap_or_default(),
            number: object.spec.number,
            hash: object.spec.hash.clone(),
            config_version: object.spec.config_version.clone(),
            verdict: status.verdict,
            clusters: status.clusters,
            decided: status.decided_time.map(|time| time.0),
            fleet: None,
            config: None,
            body: None,
            template: String::new(),
            object: Some(object.clone()),
        }
    }

    /// As the rollout sees it.
    pub(in crate::hub) fn revision(&self) -> Revision {
        Revision {
            name: self.name.clone(),
            number: self.number,
            hash: self.hash.clone(),
            verdict: self.verdict,
        }
    }

    /// What a relay of this process is pinned to.
    pub(in crate::hub) fn pinned(&self, fleet: &(String, String), cluster: &str) -> Option<Pinned> {
        let config = self.config.as_ref()?;
        Some(Pinned {
            fleet: fleet.clone(),
            cluster: cluster.to_owned(),
            revision: self.name.clone(),
            hash: self.hash.clone(),
            gateways: config.gateways.clone(),
        })
    }
}

impl FleetState {
    pub(super) fn release_named(&self, name: Option<&str>) -> Option<&Release> {
        self.releases.iter().rev().find(|release| Some(release.name.as_str()) == name)
    }

    pub(super) fn config_version(&self, revision: Option<&str>) -> Option<String> {
        self.release_named(revision).map(|release| release.config_version.clone())
    }

    /// Makes a release of what is wanted now, unless the newest one is that already.
    pub(super) fn release(&mut self, config: &Arc<FleetConfig>, context: &Context<'_>) {
        self.remember(context);
        let template = template_digest(&self.fleet, config);
        if self
            .sealed
            .as_ref()
            .is_some_and(|(sealed, digest)| Arc::ptr_eq(sealed, config) && *digest == template)
        {
            return;
        }
        let body = match bodies::seal(&mut self.sealer, &self.key.name, config, &template) {
            Ok(body) => Arc::new(body),
            Err(error) => {
                // The last good release stays; the message names the part.
                self.problems.push((Reason::ApplyFailed, crate::objects::chain(&error)));
                return;
            }
        };
        self.sealed = Some((Arc::clone(config), template.clone()));
        if let Some(newest) = self.releases.last_mut()
            && newest.hash == body.hash
        {
            newest.fleet = Some(Arc::clone(&self.fleet));
            newest.config = Some(Arc::clone(config));
            newest.body = Some(body);
            newest.template = template;
            return;
        }
        self.publish_release(config, body, template, context);
    }

    fn publish_release(
        &mut self,
        config: &Arc<FleetConfig>,
        body: Arc<Body>,
        template: String,
        context: &Context<'_>,
    ) {
        let before = self.releases.last();
        let number = before.map_or(1, |release| release.number + 1);
        let lane = before.map_or(Lane::Workload, |before| lane(before, &template, &self.fleet));
        let empty = FleetConfig::default();
        let old = before.and_then(|release| release.config.as_deref()).unwrap_or(&empty);
        let mut diff = operator_revision::diff(&old.gateways, &config.gateways);
        diff.truncate(DIFF_LIMIT);
        let short: String = body.hash.chars().take(SHORT_HASH).collect();
        let name = format!("{}-r{number}", self.key.name);
        let spec = FleetRevisionSpec {
            fleet: self.key.name.clone(),
            number,
            hash: body.hash.clone(),
            lane,
            author: None,
            template: template_object(&self.fleet),
            plugins: plugins(&self.fleet),
            config_hash: body.hash.clone(),
            config_version: format!("r{number}.1-{short}"),
            chunks: body.names.clone(),
            diff: diff.iter().map(|line| line.chars().take(1024).collect()).collect(),
        };
        let mut object = FleetRevision::new(&name, spec);
        object.metadata.namespace = Some(self.key.namespace.clone());
        let labels =
            [(crds::LABEL_MANAGED_BY, crds::MANAGED_BY), (crds::LABEL_FLEET, self.key.name.as_str())];
        object.metadata.labels =
            Some(labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect());
        let release = Release {
            fleet: Some(Arc::clone(&self.fleet)),
            config: Some(Arc::clone(config)),
            body: Some(body),
            template,
            ..Release::of_object(&object)
        };
        tracing::info!(fleet = %self.key, revision = %release.name, version = %release.config_version, "released");
        let text = format!("{} with {} changes", release.config_version, diff.len());
        context.events.tell(&Subject::fleet(&self.fleet, &self.key), "RevisionCreated", &text, false);
        context.writer.apply(object);
        self.releases.push(release);
    }

    /// Releases of earlier lives.
    fn remember(&mut self, context: &Context<'_>) {
        if !self.releases.is_empty() {
            return;
        }
        self.releases = context.revisions_of(&self.key).map(|object| Release::of_object(object)).collect();
        self.releases.sort_by_key(|release| release.number);
    }

    /// Verdicts: good once complete, failed once quarantined, superseded by a newer one.
    pub(super) fn judge(&mut self, plan: &Plan, now: Timestamp) {
        let newest = self.releases.last().map(|release| release.number);
        let failed: BTreeSet<&str> = self.quarantined.iter().map(|entry| entry.revision.as_str()).collect();
        for release in &mut self.releases {
            let is_target = plan.target.as_deref() == Some(release.name.as_str());
            let verdict = if failed.contains(release.name.as_str()) {
                Verdict::Failed
            } else if release.verdict == Verdict::Good || (is_target && plan.complete) {
                Verdict::Good
            } else if Some(release.number) != newest && !is_target {
                Verdict::Superseded
            } else {
                Verdict::Pending
            };
            if verdict != release.verdict {
                release.verdict = verdict;
                release.decided = Some(now);
            }
        }
    }

    /// Writes verdicts, and removes releases beyond the history limit that nobody needs.
    pub(super) fn prune(&mut self, context: &Context<'_>) {
        let pinned: Vec<&str> = self.members.values().filter_map(|member| member.pinned.as_deref()).collect();
        for release in &mut self.releases {
            let count = pinned.iter().filter(|name| **name == release.name).count();
            release.clusters = i32::try_from(count).unwrap_or(i32::MAX);
            let Some(object) = &mut release.object else { continue };
            if !context.has_revision(&self.key.namespace, &release.name) {
                continue;
            }
            let status = revision_status(release.verdict, release.clusters, release.decided, object);
            if object.status.as_ref() != Some(&status) {
                object.status = Some(status);
                context.writer.status(object.clone());
            }
        }
        let members = self.members.values();
        let good: Vec<&str> = members
            .flat_map(|member| [&member.last_good, &member.passed])
            .filter_map(Option::as_deref)
            .collect();
        let needed = |release: &Release| {
            release.verdict == Verdict::Pending
                || pinned.iter().chain(&good).any(|name| *name == release.name)
        };
        let limit = usize::try_from(self.fleet.spec.rollout.revision_history_limit).unwrap_or(10).max(1);
        let surplus = self.releases.len().saturating_sub(limit);
        let gone: Vec<String> =
            self.releases.iter().take(surplus).filter(|r| !needed(r)).map(|r| r.name.clone()).collect();
        for name in &gone {
            context.writer.delete::<FleetRevision>(&self.key.namespace, name);
        }
        self.releases.retain(|release| !gone.contains(&release.name));
        // Bodies of releases that nobody is on are only weight.
        let newest = self.releases.last().map(|release| release.name.clone());
        let kept: BTreeSet<String> =
            pinned.iter().chain(&good).map(ToString::to_string).chain(newest).collect();
        for release in self.releases.iter_mut().filter(|release| !kept.contains(&release.name)) {
            release.body = None;
            release.config = None;
            release.fleet = None;
        }
    }
}

fn revision_status(
    verdict: Verdict,
    clusters: i32,
    decided: Option<Timestamp>,
    object: &FleetRevision,
) -> FleetRevisionStatus {
    let before = object.status.clone().unwrap_or_default();
    FleetRevisionStatus {
        observed_generation: object.metadata.generation.unwrap_or(1),
        verdict,
        clusters,
        decided_time: decided.map(time),
        ..before
    }
}

/// What kind of change it is against the release before.
fn lane(before: &Release, template: &str, fleet: &GatewayFleet) -> Lane {
    match &before.fleet {
        Some(old) if before.template == template && old.spec.plugins == fleet.spec.plugins => Lane::Routes,
        Some(old)
            if old.spec.template == fleet.spec.template && old.spec.overrides == fleet.spec.overrides =>
        {
            if old.spec.plugins == fleet.spec.plugins {
                Lane::Workload
            } else {
                Lane::Plugins
            }
        }
        _ => Lane::Workload,
    }
}

fn template_object(fleet: &GatewayFleet) -> serde_json::Map<String, serde_json::Value> {
    match serde_json::to_value(&fleet.spec.template) {
        Ok(serde_json::Value::Object(map)) => map,
        _ => serde_json::Map::new(),
    }
}

fn plugins(fleet: &GatewayFleet) -> Vec<PluginDigest> {
    let with_image = fleet.spec.plugins.iter().filter_map(|plugin| Some((plugin, plugin.oci.as_ref()?)));
    with_image
        .map(|(plugin, oci)| PluginDigest { name: plugin.name.clone(), image: oci.image.clone() })
        .collect()
}
