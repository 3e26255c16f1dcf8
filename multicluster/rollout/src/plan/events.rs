// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Transitions between the phases that members had and those that they have now.

use super::Planner;
use crate::evidence::{Failure, Standing};
use crate::{Event, EventKind};
use crds::MemberPhase;
use crds::gateway_fleet::FailureAction;

pub(super) fn events(planner: &Planner<'_>) -> Vec<Event> {
    let mut events = Vec::new();
    let mut tell = |kind: EventKind, subject: &str, message: String| {
        let revision = planner.target.name.clone();
        events.push(Event { kind, subject: subject.to_owned(), revision, message });
    };
    for wave in &planner.waves {
        let before = wave
            .cases
            .iter()
            .any(|case| planner.members[case.position].pinned.as_deref() == Some(&planner.target.name));
        if !before && wave.cases.iter().any(|case| planner.on_target(case)) {
            tell(
                EventKind::WaveStarted,
                &wave.wave.name,
                format!("wave {} takes {}", wave.wave.name, planner.target.name),
            );
        }
        for case in &wave.cases {
            let member = &planner.members[case.position];
            let (cluster, was) = (member.cluster.as_str(), member.phase);
            match &case.standing {
                Standing::Passed if member.passed.as_deref() != Some(&planner.target.name) => {
                    tell(
                        EventKind::ClusterUpdated,
                        cluster,
                        format!("{cluster} passed {}", planner.target.name),
                    );
                }
                Standing::Failed(failure) if is_news(was) => {
                    let rejected = matches!(failure, Failure::Rejected { .. });
                    let kind = if rejected { EventKind::ConfigRejected } else { EventKind::GateFailed };
                    tell(kind, cluster, failure.message(cluster));
                }
                Standing::Unreachable if was != Some(MemberPhase::Unreachable) => {
                    tell(EventKind::ClusterUnreachable, cluster, format!("{cluster} does not answer"));
                }
                standing if was == Some(MemberPhase::Unreachable) && *standing != Standing::Unreachable => {
                    tell(EventKind::ClusterRecovered, cluster, format!("{cluster} answers again"));
                }
                _ => {}
            }
        }
    }
    if planner.failed.is_some() && planner.intent.rollout.on_failure.action == FailureAction::Rollback {
        tell(
            EventKind::RolledBack,
            "",
            format!("{} is quarantined; touched clusters go back", planner.target.name),
        );
    }
    events
}

/// A failure is told when it appears, not again while it lasts or is being undone.
fn is_news(was: Option<MemberPhase>) -> bool {
    !matches!(was, Some(MemberPhase::Failed | MemberPhase::RollingBack | MemberPhase::RolledBack))
}
