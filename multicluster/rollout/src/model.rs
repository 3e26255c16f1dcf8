// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What a plan is made from, and what it says.

use crds::gateway_fleet::{Quarantined, Rollout, RolloutPhase, WaveStatus};
use crds::selection::Labels;
use crds::{MemberPhase, Verdict};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// What the user wants, and what earlier plans left behind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Intent {
    /// `spec.rollout`.
    pub rollout: Rollout,
    /// The annotation `gatefleet.dev/approve`: `<revision>/<wave>`.
    pub approval: Option<String>,
    /// `status.quarantined`.
    pub quarantined: Vec<Quarantined>,
}

/// A FleetRevision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// Name of the FleetRevision.
    pub name: String,
    /// Position in history; the highest is the newest.
    pub number: i64,
    /// Content hash.
    pub hash: String,
    /// What became of it so far.
    pub verdict: Verdict,
}

/// A cluster of the fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Name of the FleetCluster.
    pub cluster: String,
    /// Labels of the FleetCluster.
    pub labels: Labels,
    /// Name of the revision that it is pinned to.
    pub pinned: Option<String>,
    /// Name of the revision that it passed last (`status.passedRevision`).
    pub passed: Option<String>,
    /// Name of the revision that it goes back to if the one that it passed fails elsewhere
    /// (`status.lastGoodRevision`).
    pub last_good: Option<String>,
    /// `status.phase` as the last plan left it; Events tell the difference.
    pub phase: Option<MemberPhase>,
    /// The FleetCluster or the member is paused: it keeps its pin and nobody waits for it.
    pub paused: bool,
}

/// What is known of a member, as it last reported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// When the cluster last answered.
    pub last_contact: Option<Timestamp>,
    /// The revision that everything below belongs to. Facts of another revision are no evidence.
    pub observed_revision: Option<String>,
    /// Since when the cluster is pinned to its revision.
    pub pinned_since: Option<Timestamp>,
    /// The objects of the revision are applied.
    pub applied: bool,
    /// The gateways of the cluster.
    pub gateways: Gateways,
    /// When the last acknowledgement of the revision came; the soak counts from here.
    pub last_ack: Option<Timestamp>,
    /// The first rejection of the revision.
    pub rejection: Option<Rejection>,
}

/// Counts of gateway pods. An unknown number asked for is no evidence of anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gateways {
    /// Asked for; `None` while unknown.
    pub desired: Option<usize>,
    /// Ready.
    pub ready: usize,
    /// Acknowledged the revision.
    pub acked: usize,
    /// Rejected it.
    pub nacked: usize,
}

/// What a gateway rejected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejection {
    /// The user's object, as `HTTPRoute shop/cart rule 3`; empty where unknown.
    pub source: String,
    /// What the gateway said.
    pub message: String,
}

/// What to do now.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What each cluster is pinned to, by name. A cluster without one has nothing to serve yet.
    pub pins: BTreeMap<String, Pin>,
    /// The revision that the rollout leads to.
    pub target: Option<String>,
    /// Every wave passed the target: it is known good from now on.
    pub complete: bool,
    /// Clusters that do not answer are within `unreachable.max`; a fleet is Ready when it is also complete.
    pub within_unreachable_budget: bool,
    /// What the rollout is doing.
    pub phase: RolloutPhase,
    /// The wave that is open.
    pub wave: Option<String>,
    /// All waves, in order.
    pub waves: Vec<WaveStatus>,
    /// The rollout, in words: object and remedy where something is wrong.
    pub message: String,
    /// The controller's own pause, by reason.
    pub pause: Option<String>,
    /// Revisions to quarantine, in addition to those that are.
    pub quarantine: Vec<Quarantined>,
    /// When to plan again although nothing changed.
    pub requeue_after: Option<Duration>,
    /// Transitions against the phases in the members: each is told once, if the phases are written back.
    pub events: Vec<Event>,
}

/// What one cluster should do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Name of the revision.
    pub revision: Option<String>,
    /// The wave that the cluster belongs to.
    pub wave: String,
    /// Where it is.
    pub phase: MemberPhase,
    /// For `status.passedRevision`.
    pub passed: Option<String>,
    /// For `status.lastGoodRevision`.
    pub last_good: Option<String>,
    /// Why it is where it is.
    pub message: String,
}

/// A transition worth telling.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// Where: a cluster or a wave; empty for the whole fleet.
    pub subject: String,
    /// The revision that it is about.
    pub revision: String,
    /// In words.
    pub message: String,
}

/// Kinds of transitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventKind {
    /// A wave was opened.
    WaveStarted,
    /// A cluster passed the revision.
    ClusterUpdated,
    /// A gateway rejected the revision.
    ConfigRejected,
    /// A cluster failed for another reason.
    GateFailed,
    /// Clusters go back.
    RolledBack,
    /// A wave waits for a person.
    AwaitingApproval,
    /// A cluster stopped answering.
    ClusterUnreachable,
    /// A cluster answers again.
    ClusterRecovered,
}

impl EventKind {
    /// The word as it stands in the Event's reason.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WaveStarted => "WaveStarted",
            Self::ClusterUpdated => "ClusterUpdated",
            Self::ConfigRejected => "ConfigRejected",
            Self::GateFailed => "GateFailed",
            Self::RolledBack => "RolledBack",
            Self::AwaitingApproval => "AwaitingApproval",
            Self::ClusterUnreachable => "ClusterUnreachable",
            Self::ClusterRecovered => "ClusterRecovered",
        }
    }

    /// Whether the Event is a warning.
    #[must_use]
    pub fn is_warning(self) -> bool {
        matches!(self, Self::ConfigRejected | Self::GateFailed | Self::RolledBack | Self::ClusterUnreachable)
    }
}
