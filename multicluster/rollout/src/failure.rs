// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What happens to the clusters when a rollout failed.

use crate::evidence::Standing;
use crate::{Facts, Intent, Member, Revision};
use crds::MemberPhase;
use crds::gateway_fleet::{FailureAction, FailureScope};

/// Pin and phase of a cluster after the target failed. A cluster without a last good revision stays where it is: its
/// gateways hold on to whatever they served.
pub(crate) fn after_failure(
    intent: &Intent,
    target: &Revision,
    member: &Member,
    facts: &Facts,
    standing: &Standing,
) -> (Option<String>, MemberPhase) {
    let touched = member.pinned.as_deref() == Some(&target.name);
    if touched
        && goes_back(intent, standing)
        && let Some(back) = way_back(intent, target, member)
    {
        return (Some(back.to_owned()), MemberPhase::RollingBack);
    }
    let back = !touched && matches!(member.phase, Some(MemberPhase::RollingBack | MemberPhase::RolledBack));
    let phase = match standing {
        Standing::Unreachable => MemberPhase::Unreachable,
        _ if back && facts.observed_revision == member.pinned => MemberPhase::RolledBack,
        _ if back => MemberPhase::RollingBack,
        other => other.phase(),
    };
    (member.pinned.clone(), phase)
}

fn goes_back(intent: &Intent, standing: &Standing) -> bool {
    let on_failure = &intent.rollout.on_failure;
    match (on_failure.action, on_failure.scope) {
        (FailureAction::Pause, _) => false,
        (FailureAction::Rollback, FailureScope::Touched) => true,
        (FailureAction::Rollback, FailureScope::Failed) => matches!(standing, Standing::Failed(_)),
    }
}

/// Where a cluster goes from the target: to what it passed last, or if that is the target to the one before.
pub(crate) fn way_back<'a>(intent: &Intent, target: &Revision, member: &'a Member) -> Option<&'a str> {
    let bad =
        |name: &str| name == target.name || intent.quarantined.iter().any(|entry| entry.revision == name);
    let candidates = [member.passed.as_deref(), member.last_good.as_deref()];
    candidates.into_iter().flatten().find(|name| !bad(name))
}
