// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! How a change reaches the clusters of a fleet.

use super::Gates;
use crate::{Share, Span};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a change reaches the clusters of a fleet.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// Whether changes are made or only shown.
    #[serde(default)]
    pub mode: RolloutMode,
    /// Stops opening waves and moving clusters. The user's pause; the controller's own pauses are in status.
    #[serde(default)]
    pub paused: bool,
    /// Groups of clusters, in order. A cluster belongs to the first that takes it. Absent: one wave with all clusters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 31))]
    #[x_kube(
        validation = Rule::new("self.all(w, self.exists_one(v, v.name == w.name))").message("waves have unique names"),
        validation = Rule::new("self.all(w, has(w.selector) || has(w.names) || w.name == self[size(self) - 1].name)")
            .message("a wave without selector and names takes every cluster, so it must be the last")
    )]
    pub waves: Vec<Wave>,
    /// How a change reaches the gateways of one cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_cluster: Option<WithinCluster>,
    /// Strategies by class of change.
    #[serde(default)]
    pub lanes: Lanes,
    /// Clusters of the fleet that may be updating or unready at once. Absent: only the waves limit them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "one_or_more::schema")]
    pub max_unavailable_clusters: Option<Share>,
    /// What happens with clusters whose API server does not answer.
    #[serde(default)]
    pub unreachable: Unreachable,
    /// A cluster that made no progress for this long has failed.
    #[serde(default = "default_progress_deadline")]
    pub progress_deadline: Span,
    /// Where a change is prepared (compiled, plugins fetched, certificates found) before the first wave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preflight: Option<Preflight>,
    /// Evidence that a wave needs.
    #[serde(default)]
    pub gates: Gates,
    /// What happens when a cluster failed.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// What happens when a newer revision appears during a rollout.
    #[serde(default)]
    pub on_new_revision: OnNewRevision,
    /// Any new value lifts the quarantine of failed revisions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub retry_token: Option<String>,
    /// Revisions that are kept besides those in use.
    #[serde(default = "default_history")]
    #[schemars(range(min = 3, max = 100))]
    pub revision_history_limit: i32,
}

/// A group of clusters that change together.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wave {
    /// Unique within the rollout.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Labels of FleetClusters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Names of FleetClusters; OR-ed with the selector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000), inner(length(min = 1, max = 63)))]
    pub names: Option<Vec<String>>,
    /// Clusters of the wave that change at once.
    #[serde(default = "all")]
    #[schemars(schema_with = "one_or_more::schema")]
    pub max_concurrency: Share,
    /// How long a cluster must show good evidence, from its last acknowledgement on.
    #[serde(default = "no_time")]
    pub soak: Span,
    /// Clusters that may fail before the rollout stops.
    #[serde(default = "none")]
    pub max_failures: Share,
    /// Whether the wave waits for a person.
    #[serde(default)]
    pub approval: Approval,
}

/// How a change reaches the gateways of one cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WithinCluster {
    /// Pods that take the change first.
    #[serde(default = "default_canary_pods")]
    pub canary_pods: Share,
    /// How long they are watched.
    #[serde(default = "default_pod_soak")]
    pub soak: Span,
    /// Without confirmation for this long the relay goes back by itself.
    #[serde(default = "default_confirm_within")]
    pub confirm_within: Span,
}

/// Strategies by class of change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Lanes {
    /// Image, resources, listeners, service.
    #[serde(default)]
    pub workload: LaneStrategy,
    /// Plugins.
    #[serde(default)]
    pub plugins: LaneStrategy,
    /// Routes.
    #[serde(default)]
    pub routes: LaneStrategy,
    /// Certificates; they never wait for a wave.
    #[serde(default = "immediate")]
    pub secrets: LaneStrategy,
}

/// The strategy of one class of change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LaneStrategy {
    /// By wave or everywhere at once.
    #[serde(default)]
    pub strategy: StrategyKind,
    /// Share of the waves' soak that this class needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub soak_percent: Option<i32>,
    /// Changes within this time make one revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_window: Option<Span>,
}

/// What happens with clusters whose API server does not answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Unreachable {
    /// Silence of this length makes a cluster unreachable.
    #[serde(default = "default_unreachable_after")]
    pub after: Span,
    /// What the rollout does about them.
    #[serde(default)]
    pub action: UnreachableAction,
    /// Unreachable clusters that a finished rollout may leave out.
    #[serde(default = "default_unreachable_max")]
    pub max: Share,
}

