// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What a plan says besides pins: phases, messages and when to look again.

use super::{Planner, events};
use crate::evidence::{Judge, Standing, since};
use crate::{Member, Pin, Plan, failure, target};
use crds::MemberPhase;
use crds::gateway_fleet::{FailureAction, RolloutPhase, WaveResult, WaveStatus};
use std::time::Duration;

/// The plan while there is no revision: everyone keeps what they have.
pub(super) fn nothing(members: &[Member]) -> Plan {
    let pin = |member: &Member| Pin {
        revision: member.pinned.clone(),
        wave: String::new(),
        phase: MemberPhase::Pinned,
        passed: member.passed.clone(),
        last_good: member.last_good.clone(),
        message: String::new(),
    };
    Plan {
        pins: members.iter().map(|member| (member.cluster.clone(), pin(member))).collect(),
        target: None,
        complete: false,
        within_unreachable_budget: true,
        phase: RolloutPhase::Preflight,
        wave: None,
        waves: Vec::new(),
        message: "no revision yet".to_owned(),
        pause: None,
        quarantine: Vec::new(),
        requeue_after: None,
        events: Vec::new(),
    }
}

impl Planner<'_> {
    /// Puts the plan together.
    pub(super) fn finish(self) -> Plan {
        let phase = self.rollout_phase();
        let events = events::events(&self);
        let wave =
            self.waves.iter().find(|wave| !matches!(wave.result, WaveResult::Passed | WaveResult::Pending));
        let wave = wave.map(|wave| wave.wave.name.clone()).or_else(|| self.awaiting.clone());
        let stopped =
            matches!(phase, RolloutPhase::Paused | RolloutPhase::RollingBack | RolloutPhase::RolledBack);
        let pause = (stopped && !self.intent.rollout.paused).then(|| "RolloutFailed".to_owned());
        let complete = phase == RolloutPhase::Complete;
        let pins = self
            .waves
            .iter()
            .flat_map(|wave| wave.cases.iter().map(|case| self.pin(&wave.wave.name, case, complete)));
        Plan {
            pins: pins.collect(),
            complete,
            within_unreachable_budget: self.unreachable() <= self.unreachable_budget(),
            message: self.message(phase),
            requeue_after: self.requeue_after(),
            waves: self.wave_statuses(),
            target: Some(self.target.name.clone()),
            quarantine: self.quarantine.clone(),
            phase,
            wave,
            pause,
            events,
        }
    }

    fn pin(&self, wave: &str, case: &super::Case, complete: bool) -> (String, Pin) {
        let member = &self.members[case.position];
        let (passed, last_good) = self.known_good(case, complete);
        let message = match &case.standing {
            Standing::Failed(failure) => failure.message(&member.cluster),
            Standing::Unreachable => format!("{} does not answer; it keeps what it has", member.cluster),
            Standing::Paused => format!("FleetCluster {} is paused; it keeps what it has", member.cluster),
            Standing::Soaking(left) => format!("watched for {} s more", left.as_secs()),
            _ => String::new(),
        };
        let (revision, wave) = (case.pin.clone(), wave.to_owned());
        (member.cluster.clone(), Pin { revision, wave, phase: case.phase, passed, last_good, message })
    }

    /// What the cluster passed last, and what it goes back to. While the target may still fail elsewhere, a cluster that
    /// passed it keeps the way back to the one before; once the rollout completes there is no way back any more.
    fn known_good(&self, case: &super::Case, complete: bool) -> (Option<String>, Option<String>) {
        let member = &self.members[case.position];
        let target = Some(self.target.name.clone());
        match &case.standing {
            Standing::Passed if complete => (target.clone(), target),
            Standing::Passed if self.on_target(case) => {
                let back = failure::way_back(self.intent, self.target, member).map(str::to_owned);
                (target, back)
            }
            _ if case.phase == MemberPhase::RollingBack && case.pin != member.pinned => {
                (case.pin.clone(), case.pin.clone())
            }
            _ => (member.passed.clone(), member.last_good.clone()),
        }
    }

    fn unreachable_budget(&self) -> usize {
        self.intent.rollout.unreachable.max.of_rounded_down(self.members.len())
    }

    fn rollout_phase(&self) -> RolloutPhase {
        if self.failed.is_some() || target::quarantined(self.intent, self.target) {
            let going = self.cases().any(|case| case.phase == MemberPhase::RollingBack);
            return match self.intent.rollout.on_failure.action {
                FailureAction::Pause => RolloutPhase::Paused,
                FailureAction::Rollback if going => RolloutPhase::RollingBack,
                FailureAction::Rollback => RolloutPhase::RolledBack,
            };
        }
        if self.waves.iter().all(|wave| wave.result == WaveResult::Passed) {
            return RolloutPhase::Complete;
        }
        if self.intent.rollout.paused {
            return RolloutPhase::Paused;
        }
        let mut moving = self
            .cases()
            .filter(|case| case.standing.in_flight() || case.phase == MemberPhase::Applying)
            .peekable();
        if moving.peek().is_none() && self.awaiting.is_some() {
            return RolloutPhase::AwaitingApproval;
        }
        let soaks = |case: &super::Case| matches!(case.standing, Standing::Soaking(_));
        if moving.peek().is_some() && moving.all(soaks) {
            RolloutPhase::Soaking
        } else {
            RolloutPhase::Progressing
        }
    }

    fn wave_statuses(&self) -> Vec<WaveStatus> {
        let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
        let status = |wave: &super::WaveState| WaveStatus {
            name: wave.wave.name.clone(),
            clusters: count(wave.cases.len()),
            reached: count(wave.cases.iter().filter(|case| self.on_target(case)).count()),
            result: wave.result,
        };
        self.waves.iter().map(status).collect()
    }

    fn message(&self, phase: RolloutPhase) -> String {
        let target = &self.target.name;
        if let Some((cluster, failure)) = &self.failed {
            return format!("{target}: {}", failure.message(cluster));
        }
        match phase {
            RolloutPhase::Complete if self.unreachable() > 0 => {
                format!("{target} is everywhere except in {} unreachable clusters", self.unreachable())
            }
            RolloutPhase::Complete => format!("{target} is everywhere"),
            RolloutPhase::RollingBack | RolloutPhase::RolledBack => {
                format!(
                    "{target} failed before and is quarantined; change the fleet or its routes, or set rollout.retryToken"
                )
            }
            RolloutPhase::Paused if self.intent.rollout.paused => "rollout.paused is true".to_owned(),
            RolloutPhase::Paused => {
                format!(
                    "{target} failed and the rollout stands still; change the fleet or its routes, or set rollout.retryToken"
                )
            }
            RolloutPhase::AwaitingApproval => {
                let wave = self.awaiting.as_deref().unwrap_or_default();
                format!(
                    "annotate the fleet with {}={target}/{wave} to open wave {wave}",
                    crds::ANNOTATION_APPROVE
                )
            }
            _ if self.unreachable() > self.unreachable_budget() => {
                format!(
                    "{} clusters do not answer, more than rollout.unreachable.max allows",
                    self.unreachable()
                )
            }
            _ => format!("{target} is on its way"),
        }
    }

    /// The next moment at which time alone changes the plan.
    fn requeue_after(&self) -> Option<Duration> {
        let rollout = &self.intent.rollout;
        let silence = rollout.unreachable.after.or(Duration::from_secs(120));
        let moments = self.waves.iter().flat_map(|wave| {
            let judge = Judge { rollout, wave: &wave.wave, target: self.target, now: self.now };
            wave.cases.iter().flat_map(move |case| {
                let facts = &self.facts[case.position];
                let soak = if let Standing::Soaking(left) = case.standing { Some(left) } else { None };
                let waits = matches!(case.standing, Standing::Applying | Standing::Acking);
                let deadline = if waits { judge.deadline_left(facts) } else { None };
                let contact =
                    facts.last_contact.map(|contact| silence.saturating_sub(since(contact, self.now)));
                let contact = contact.filter(|left| !left.is_zero());
                soak.into_iter().chain(deadline).chain(contact)
            })
        });
        moments.min().map(|moment| moment.max(Duration::from_millis(100)))
    }
}
