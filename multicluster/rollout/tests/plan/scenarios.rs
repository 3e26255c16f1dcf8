// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! One story per test.

use crate::world::{STEP, World, wave};
use crds::gateway_fleet::{
    Approval, FailureAction, OnFailure, OnNewRevision, Rollout, RolloutPhase, Unreachable, UnreachableAction,
    Wave, WaveResult,
};
use crds::{MemberPhase, Share};
use multicluster_rollout::EventKind;

fn two_waves() -> Rollout {
    let rest = Wave { name: "rest".to_owned(), ..Wave::default() };
    Rollout { waves: vec![wave("canary", Share::Count(1), "30s"), rest], ..Rollout::default() }
}

const CLUSTERS: [(&str, &str); 4] = [("a", "canary"), ("b", "rest"), ("c", "rest"), ("d", "rest")];

#[test]
fn without_waves_all_clusters_move_at_once_and_complete_on_their_acknowledgement() {
    let mut world = World::new(Rollout::default(), &[("east", ""), ("west", "")]);
    let revision = world.release();
    world.report();
    let first = world.step();
    assert!(first.pins.values().all(|pin| pin.revision.as_ref() == Some(&revision)));
    assert_eq!(first.phase, RolloutPhase::Progressing);
    let second = world.step();
    assert_eq!((second.phase, second.complete), (RolloutPhase::Complete, true));
    assert!(second.pins.values().all(|pin| pin.last_good.as_ref() == Some(&revision)));
    assert_eq!(second.wave, None);
}

#[test]
fn the_second_wave_waits_for_the_first_ones_soak() {
    let mut world = World::new(two_waves(), &CLUSTERS);
    world.release();
    world.report();
    let start = world.now;
    let opened = world.until(50, |plan| plan.pins["b"].revision.is_some());
    assert_eq!(opened.waves[0].result, WaveResult::Passed);
    let elapsed = (world.now.duration_since(start).as_secs()) as u64 - STEP.as_secs();
    assert!((40..=50).contains(&elapsed), "the canary soaks 30 s from its acknowledgement, took {elapsed} s");
    world.complete();
    for cluster in ["a", "b", "c", "d"] {
        assert_eq!(world.count(EventKind::ClusterUpdated, cluster), 1, "{cluster}");
    }
    assert_eq!(
        (world.count(EventKind::WaveStarted, "canary"), world.count(EventKind::WaveStarted, "rest")),
        (1, 1)
    );
}

#[test]
fn soaking_says_when_to_look_again() {
    let mut world = World::new(two_waves(), &CLUSTERS);
    world.release();
    world.report();
    let plan = world.until(10, |plan| plan.phase == RolloutPhase::Soaking);
    assert_eq!(plan.phase, RolloutPhase::Soaking);
    assert!(plan.requeue_after.is_some_and(|after| after.as_secs() <= 30), "{:?}", plan.requeue_after);
}

#[test]
fn a_rejection_takes_touched_clusters_back_and_quarantines_the_revision() {
    let mut world = World::new(two_waves(), &CLUSTERS);
    let good = world.release();
    world.report();
    world.complete();
    let bad = world.release();
    world.rejects.insert(("a".to_owned(), bad.clone()));
    let plan = world.until(50, |plan| plan.phase == RolloutPhase::RolledBack);
    assert_eq!(plan.phase, RolloutPhase::RolledBack);
    assert!(world.pins().values().all(|pin| *pin == Some(good.as_str())), "{:?}", world.pins());
    let entry = &world.intent.quarantined[0];
    assert_eq!(
        (entry.revision.as_str(), entry.reason.as_str(), entry.cluster.as_str()),
        (bad.as_str(), "ConfigRejected", "a")
    );
    assert_eq!(world.count(EventKind::ConfigRejected, "a"), 1);
    assert_eq!(world.count(EventKind::RolledBack, ""), 1);
    world.step();
    assert_eq!(world.intent.quarantined.len(), 1, "told once");
}

#[test]
fn a_rejection_names_the_users_object() {
    let mut world = World::new(Rollout::default(), &[("east", "")]);
    let bad = world.release();
    world.rejects.insert(("east".to_owned(), bad));
    world.report();
    world.step();
    let plan = world.step();
    assert_eq!(
        plan.message,
        "r1: 1 of 3 gateways in east rejected HTTPRoute shop/cart rule 3 (unclosed group at 12)"
    );
    assert_eq!(plan.pins["east"].revision.as_deref(), Some("r1"), "nothing to go back to: stays");
}

