// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Everything that can happen to a small fleet, in every order: three clusters in three waves, a second revision, a cluster that rejects it,
//! one cluster at a time that falls silent and comes back, a pause, a retry. Every plan on the way keeps the promises, and from every state the fleet still gets
//! where it should. The same search finds faults that are put into the plan.

use crate::world::{STEP, World, wave};
use crds::Share;
use crds::gateway_fleet::{Rollout, RolloutPhase};
use jiff::Timestamp;
use multicluster_rollout::{Facts, Intent, Member, Plan, Revision, plan};
use std::collections::{BTreeMap, HashSet, VecDeque};

/// Revisions after the first one.
const RELEASES: usize = 1;
/// Steps in which a fleet where all is well again has to reach the newest revision.
const PATIENCE: usize = 60;
/// More states than this are more than a small fleet has.
const LIMIT: usize = 150_000;
/// One state in so many is followed to its end.
const FOLLOWED: usize = 25;

/// What may happen between two plans; at most one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Happening {
    Nothing,
    Release,
    /// A cluster falls silent, or comes back.
    Toggle(usize),
    /// The newest revision is one that a cluster rejects.
    Reject(usize),
    Retry,
    PauseOrResume,
}

fn fleet(planner: crate::world::Planner) -> World {
    let waves = ["one", "two", "three"].map(|name| wave(name, Share::Count(1), "10s"));
    let mut rollout = Rollout { waves: waves.into(), ..Rollout::default() };
    rollout.unreachable.after = "20s".into();
    rollout.unreachable.max = Share::Count(1);
    let mut world = World::new(rollout, &[("a", "one"), ("b", "two"), ("c", "three")]);
    world.planner = planner;
    world.release();
    world.report();
    world
}

fn possible(world: &World) -> Vec<Happening> {
    let mut all = vec![Happening::Nothing];
    if world.down.is_empty() {
        all.push(Happening::PauseOrResume);
    }
    if world.revisions.len() <= RELEASES {
        all.push(Happening::Release);
    }
    if world.intent.rollout.retry_token.is_none() && !world.intent.quarantined.is_empty() {
        all.push(Happening::Retry);
    }
    for (index, member) in world.members.iter().enumerate() {
        if world.down.is_empty() || world.down.contains(&member.cluster) {
            all.push(Happening::Toggle(index));
        }
        let newest = world.revisions.last().unwrap().name.clone();
        let key = (member.cluster.clone(), newest);
        if world.rejects.is_empty() && !world.acknowledged.contains(&key) {
            all.push(Happening::Reject(index));
        }
    }
    all
}

fn happen(world: &mut World, happening: Happening) {
    match happening {
        Happening::Nothing => {}
        Happening::Release => {
            world.release();
        }
        Happening::Toggle(index) => {
            let cluster = world.members[index].cluster.clone();
            if !world.down.remove(&cluster) {
                world.down.insert(cluster);
            }
        }
        Happening::Reject(index) => {
            let newest = world.revisions.last().unwrap().name.clone();
            world.rejects.insert((world.members[index].cluster.clone(), newest));
        }
        Happening::Retry => world.intent.rollout.retry_token = Some("again".to_owned()),
        Happening::PauseOrResume => world.intent.rollout.paused = !world.intent.rollout.paused,
    }
}

/// What tells two states apart. Times count as ages, and old is old.
fn key(world: &World) -> String {
    let age = |at: Option<Timestamp>| at.map(|at| (world.now.duration_since(at).as_secs() / 10).min(2));
    let facts: Vec<_> = world
        .facts
        .iter()
        .map(|(name, facts)| {
            // No deadline passes: it is far away.
            let times = [facts.last_contact, facts.last_ack].map(age);
            (name, times, &facts.observed_revision, facts.applied, facts.gateways)
        })
        .collect();
    let members: Vec<_> = world
        .members
        .iter()
        .map(|member| (&member.pinned, &member.passed, &member.last_good, member.phase))
        .collect();
    let verdicts: Vec<_> = world.revisions.iter().map(|revision| revision.verdict).collect();
    let quarantined: Vec<_> =
        world.intent.quarantined.iter().map(|entry| (&entry.revision, &entry.retry_token)).collect();
    let intent = (world.intent.rollout.paused, &world.intent.rollout.retry_token, quarantined);
    format!(
        "{facts:?}{members:?}{verdicts:?}{intent:?}{:?}{:?}{:?}",
        world.down, world.rejects, world.acknowledged
    )
}

/// What a search found.
struct Found {
    states: usize,
    followed: usize,
    /// A broken promise, with what led to it.
    broken: Option<(String, Vec<Happening>)>,
}

