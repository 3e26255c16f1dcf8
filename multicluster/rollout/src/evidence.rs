// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What the facts say of one cluster and the target revision.

use crate::{Facts, Member, Rejection, Revision};
use crds::gateway_fleet::{Rollout, Wave};
use crds::{MemberPhase, Verdict};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// Where a cluster stands on its way to the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It passed.
    Passed,
    /// Its turn has not come.
    Waiting,
    /// It was moved; its objects are not applied yet.
    Applying,
    /// It was moved; gateways have not answered or are not ready.
    Acking,
    /// All is well; it is watched for this much longer.
    Soaking(Duration),
    /// It failed.
    Failed(Failure),
    /// It does not answer.
    Unreachable,
    /// It is paused.
    Paused,
}

/// Why a cluster failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Gateways rejected the configuration.
    Rejected { gateways: usize, of: usize, rejection: Rejection },
    /// No progress within `progressDeadline`.
    Deadline { waited_for: String },
    /// It does not answer, and `unreachable.action` is Fail.
    Unreachable,
}

impl Failure {
    /// The word for conditions and the quarantine.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Rejected { .. } => "ConfigRejected",
            Self::Deadline { .. } => "ProgressDeadlineExceeded",
            Self::Unreachable => "Unreachable",
        }
    }

    /// In words, with the user's object where it is known.
    pub(crate) fn message(&self, cluster: &str) -> String {
        match self {
            Self::Rejected { gateways, of, rejection } => {
                let source =
                    if rejection.source.is_empty() { "the configuration" } else { &rejection.source };
                format!("{gateways} of {of} gateways in {cluster} rejected {source} ({})", rejection.message)
            }
            Self::Deadline { waited_for } => {
                format!("{cluster} made no progress within progressDeadline: {waited_for}")
            }
            Self::Unreachable => format!("{cluster} does not answer and unreachable.action is Fail"),
        }
    }
}

impl Standing {
    /// On the target, not yet passed: this is what takes up concurrency.
    pub(crate) fn in_flight(&self) -> bool {
        matches!(self, Self::Applying | Self::Acking | Self::Soaking(_))
    }

    /// The phase for the member's status.
    pub(crate) fn phase(&self) -> MemberPhase {
        match self {
            Self::Passed => MemberPhase::Passed,
            Self::Waiting => MemberPhase::Pinned,
            Self::Applying => MemberPhase::Applying,
            Self::Acking => MemberPhase::Acking,
            Self::Soaking(_) => MemberPhase::Soaking,
            Self::Failed(_) => MemberPhase::Failed,
            Self::Unreachable => MemberPhase::Unreachable,
            Self::Paused => MemberPhase::Skipped,
        }
    }
}

/// Whether a cluster answered recently enough.
pub(crate) fn reachable(facts: &Facts, rollout: &Rollout, now: Timestamp) -> bool {
    let after = rollout.unreachable.after.or(Duration::from_secs(120));
    facts.last_contact.is_some_and(|contact| since(contact, now) < after)
}

/// Whether the gateways of a cluster are too few for what it serves now. Moving such a cluster costs no budget.
pub(crate) fn broken(facts: &Facts, rollout: &Rollout) -> bool {
    facts
        .gateways
        .desired
        .is_some_and(|desired| facts.gateways.ready < rollout.gates.workload.min_ready.of_rounded_up(desired))
}

/// What is needed to judge clusters of one wave.
pub(crate) struct Judge<'a> {
    pub(crate) rollout: &'a Rollout,
    pub(crate) wave: &'a Wave,
    pub(crate) target: &'a Revision,
    pub(crate) now: Timestamp,
}

