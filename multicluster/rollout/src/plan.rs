// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The plan.

mod events;
mod summary;

use crate::evidence::{Failure, Judge, Standing, broken};
use crate::{Facts, Intent, Member, Plan, Revision, failure, target, waves};
use crds::MemberPhase;
use crds::Verdict;
use crds::gateway_fleet::{Approval, Quarantined, RolloutMode, UnreachableAction, Wave, WaveResult};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// Says what every cluster is pinned to.
///
/// The first wave that did not pass is open: its clusters move, at most `maxConcurrency` of them (and
/// `maxUnavailableClusters` of the fleet) at a time, broken ones first, then in order of name. A failure beyond
/// `maxFailures` ends the rollout and quarantines the target.
#[must_use]
pub fn plan(
    intent: &Intent,
    revisions: &[Revision],
    members: &[Member],
    facts: &BTreeMap<String, Facts>,
    now: Timestamp,
) -> Plan {
    let Some(target) = target::target(intent, revisions, members) else { return summary::nothing(members) };
    let mut planner = Planner::new(intent, revisions, members, facts, target, now);
    if target::quarantined(intent, target) {
        planner.go_back();
    } else {
        planner.advance();
    }
    planner.finish()
}

/// One wave with its clusters.
struct WaveState {
    wave: Wave,
    cases: Vec<Case>,
    result: WaveResult,
}

/// One cluster in its wave.
struct Case {
    position: usize,
    standing: Standing,
    pin: Option<String>,
    phase: MemberPhase,
}

struct Planner<'a> {
    intent: &'a Intent,
    members: &'a [Member],
    facts: Vec<Facts>,
    target: &'a Revision,
    known_good: Option<&'a Revision>,
    now: Timestamp,
    waves: Vec<WaveState>,
    awaiting: Option<String>,
    failed: Option<(String, Failure)>,
    quarantine: Vec<Quarantined>,
}

impl<'a> Planner<'a> {
    fn new(
        intent: &'a Intent,
        revisions: &'a [Revision],
        members: &'a [Member],
        facts: &BTreeMap<String, Facts>,
        target: &'a Revision,
        now: Timestamp,
    ) -> Self {
        let facts: Vec<Facts> =
            members.iter().map(|member| facts.get(&member.cluster).cloned().unwrap_or_default()).collect();
        let waves = waves::assign(&intent.rollout.waves, members).into_iter().map(|(wave, positions)| {
            let judge = Judge { rollout: &intent.rollout, wave: &wave, target, now };
            let cases = positions.into_iter().map(|position| {
                let standing = judge.standing(&members[position], &facts[position]);
                let phase = standing.phase();
                Case { position, standing, pin: members[position].pinned.clone(), phase }
            });
            let cases = cases.collect();
            WaveState { wave, cases, result: WaveResult::Pending }
        });
        let waves = waves.collect();
        let known_good = target::known_good(intent, revisions);
        let (awaiting, failed, quarantine) = (None, None, Vec::new());
        Self { intent, members, facts, target, known_good, now, waves, awaiting, failed, quarantine }
    }

    /// Judges the waves in order and moves clusters of the first that did not pass.
    fn advance(&mut self) {
        self.welcome();
        let failed = (0..self.waves.len()).find_map(|index| Some((index, self.failure_of(index)?)));
        for index in 0..self.waves.len() {
            if self.passed(index) {
                self.waves[index].result = WaveResult::Passed;
                continue;
            }
            if failed.is_none() && self.may_open(index) {
                self.move_clusters(index);
            }
            if self.waves[index].cases.iter().any(|case| self.on_target(case)) {
                self.waves[index].result = WaveResult::Progressing;
            }
            break;
        }
        if let Some((index, failure)) = failed {
            self.waves[index].result = WaveResult::Failed;
            self.fail(failure);
        }
    }

    /// A cluster that has nothing yet gets the newest known-good revision at once; for the target it waits its turn.
    fn welcome(&mut self) {
        let Some(good) = self.known_good else { return };
        for case in self.waves.iter_mut().flat_map(|wave| &mut wave.cases) {
            if case.pin.is_none() && !self.members[case.position].paused {
                case.pin = Some(good.name.clone());
            }
        }
    }

    /// The failure that ends the rollout, if more clusters of the wave failed than it allows.
    fn failure_of(&self, index: usize) -> Option<(String, Failure)> {
        let state = &self.waves[index];
        let strict = self.intent.rollout.unreachable.action == UnreachableAction::Fail;
        let failures: Vec<(String, Failure)> = state
            .cases
            .iter()
            .filter_map(|case| {
                let cluster = self.members[case.position].cluster.clone();
                match &case.standing {
                    Standing::Failed(failure) => Some((cluster, failure.clone())),
                    Standing::Unreachable if strict && self.on_target(case) => {
                        Some((cluster, Failure::Unreachable))
                    }
                    _ => None,
                }
            })
            .collect();
        let allowed = state.wave.max_failures.of_rounded_down(state.cases.len());
        if failures.len() > allowed { failures.into_iter().next() } else { None }
    }