#[test]
fn a_failure_in_a_later_wave_takes_back_the_clusters_that_had_passed() {
    let mut world = World::new(two_waves(), &CLUSTERS);
    let good = world.release();
    world.report();
    world.complete();
    let bad = world.release();
    world.rejects.insert(("c".to_owned(), bad));
    world.until(50, |plan| plan.phase == RolloutPhase::RolledBack);
    assert!(world.pins().values().all(|pin| *pin == Some(good.as_str())), "{:?}", world.pins());
}

#[test]
fn with_pause_everyone_stays_where_they_are() {
    let on_failure = OnFailure { action: FailureAction::Pause, ..OnFailure::default() };
    let mut world = World::new(Rollout { on_failure, ..two_waves() }, &CLUSTERS);
    let good = world.release();
    world.report();
    world.complete();
    let bad = world.release();
    world.rejects.insert(("a".to_owned(), bad.clone()));
    let plan = world.until(50, |plan| plan.phase == RolloutPhase::Paused);
    assert_eq!(plan.pause.as_deref(), Some("RolloutFailed"));
    assert_eq!(world.pins()["a"], Some(bad.as_str()));
    assert_eq!(world.pins()["b"], Some(good.as_str()));
}

#[test]
fn a_new_retry_token_or_a_new_revision_lifts_the_quarantine() {
    for new_revision in [true, false] {
        let mut world = World::new(two_waves(), &CLUSTERS);
        world.release();
        world.report();
        world.complete();
        let bad = world.release();
        world.rejects.insert(("a".to_owned(), bad.clone()));
        world.until(50, |plan| plan.phase == RolloutPhase::RolledBack);
        world.rejects.clear();
        if new_revision {
            world.release();
        } else {
            world.intent.rollout.retry_token = Some("2".to_owned());
        }
        world.complete();
    }
}

#[test]
fn a_cluster_that_does_not_answer_holds_nobody_up() {
    let mut world = World::new(two_waves(), &CLUSTERS);
    let first = world.release();
    world.report();
    world.complete();
    world.down.insert("c".to_owned());
    world.until(20, |plan| plan.pins["c"].phase == MemberPhase::Unreachable);
    let second = world.release();
    let plan = world.complete();
    assert_eq!(plan.pins["c"].phase, MemberPhase::Unreachable);
    assert_eq!(plan.pins["c"].revision.as_deref(), Some(first.as_str()), "keeps what it has");
    assert_eq!(plan.pins["d"].revision.as_deref(), Some(second.as_str()));
    assert!(!plan.within_unreachable_budget, "one of four is more than 10%");
    assert_eq!(world.count(EventKind::ClusterUnreachable, "c"), 1);
    world.down.clear();
    world.complete();
    let plan = world.until(20, |plan| plan.pins["c"].phase == MemberPhase::Passed);
    assert_eq!(plan.pins["c"].revision.as_deref(), Some(second.as_str()), "takes what its wave passed");
    assert_eq!(world.count(EventKind::ClusterRecovered, "c"), 1);
}

#[test]
fn a_wave_that_nobody_reached_does_not_pass() {
    let mut world = World::new(two_waves(), &CLUSTERS);
    let first = world.release();
    world.report();
    world.complete();
    world.down.insert("a".to_owned());
    world.release();
    for _ in 0..60 {
        world.step();
    }
    assert_eq!(world.pins()["b"], Some(first.as_str()));
}

#[test]
fn unreachable_actions() {
    let world = |action| {
        let unreachable = Unreachable { action, ..Unreachable::default() };
        let mut world =
            World::new(Rollout { unreachable, ..Rollout::default() }, &[("east", ""), ("west", "")]);
        world.release();
        world.report();
        world.complete();
        world.down.insert("west".to_owned());
        world.release();
        world
    };
    assert_eq!(world(UnreachableAction::Skip).until(40, |plan| plan.complete).phase, RolloutPhase::Complete);
    assert_eq!(
        world(UnreachableAction::Block).until(40, |plan| plan.complete).phase,
        RolloutPhase::Progressing
    );
    let failed = world(UnreachableAction::Fail).until(40, |plan| !plan.quarantine.is_empty());
    assert_eq!(failed.quarantine[0].reason, "Unreachable");
}

#[test]
fn no_progress_within_the_deadline_is_a_failure() {
    let mut world =
        World::new(Rollout { progress_deadline: "5m".into(), ..Rollout::default() }, &[("east", "")]);
    let good = world.release();
    world.report();
    world.complete();
    let bad = world.release();
    world.hangs.insert(("east".to_owned(), bad));
    let plan = world.until(60, |plan| !plan.quarantine.is_empty());
    assert_eq!(plan.quarantine[0].reason, "ProgressDeadlineExceeded");
    assert!(plan.message.contains("0 acknowledged and 3 ready of 3 gateways"), "{}", plan.message);
    assert_eq!(world.pins()["east"], Some(good.as_str()));
}