impl Judge<'_> {
    /// Where a cluster stands. Facts count only when they are stamped with the target.
    pub(crate) fn standing(&self, member: &Member, facts: &Facts) -> Standing {
        let target = Some(self.target.name.as_str());
        let passed_before =
            member.phase == Some(MemberPhase::Passed) || member.last_good.as_deref() == target;
        if member.pinned.as_deref() == target && passed_before && !self.rejected(facts) {
            return if reachable(facts, self.rollout, self.now) {
                Standing::Passed
            } else {
                Standing::Unreachable
            };
        }
        if member.paused {
            return Standing::Paused;
        }
        if !reachable(facts, self.rollout, self.now) {
            return Standing::Unreachable;
        }
        if member.pinned.as_deref() != target {
            return Standing::Waiting;
        }
        let standing = if facts.observed_revision.as_deref() == target {
            self.evidence(facts)
        } else {
            Standing::Applying
        };
        self.within_deadline(standing, facts)
    }

    /// More gateways than tolerated rejected the target. That also undoes an earlier pass, for as long as the target is
    /// not known good: a gateway that started later may be the first to see the fault.
    fn rejected(&self, facts: &Facts) -> bool {
        let tolerated = usize::try_from(self.rollout.gates.config.max_nacked).unwrap_or(0);
        let stamped = facts.observed_revision.as_deref() == Some(&self.target.name);
        stamped && facts.gateways.nacked > tolerated && self.target.verdict != Verdict::Good
    }

    fn evidence(&self, facts: &Facts) -> Standing {
        let gates = &self.rollout.gates;
        let counts = facts.gateways;
        if self.rejected(facts) {
            let rejection = facts.rejection.clone().unwrap_or_default();
            let of = counts.desired.unwrap_or(counts.nacked).max(counts.nacked);
            return Standing::Failed(Failure::Rejected { gateways: counts.nacked, of, rejection });
        }
        if !facts.applied {
            return Standing::Applying;
        }
        let Some(desired) = counts.desired else { return Standing::Acking };
        let acked = counts.acked >= gates.config.min_acked.of_rounded_up(desired);
        let ready = counts.ready >= gates.workload.min_ready.of_rounded_up(desired);
        match (acked && ready, self.soak_left(facts)) {
            (false, _) => Standing::Acking,
            (true, None) => Standing::Passed,
            (true, Some(left)) => Standing::Soaking(left),
        }
    }

    /// The soak counts from the last acknowledgement of the target. A known-good revision needs none.
    fn soak_left(&self, facts: &Facts) -> Option<Duration> {
        if self.target.verdict == Verdict::Good {
            return None;
        }
        let soak = self.wave.soak.or(Duration::ZERO);
        let start = facts.last_ack.or(facts.pinned_since).unwrap_or(self.now);
        soak.checked_sub(since(start, self.now)).filter(|left| !left.is_zero())
    }

    fn within_deadline(&self, standing: Standing, facts: &Facts) -> Standing {
        let waited_for = match &standing {
            Standing::Applying => "its objects are not applied".to_owned(),
            Standing::Acking => {
                let counts = facts.gateways;
                let desired =
                    counts.desired.map_or("an unknown number of".to_owned(), |desired| desired.to_string());
                format!("{} acknowledged and {} ready of {desired} gateways", counts.acked, counts.ready)
            }
            _ => return standing,
        };
        match self.deadline_left(facts) {
            Some(left) if left.is_zero() => Standing::Failed(Failure::Deadline { waited_for }),
            _ => standing,
        }
    }

    /// How long a moved cluster may still take.
    pub(crate) fn deadline_left(&self, facts: &Facts) -> Option<Duration> {
        let deadline = self.rollout.progress_deadline.or(Duration::from_secs(1_200));
        facts.pinned_since.map(|start| deadline.saturating_sub(since(start, self.now)))
    }
}

/// Time from `start` to `now`; none for a start in the future, since clocks differ.
pub(crate) fn since(start: Timestamp, now: Timestamp) -> Duration {
    let elapsed: SignedDuration = now.duration_since(start);
    Duration::try_from(elapsed).unwrap_or(Duration::ZERO)
}
