// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The seam between the hub and what runs gateways: an API server, or this machine.

use crate::{Inventory, ObjectKey};
use async_trait::async_trait;
use crds::Drift;
use futures::stream::BoxStream;
use multicluster_manifests::{Prepared, Resources};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

/// One fleet in one cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemberKey {
    /// Namespace of the GatewayFleet on the hub.
    pub fleet_namespace: String,
    /// Name of the GatewayFleet.
    pub fleet: String,
    /// Name of the FleetCluster.
    pub cluster: String,
}

/// Who writes: an older epoch, or another hub, is turned away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// Identity of the hub, the same for all its replicas.
    pub hub: String,
    /// Goes up with every change of leader.
    pub epoch: i64,
}

/// What is to be there.
#[derive(Clone, Debug)]
pub struct Desired {
    /// The objects.
    pub resources: Resources<Prepared>,
    /// What to do about fields and objects of others.
    pub drift: crds::gateway_fleet::Drift,
    /// Who writes.
    pub fence: Fence,
}

/// What became of one object.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Was not there.
    Created,
    /// The fleet's wish changed.
    Updated,
    /// As it was.
    Unchanged,
    /// Someone else had changed it; set back. What differed, as far as it is known.
    Corrected(Vec<Drift>),
    /// Someone else changed it; left alone, as `drift.mode` says.
    Drifted(Vec<Drift>),
    /// Another manager or owner holds it; left alone. With the object, the field and the remedy.
    Conflict(String),
    /// The cluster refused it. With the object, the field and the remedy.
    Failed(String),
}

impl Outcome {
    /// Whether the object is as we want it.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        matches!(self, Self::Created | Self::Updated | Self::Unchanged | Self::Corrected(_))
    }
}

/// What became of all objects.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Applied {
    /// By object, in the order of application.
    pub objects: Vec<(ObjectKey, Outcome)>,
    /// Objects that went, as nothing asks for them any more.
    pub pruned: Vec<ObjectKey>,
    /// What we manage there now.
    pub inventory: Inventory,
}

impl Applied {
    /// Conflicts and failures, as text for a condition.
    #[must_use]
    pub fn problems(&self) -> Vec<&str> {
        let mut found = Vec::new();
        for (_, outcome) in &self.objects {
            if let Outcome::Conflict(text) | Outcome::Failed(text) = outcome {
                found.push(text.as_str());
            }
        }
        found
    }

    /// Whether another owner stands in the way somewhere.
    #[must_use]
    pub fn has_conflict(&self) -> bool {
        self.objects.iter().any(|(_, outcome)| matches!(outcome, Outcome::Conflict(_)))
    }

    /// Fields that someone else changed and that stay so, at most 20.
    #[must_use]
    pub fn drift(&self) -> Vec<Drift> {
        let mut found = Vec::new();
        for (_, outcome) in &self.objects {
            if let Outcome::Drifted(drift) = outcome {
                found.extend(drift.iter().cloned());
            }
        }
        found.truncate(20);
        found
    }

    /// Objects that were set back.
    #[must_use]
    pub fn corrected(&self) -> Vec<&ObjectKey> {
        let corrected = |outcome: &Outcome| matches!(outcome, Outcome::Corrected(_));
        self.objects.iter().filter(|(_, outcome)| corrected(outcome)).map(|(key, _)| key).collect()
    }
}

/// What a workload looks like from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkloadState {
    /// Replicas asked for.
    pub desired: i32,
    /// Ready ones.
    pub ready: i32,
    /// Ones of the newest template.
    pub updated: i32,
    /// The newest template is what was last applied.
    pub current: bool,
}

impl WorkloadState {
    /// Whether all replicas are ready and new.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.current && self.ready >= self.desired && self.updated >= self.desired
    }
}

/// Something that keeps a workload from being ready.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WorkloadProblem {
    /// One word.
    pub reason: ProblemReason,
    /// The object, the field, the cause, the remedy.
    pub message: String,
}

/// Why a workload is not ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProblemReason {
    /// An image cannot be pulled.
    ImagePullFailed,
    /// A pod cannot be made, placed or started.
    PodsNotReady,
    /// The load balancer gave no address yet.
    AddressPending,
}

/// What runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Gateways by namespace and name.
    pub gateways: BTreeMap<(String, String), WorkloadState>,
    /// The relay, where the cluster has one of its own.
    pub relay: Option<WorkloadState>,
    /// Addresses by gateway.
    pub addresses: BTreeMap<(String, String), BTreeSet<String>>,
    /// What stands in the way, each once.
    pub problems: BTreeSet<WorkloadProblem>,
}

/// What a watched object's change asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Look again.
    Observe,
    /// Someone else changed or removed what is ours: apply again.
    Repair,
}

/// Why a backend could not do its work as a whole.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The cluster does not answer.
    #[error("the cluster does not answer: {what}")]
    Unavailable {
        /// What was called.
        what: &'static str,
        /// The error; none: it took too long.
        #[source]
        source: Option<Box<kube::Error>>,
    },
    /// The cluster refused a call that concerns no single object of the fleet.
    #[error("{what} was refused")]
    Refused {
        /// What was called.
        what: &'static str,
        /// The answer.
        #[source]
        source: Box<kube::Error>,
    },
    /// Another hub, or a newer leader, owns the member.
    #[error("ConfigMap {namespace}/{name}: {owner}; {remedy}")]
    Fenced {
        /// Namespace of the anchor.
        namespace: String,
        /// Name of the anchor.
        name: String,
        /// Who owns it.
        owner: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A file or a process of this machine.
    #[error("{what}")]
    Host {
        /// What was done.
        what: String,
        /// The error.
        #[source]
        source: std::io::Error,
    },
}

impl ApplyError {
    /// Whether it tells of the cluster's health.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// In one line, with its causes.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let line = error.to_string();
            if !text.contains(&line) {
                text = format!("{text}: {line}");
            }
            cause = error.source();
        }
        text
    }
}

/// What runs the gateways of one fleet in one cluster.
#[async_trait]
pub trait Backend: Send + Sync + Debug {
    /// Makes what is there what is wanted, and removes what an earlier call left and nothing asks for now. One object that is
    /// refused does not stop the others.
    async fn apply(&self, desired: &Desired) -> Result<Applied, ApplyError>;

    /// Looks at what runs.
    async fn observe(&self) -> Result<Observed, ApplyError>;

    /// Removes everything that we manage there. Nothing left: true; false: it is on its way, ask again.
    async fn delete_all(&self, fence: &Fence) -> Result<bool, ApplyError>;

    /// Tells when to look or to repair. Ends when the cluster's watches cannot go on with this client.
    fn changes(&self) -> BoxStream<'static, Change>;
}