#[test]
fn tolerated_failures_do_not_stop_the_wave() {
    let mut rollout = two_waves();
    rollout.waves[1].max_failures = Share::Count(1);
    let mut world = World::new(rollout, &CLUSTERS);
    let revision = world.release();
    world.rejects.insert(("c".to_owned(), revision.clone()));
    world.report();
    let plan = world.complete();
    assert_eq!(plan.pins["c"].phase, MemberPhase::Failed);
    assert_eq!(plan.pins["d"].phase, MemberPhase::Passed);
    assert_eq!(world.count(EventKind::ConfigRejected, "c"), 1);
}

#[test]
fn approval_is_bound_to_revision_and_wave() {
    let mut rollout = two_waves();
    rollout.waves[1].approval = Approval::Manual;
    let mut world = World::new(rollout, &CLUSTERS);
    world.release();
    world.report();
    let plan = world.until(20, |plan| plan.phase == RolloutPhase::AwaitingApproval);
    assert_eq!(plan.message, "annotate the fleet with gatefleet.dev/approve=r1/rest to open wave rest");
    world.intent.approval = Some("r0/rest".to_owned());
    assert_eq!(world.step().phase, RolloutPhase::AwaitingApproval);
    world.intent.approval = Some("r1/rest".to_owned());
    world.complete();
}

#[test]
fn the_users_pause_moves_nobody() {
    let mut world = World::new(Rollout { paused: true, ..two_waves() }, &CLUSTERS);
    world.release();
    world.report();
    let plan = world.until(5, |_| false);
    assert_eq!((plan.phase, plan.pause), (RolloutPhase::Paused, None));
    assert!(world.pins().values().all(Option::is_none));
    world.intent.rollout.paused = false;
    world.complete();
}

#[test]
fn a_newer_revision_takes_over_or_waits() {
    for (on_new_revision, expected) in [(OnNewRevision::Supersede, "r3"), (OnNewRevision::Queue, "r2")] {
        let mut world = World::new(Rollout { on_new_revision, ..two_waves() }, &CLUSTERS);
        world.release();
        world.report();
        world.complete();
        world.release();
        world.step();
        world.release();
        assert_eq!(world.step().target.as_deref(), Some(expected));
        world.complete();
        let plan = world.until(100, |plan| plan.complete && plan.target.as_deref() == Some("r3"));
        assert!(plan.complete);
    }
}

#[test]
fn a_late_cluster_gets_the_known_good_revision_at_once() {
    let mut world = World::new(two_waves(), &CLUSTERS[..3]);
    let good = world.release();
    world.report();
    world.complete();
    world.release();
    let mut late = World::new(Rollout::default(), &[("late", "rest")]).members;
    world.members.append(&mut late);
    let plan = world.step();
    assert_eq!(plan.pins["late"].revision.as_deref(), Some(good.as_str()));
    world.complete();
}

#[test]
fn a_paused_cluster_keeps_its_revision_and_nobody_waits_for_it() {
    let mut world = World::new(two_waves(), &CLUSTERS);
    let first = world.release();
    world.report();
    world.complete();
    world.members[2].paused = true;
    world.release();
    world.complete();
    assert_eq!(world.pins()["c"], Some(first.as_str()));
}

#[test]
fn at_most_max_unavailable_clusters_move_at_once() {
    let rollout = Rollout { max_unavailable_clusters: Some(Share::Count(1)), ..Rollout::default() };
    let mut world = World::new(rollout, &CLUSTERS);
    world.release();
    world.report();
    let plan = world.step();
    assert_eq!(plan.pins.values().filter(|pin| pin.revision.is_some()).count(), 1);
    assert!(plan.pins["a"].revision.is_some(), "in order of name");
}

#[test]
fn facts_of_another_revision_are_no_evidence() {
    let mut world = World::new(Rollout::default(), &[("east", "")]);
    world.release();
    world.report();
    world.complete();
    world.release();
    world.step();
    // The relay still reports the old revision: acknowledged and ready, but not for the target.
    let facts = world.facts.get_mut("east").unwrap();
    facts.observed_revision = Some("r1".to_owned());
    let plan = world.step();
    assert_eq!((plan.phase, plan.pins["east"].phase), (RolloutPhase::Progressing, MemberPhase::Applying));
}
