// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A world of clusters that does what plans say, and checks every plan against the promises of the crate.

use crds::Verdict;
use crds::gateway_fleet::{Rollout, RolloutPhase, Wave};
use crds::selection::Labels;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use multicluster_rollout::{EventKind, Facts, Gateways, Intent, Member, Plan, Rejection, Revision, plan};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Time between two looks at the world.
pub(crate) const STEP: Duration = Duration::from_secs(10);
const GATEWAYS: usize = 3;

/// What decides; the crate's function, or one with a fault put in.
pub(crate) type Planner = fn(&Intent, &[Revision], &[Member], &BTreeMap<String, Facts>, Timestamp) -> Plan;

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) planner: Planner,
    pub(crate) intent: Intent,
    pub(crate) revisions: Vec<Revision>,
    pub(crate) members: Vec<Member>,
    pub(crate) facts: BTreeMap<String, Facts>,
    pub(crate) now: Timestamp,
    /// Clusters that do not answer.
    pub(crate) down: BTreeSet<String>,
    /// `(cluster, revision)` whose gateways reject.
    pub(crate) rejects: BTreeSet<(String, String)>,
    /// `(cluster, revision)` whose gateways never answer.
    pub(crate) hangs: BTreeSet<(String, String)>,
    /// `(cluster, revision)` that was acknowledged: what passing rests on, known apart from the plan.
    pub(crate) acknowledged: BTreeSet<(String, String)>,
    /// All Events so far.
    pub(crate) events: Vec<(EventKind, String)>,
}

pub(crate) fn wave(name: &str, max_concurrency: crds::Share, soak: &str) -> Wave {
    let selector = LabelSelector {
        match_labels: Some(BTreeMap::from([("wave".to_owned(), name.to_owned())])),
        match_expressions: None,
    };
    Wave {
        name: name.to_owned(),
        selector: Some(selector),
        max_concurrency,
        soak: soak.into(),
        ..Wave::default()
    }
}

impl World {
    /// Clusters as `(name, wave label)`.
    pub(crate) fn new(rollout: Rollout, clusters: &[(&str, &str)]) -> Self {
        let members = clusters.iter().map(|(cluster, wave)| Member {
            cluster: (*cluster).to_owned(),
            labels: Labels::from([("wave".to_owned(), (*wave).to_owned())]),
            pinned: None,
            passed: None,
            last_good: None,
            phase: None,
            paused: false,
        });
        Self {
            planner: plan,
            intent: Intent { rollout, ..Intent::default() },
            revisions: Vec::new(),
            members: members.collect(),
            facts: BTreeMap::new(),
            now: "2026-11-21T10:00:00Z".parse().unwrap(),
            down: BTreeSet::new(),
            rejects: BTreeSet::new(),
            hangs: BTreeSet::new(),
            acknowledged: BTreeSet::new(),
            events: Vec::new(),
        }
    }

    /// A new revision; its name.
    pub(crate) fn release(&mut self) -> String {
        let number = self.revisions.len() as i64 + 1;
        let name = format!("r{number}");
        self.revisions.push(Revision {
            name: name.clone(),
            number,
            hash: format!("hash-{number}"),
            verdict: Verdict::Pending,
        });
        name
    }

    /// Lets every cluster that answers report, as its gateways see things.
    pub(crate) fn report(&mut self) {
        for member in &self.members {
            if self.down.contains(&member.cluster) {
                continue;
            }
            let facts = self.facts.entry(member.cluster.clone()).or_default();
            facts.last_contact = Some(self.now);
            let Some(pinned) = member.pinned.clone() else { continue };
            let key = (member.cluster.clone(), pinned.clone());
            let (rejects, hangs) = (self.rejects.contains(&key), self.hangs.contains(&key));
            let acked = if hangs { 0 } else { GATEWAYS - usize::from(rejects) };
            if facts.observed_revision.as_ref() != Some(&pinned) {
                facts.last_ack = (!hangs).then_some(self.now);
            }
            facts.observed_revision = Some(pinned);
            facts.applied = true;
            facts.gateways =
                Gateways { desired: Some(GATEWAYS), ready: GATEWAYS, acked, nacked: usize::from(rejects) };
            let rejection = Rejection {
                source: "HTTPRoute shop/cart rule 3".into(),
                message: "unclosed group at 12".into(),
            };
            facts.rejection = rejects.then_some(rejection);
            if !rejects && !hangs {
                self.acknowledged.insert(key);
            }
        }
    }