    fn on_target(&self, case: &Case) -> bool {
        case.pin.as_deref() == Some(&self.target.name)
    }

    /// All clusters that count passed or failed within bounds, and at least one passed.
    fn passed(&self, index: usize) -> bool {
        let waits = self.intent.rollout.unreachable.action == UnreachableAction::Block;
        let cases = &self.waves[index].cases;
        let settled = |case: &Case| match case.standing {
            Standing::Passed | Standing::Failed(_) | Standing::Paused => true,
            Standing::Unreachable => !waits,
            _ => false,
        };
        let counts = |case: &&Case| !matches!(case.standing, Standing::Paused);
        let somebody = cases.iter().any(|case| case.standing == Standing::Passed);
        cases.iter().all(settled) && (somebody || cases.iter().filter(counts).count() == 0)
    }

    /// Whether clusters of the wave may move now.
    fn may_open(&mut self, index: usize) -> bool {
        let rollout = &self.intent.rollout;
        if rollout.paused || rollout.mode == RolloutMode::DryRun {
            return false;
        }
        // Clusters that took the target and fell silent since may tell of it; others hold nobody up.
        let silent = self
            .cases()
            .filter(|case| case.standing == Standing::Unreachable && self.on_target(case))
            .count();
        if index > 0 && silent > rollout.unreachable.max.of_rounded_up(self.members.len()) {
            return false;
        }
        let wave = &self.waves[index].wave;
        let approved =
            self.intent.approval.as_deref() == Some(&format!("{}/{}", self.target.name, wave.name));
        if wave.approval == Approval::Manual && !approved && self.target.verdict != Verdict::Good {
            self.awaiting = Some(wave.name.clone());
            return false;
        }
        true
    }

    fn unreachable(&self) -> usize {
        self.cases().filter(|case| case.standing == Standing::Unreachable).count()
    }

    fn cases(&self) -> impl Iterator<Item = &Case> {
        self.waves.iter().flat_map(|wave| &wave.cases)
    }

    fn move_clusters(&mut self, index: usize) {
        let rollout = &self.intent.rollout;
        let is_broken = |case: &Case| broken(&self.facts[case.position], rollout);
        let state = &self.waves[index];
        let concurrency = state.wave.max_concurrency.of_rounded_up(state.cases.len()).max(1);
        let in_flight = state.cases.iter().filter(|case| case.standing.in_flight()).count();
        let mut room = concurrency.saturating_sub(in_flight);
        let limit = rollout.max_unavailable_clusters.as_ref();
        let limit = limit.map_or(usize::MAX, |share| share.of_rounded_up(self.members.len()).max(1));
        let down = |case: &&Case| {
            case.standing.in_flight() || (case.standing == Standing::Waiting && is_broken(case))
        };
        let mut budget = limit.saturating_sub(self.cases().filter(down).count());
        let mut waiting: Vec<(bool, usize)> = state
            .cases
            .iter()
            .enumerate()
            .filter(|(_, case)| case.standing == Standing::Waiting)
            .map(|(place, case)| (!is_broken(case), place))
            .collect();
        waiting.sort_unstable();
        for (healthy, place) in waiting {
            if room == 0 || (healthy && budget == 0) {
                break;
            }
            room -= 1;
            budget -= usize::from(healthy);
            let case = &mut self.waves[index].cases[place];
            case.pin = Some(self.target.name.clone());
            case.phase = MemberPhase::Applying;
        }
    }

    /// Ends the rollout: quarantines the target and takes clusters back.
    fn fail(&mut self, failure: (String, Failure)) {
        self.quarantine.push(Quarantined {
            revision: self.target.name.clone(),
            hash: self.target.hash.clone(),
            reason: failure.1.reason().to_owned(),
            cluster: failure.0.clone(),
            retry_token: self.intent.rollout.retry_token.clone(),
        });
        self.failed = Some(failure);
        self.go_back();
    }

    /// The target is quarantined: nobody moves to it, those who did may go back.
    fn go_back(&mut self) {
        self.welcome();
        for case in self.waves.iter_mut().flat_map(|wave| &mut wave.cases) {
            let (member, facts) = (&self.members[case.position], &self.facts[case.position]);
            let (pin, phase) =
                failure::after_failure(self.intent, self.target, member, facts, &case.standing);
            case.pin = pin.or_else(|| case.pin.take());
            case.phase = phase;
        }
    }
}