/// Goes through all states, the near ones first.
fn explore(start: World, limit: usize) -> Found {
    let mut seen = HashSet::from([key(&start)]);
    let mut queue = VecDeque::from([(start, Vec::new())]);
    let mut found = Found { states: 0, followed: 0, broken: None };
    while let Some((world, story)) = queue.pop_front() {
        found.states += 1;
        assert!(found.states <= limit, "more than {limit} states");
        if found.states.is_multiple_of(FOLLOWED) {
            found.followed += 1;
            if let Err(broken) = ends_well(world.clone()) {
                found.broken = Some((broken, story));
                return found;
            }
        }
        for happening in possible(&world) {
            let mut next = world.clone();
            happen(&mut next, happening);
            let mut story = story.clone();
            story.push(happening);
            if let Err(broken) = next.try_step() {
                found.broken = Some((broken, story));
                return found;
            }
            next.events.clear();
            if seen.insert(key(&next)) {
                queue.push_back((next, story));
            }
        }
    }
    found
}

/// All is well from now on, and somebody asks for another try: the newest revision gets everywhere.
fn ends_well(mut world: World) -> Result<(), String> {
    world.down.clear();
    world.rejects.clear();
    world.intent.rollout.paused = false;
    world.intent.rollout.retry_token = Some("at last".to_owned());
    world.report();
    let newest = world.revisions.last().unwrap().name.clone();
    for _ in 0..PATIENCE {
        let plan = world.try_step()?;
        let everywhere = world.members.iter().all(|member| member.pinned.as_ref() == Some(&newest));
        if everywhere && plan.phase == RolloutPhase::Complete {
            return Ok(());
        }
    }
    Err(format!("{newest} is not everywhere after {} s", PATIENCE as u64 * STEP.as_secs()))
}

#[test]
fn a_small_fleet_keeps_its_promises_in_every_order_of_events() {
    let found = explore(fleet(plan), LIMIT);
    println!("{} states, {} followed to their end", found.states, found.followed);
    assert!(found.broken.is_none(), "{:?}", found.broken);
    assert!(found.states > 10_000, "only {} states: the search does not search", found.states);
}

/// Takes whatever a cluster reports as evidence for what it is pinned to.
fn believes_old_facts(
    intent: &Intent,
    revisions: &[Revision],
    members: &[Member],
    facts: &BTreeMap<String, Facts>,
    now: Timestamp,
) -> Plan {
    let mut facts = facts.clone();
    for member in members {
        if let Some(facts) = facts.get_mut(&member.cluster) {
            facts.observed_revision.clone_from(&member.pinned);
        }
    }
    plan(intent, revisions, members, &facts, now)
}

/// Forgets what failed.
fn forgets_quarantine(
    intent: &Intent,
    revisions: &[Revision],
    members: &[Member],
    facts: &BTreeMap<String, Facts>,
    now: Timestamp,
) -> Plan {
    let intent = Intent { quarantined: Vec::new(), ..intent.clone() };
    plan(&intent, revisions, members, facts, now)
}

/// Counts a cluster that does not answer as one that does.
fn trusts_silence(
    intent: &Intent,
    revisions: &[Revision],
    members: &[Member],
    facts: &BTreeMap<String, Facts>,
    now: Timestamp,
) -> Plan {
    let mut facts = facts.clone();
    facts.values_mut().for_each(|facts| facts.last_contact = Some(now));
    plan(intent, revisions, members, &facts, now)
}

/// Lets a cluster lose its pin when a rollout fails.
fn drops_pins(
    intent: &Intent,
    revisions: &[Revision],
    members: &[Member],
    facts: &BTreeMap<String, Facts>,
    now: Timestamp,
) -> Plan {
    let mut plan = plan(intent, revisions, members, facts, now);
    if !plan.quarantine.is_empty() {
        plan.pins.values_mut().for_each(|pin| pin.revision = None);
    }
    plan
}

/// Calls it complete, and never moves the last cluster.
fn stops_short(
    intent: &Intent,
    revisions: &[Revision],
    members: &[Member],
    facts: &BTreeMap<String, Facts>,
    now: Timestamp,
) -> Plan {
    let mut plan = plan(intent, revisions, members, facts, now);
    if let (Some(pin), Some(last)) =
        (plan.pins.get_mut("c"), members.iter().find(|member| member.cluster == "c"))
        && last.pinned.is_some()
    {
        pin.revision.clone_from(&last.pinned);
    }
    plan
}

#[test]
fn faults_in_the_plan_are_found() {
    let faults: [(&str, crate::world::Planner, &str); 5] = [
        ("old facts are believed", believes_old_facts, "confirmed"),
        ("quarantine is forgotten", forgets_quarantine, "quarantined"),
        ("silence is trusted", trusts_silence, "while unreachable"),
        ("pins are dropped", drops_pins, "lost its pin"),
        ("the last cluster is left behind", stops_short, "is not everywhere"),
    ];
    for (name, planner, expected) in faults {
        let found = explore(fleet(planner), LIMIT);
        let (broken, story) =
            found.broken.unwrap_or_else(|| panic!("{name}: nothing found in {} states", found.states));
        assert!(broken.contains(expected), "{name}: {broken} after {story:?}");
    }
}