    /// Plans, checks the plan, does what it says, lets the clusters report, and lets time pass.
    pub(crate) fn step(&mut self) -> Plan {
        self.try_step().unwrap_or_else(|broken| panic!("{broken}"))
    }

    /// The same; the promise that the plan breaks, if it does.
    pub(crate) fn try_step(&mut self) -> Result<Plan, String> {
        let plan = (self.planner)(&self.intent, &self.revisions, &self.members, &self.facts, self.now);
        self.check(&plan)?;
        for member in &mut self.members {
            let pin = &plan.pins[&member.cluster];
            if member.pinned != pin.revision {
                self.facts.entry(member.cluster.clone()).or_default().pinned_since = Some(self.now);
            }
            member.pinned.clone_from(&pin.revision);
            member.passed.clone_from(&pin.passed);
            member.last_good.clone_from(&pin.last_good);
            member.phase = Some(pin.phase);
        }
        self.intent.quarantined.extend(plan.quarantine.clone());
        if plan.complete {
            for revision in
                self.revisions.iter_mut().filter(|revision| plan.target.as_ref() == Some(&revision.name))
            {
                revision.verdict = Verdict::Good;
            }
        }
        self.events.extend(plan.events.iter().map(|event| (event.kind, event.subject.clone())));
        self.now += STEP;
        self.report();
        Ok(plan)
    }

    /// Steps until `done` or `limit`.
    pub(crate) fn until(&mut self, limit: usize, done: impl Fn(&Plan) -> bool) -> Plan {
        let mut plan = self.step();
        for _ in 0..limit {
            if done(&plan) {
                break;
            }
            plan = self.step();
        }
        plan
    }

    pub(crate) fn complete(&mut self) -> Plan {
        let plan = self.until(500, |plan| plan.phase == RolloutPhase::Complete);
        assert_eq!(plan.phase, RolloutPhase::Complete, "{}", plan.message);
        plan
    }

    pub(crate) fn pins(&self) -> BTreeMap<&str, Option<&str>> {
        self.members.iter().map(|member| (member.cluster.as_str(), member.pinned.as_deref())).collect()
    }

    pub(crate) fn count(&self, kind: EventKind, subject: &str) -> usize {
        self.events.iter().filter(|(seen, of)| *seen == kind && of == subject).count()
    }

    /// The promises of the crate, for every plan.
    fn check(&self, plan: &Plan) -> Result<(), String> {
        let Some(target) = &plan.target else { return Ok(()) };
        let promise = |kept: bool, broken: String| if kept { Ok(()) } else { Err(broken) };
        let position = |name: &str| plan.waves.iter().position(|wave| wave.name == name).unwrap();
        let good =
            |name: &String| self.revisions.iter().any(|r| r.name == *name && r.verdict == Verdict::Good);
        for member in &self.members {
            let pin = &plan.pins[&member.cluster];
            let moves = pin.revision != member.pinned;
            let kept = member.pinned.is_none() || pin.revision.is_some();
            promise(kept, format!("{} lost its pin", member.cluster))?;
            if moves && self.down.contains(&member.cluster) && self.silent(&member.cluster) {
                let back = pin.revision == member.last_good || pin.revision == member.passed;
                let first = member.pinned.is_none();
                promise(back || first, format!("{} moved on while unreachable", member.cluster))?;
            }
            if !moves || pin.revision.as_ref() != Some(target) || (member.pinned.is_none() && good(target)) {
                continue;
            }
            let bad = self.intent.quarantined.iter().any(|entry| {
                entry.revision == *target && entry.retry_token == self.intent.rollout.retry_token
            });
            promise(!bad, format!("{} moved to quarantined {target}", member.cluster))?;
            for other in &self.members {
                if position(&plan.pins[&other.cluster].wave) >= position(&pin.wave) || other.paused {
                    continue;
                }
                let confirmed = self.acknowledged.contains(&(other.cluster.clone(), target.clone()));
                let excused = self.silent(&other.cluster);
                promise(
                    confirmed || excused,
                    format!("{} took {target} before {} confirmed it", member.cluster, other.cluster),
                )?;
            }
        }
        Ok(())
    }

    fn silent(&self, cluster: &str) -> bool {
        let contact = self.facts.get(cluster).and_then(|facts| facts.last_contact);
        let after = self.intent.rollout.unreachable.after.or(Duration::from_secs(120));
        let after = i64::try_from(after.as_secs()).unwrap();
        contact.is_none_or(|contact| self.now.duration_since(contact).as_secs() >= after)
    }
}