/// What happens when a cluster failed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OnFailure {
    /// Go back or stand still.
    #[serde(default)]
    pub action: FailureAction,
    /// Which clusters go back.
    #[serde(default)]
    pub scope: FailureScope,
}

macro_rules! choices {
    ($($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident),+ $(,)? })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        pub enum $name { $($(#[$variant_doc])* $variant),+ }
    )+};
}

choices! {
    /// Whether changes are made or only shown.
    RolloutMode {
        /// Changes are made.
        #[default]
        Execute,
        /// The difference is stored in the FleetRevision, nothing is touched.
        DryRun,
    }
    /// Whether a wave waits for a person.
    Approval {
        /// It opens by itself.
        #[default]
        Automatic,
        /// It waits for the annotation `gatefleet.dev/approve: <revision>/<wave>`.
        Manual,
    }
    /// By wave or everywhere at once.
    StrategyKind {
        /// Wave by wave.
        #[default]
        Waves,
        /// Everywhere at once.
        Immediate,
    }
    /// What a rollout does about unreachable clusters.
    UnreachableAction {
        /// Goes on without them, within their own budget.
        #[default]
        Skip,
        /// Waits for them.
        Block,
        /// Fails.
        Fail,
    }
    /// Where a change is prepared before the first wave.
    Preflight {
        /// In every cluster.
        #[default]
        AllClusters,
        /// In the clusters of the wave that opens.
        Wave,
        /// Nowhere.
        Off,
    }
    /// What happens when a cluster failed.
    FailureAction {
        /// Touched clusters go back to their own last good revision.
        #[default]
        Rollback,
        /// The rollout stops where it is; gateways keep their last good configuration.
        Pause,
    }
    /// Which clusters go back.
    FailureScope {
        /// All that took the revision.
        #[default]
        Touched,
        /// Those that failed.
        Failed,
    }
    /// What happens when a newer revision appears during a rollout.
    OnNewRevision {
        /// It takes over.
        #[default]
        Supersede,
        /// It waits.
        Queue,
    }
}

mod one_or_more {
    //! A [`Share`] that allows progress: at least 1, or 1 % to 100 %.
    use schemars::{Schema, SchemaGenerator, json_schema};

    pub(super) fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "minimum": 1,
            "pattern": "^([1-9][0-9]?|100)%$"
        })
    }
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            mode: RolloutMode::default(),
            paused: false,
            waves: Vec::new(),
            within_cluster: None,
            lanes: Lanes::default(),
            max_unavailable_clusters: None,
            unreachable: Unreachable::default(),
            progress_deadline: default_progress_deadline(),
            preflight: None,
            gates: Gates::default(),
            on_failure: OnFailure::default(),
            on_new_revision: OnNewRevision::default(),
            retry_token: None,
            revision_history_limit: default_history(),
        }
    }
}

impl Default for Wave {
    fn default() -> Self {
        Self {
            name: "all".to_owned(),
            selector: None,
            names: None,
            max_concurrency: all(),
            soak: no_time(),
            max_failures: none(),
            approval: Approval::default(),
        }
    }
}

impl Default for WithinCluster {
    fn default() -> Self {
        Self {
            canary_pods: default_canary_pods(),
            soak: default_pod_soak(),
            confirm_within: default_confirm_within(),
        }
    }
}

impl Default for Lanes {
    fn default() -> Self {
        let waves = LaneStrategy::default();
        Self { workload: waves.clone(), plugins: waves.clone(), routes: waves, secrets: immediate() }
    }
}

impl Default for Unreachable {
    fn default() -> Self {
        Self {
            after: default_unreachable_after(),
            action: UnreachableAction::default(),
            max: default_unreachable_max(),
        }
    }
}

fn immediate() -> LaneStrategy {
    LaneStrategy { strategy: StrategyKind::Immediate, ..LaneStrategy::default() }
}

fn all() -> Share {
    Share::percent(100)
}

fn none() -> Share {
    Share::Count(0)
}

fn no_time() -> Span {
    "0s".into()
}

fn default_progress_deadline() -> Span {
    "20m".into()
}

fn default_history() -> i32 {
    10
}

fn default_canary_pods() -> Share {
    Share::percent(10)
}

fn default_pod_soak() -> Span {
    "2m".into()
}

fn default_confirm_within() -> Span {
    "5m".into()
}

fn default_unreachable_after() -> Span {
    "2m".into()
}

fn default_unreachable_max() -> Share {
    Share::percent(10)
}
