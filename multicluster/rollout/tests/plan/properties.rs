// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Whatever happens, the promises hold: [`World::step`] checks every plan.

use crate::world::{World, wave};
use crds::Share;
use crds::gateway_fleet::{Rollout, RolloutPhase, Wave};
use proptest::prelude::*;

/// What happens between two plans.
#[derive(Clone, Debug)]
enum Happening {
    Nothing,
    Release,
    /// A cluster stops answering, or answers again.
    Toggle(usize),
    /// The newest revision is rejected by a cluster.
    Reject(usize),
    /// The newest revision hangs in a cluster.
    Hang(usize),
    PauseOrResume,
    Retry,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        12 => Just(Happening::Nothing),
        3 => Just(Happening::Release),
        2 => (0..12usize).prop_map(Happening::Toggle),
        2 => (0..12usize).prop_map(Happening::Reject),
        1 => (0..12usize).prop_map(Happening::Hang),
        1 => Just(Happening::PauseOrResume),
        1 => Just(Happening::Retry),
    ]
}

fn rollout() -> impl Strategy<Value = Rollout> {
    let one =
        (prop_oneof![(1..4i32).prop_map(Share::Count), (1..=100u32).prop_map(Share::percent)], 0..60u32);
    (prop::collection::vec(one, 0..4), prop::option::of(1..3i32)).prop_map(|(waves, limit)| {
        let mut waves: Vec<Wave> = waves
            .into_iter()
            .enumerate()
            .map(|(index, (concurrency, soak))| wave(&format!("w{index}"), concurrency, &format!("{soak}s")))
            .collect();
        if waves.len() == 3 {
            waves.push(Wave { name: "rest".to_owned(), ..Wave::default() });
        }
        Rollout { waves, max_unavailable_clusters: limit.map(Share::Count), ..Rollout::default() }
    })
}

fn world() -> impl Strategy<Value = World> {
    (rollout(), prop::collection::vec(0..5usize, 1..12)).prop_map(|(rollout, labels)| {
        let named: Vec<(String, String)> = labels
            .iter()
            .enumerate()
            .map(|(index, label)| (format!("c{index:02}"), format!("w{label}")))
            .collect();
        let clusters: Vec<(&str, &str)> =
            named.iter().map(|(name, label)| (name.as_str(), label.as_str())).collect();
        World::new(rollout, &clusters)
    })
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:?}", self.intent.rollout.waves, self.members)
    }
}

fn happen(world: &mut World, happening: &Happening) {
    let cluster = |index: usize, world: &World| world.members[index % world.members.len()].cluster.clone();
    let newest = world.revisions.last().map(|revision| revision.name.clone()).unwrap_or_default();
    match happening {
        Happening::Nothing => {}
        Happening::Release => {
            world.release();
        }
        Happening::Toggle(index) => {
            let cluster = cluster(*index, world);
            if !world.down.remove(&cluster) {
                world.down.insert(cluster);
            }
        }
        Happening::Reject(index) => {
            let key = (cluster(*index, world), newest);
            // A revision that a cluster acknowledged stays acknowledged: rejection is decided at its first sight.
            if !world.acknowledged.contains(&key) {
                world.rejects.insert(key);
            }
        }
        Happening::Hang(index) => {
            let key = (cluster(*index, world), newest);
            if !world.acknowledged.contains(&key) {
                world.hangs.insert(key);
            }
        }
        Happening::PauseOrResume => world.intent.rollout.paused = !world.intent.rollout.paused,
        Happening::Retry => world.intent.rollout.retry_token = Some(world.now.to_string()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, ..ProptestConfig::default() })]

    /// No unconfirmed revision reaches a later wave, no pin is lost, nothing quarantined is handed out; and once
    /// everything is well again, the newest revision gets everywhere.
    #[test]
    fn promises_hold_and_it_converges(mut world in world(), story in prop::collection::vec(happening(), 1..60)) {
        world.release();
        world.report();
        for happening in &story {
            happen(&mut world, happening);
            world.step();
        }
        world.down.clear();
        world.rejects.clear();
        world.hangs.clear();
        world.intent.rollout.paused = false;
        world.intent.rollout.retry_token = Some("at last".to_owned());
        world.report();
        let newest = world.release();
        let plan = world.until(600, |plan| plan.phase == RolloutPhase::Complete && plan.target.as_ref() == Some(&newest));
        prop_assert_eq!(plan.phase, RolloutPhase::Complete, "{}", plan.message);
        prop_assert!(world.pins().values().all(|pin| *pin == Some(newest.as_str())), "{:?}", world.pins());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// A revision that some cluster of the first wave rejects never reaches another wave.
    #[test]
    fn a_rejected_revision_stays_in_its_wave(mut world in world(), steps in 1..80usize) {
        world.release();
        world.report();
        let plan = world.complete();
        let bad = world.release();
        let first = plan.waves.iter().find(|wave| wave.clusters > 0).map(|wave| wave.name.clone());
        let (inside, outside): (Vec<_>, Vec<_>) = plan.pins.iter().partition(|(_, pin)| Some(&pin.wave) == first.as_ref());
        world.rejects.extend(inside.iter().map(|(cluster, _)| ((*cluster).clone(), bad.clone())));
        let reached: Vec<String> = outside.into_iter().map(|(cluster, _)| cluster.clone()).collect();
        for _ in 0..steps {
            let plan = world.step();
            for cluster in &reached {
                prop_assert_ne!(plan.pins[cluster].revision.as_ref(), Some(&bad));
            }
        }
    }

    /// Planning twice from the same facts says the same.
    #[test]
    fn it_is_a_function(mut world in world(), steps in 0..20usize) {
        world.release();
        world.report();
        for _ in 0..steps {
            world.step();
        }
        let plan = || multicluster_rollout::plan(&world.intent, &world.revisions, &world.members, &world.facts, world.now);
        prop_assert_eq!(plan(), plan());
    }
}
