// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Conditions: their types and reasons, and setting them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use std::fmt;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant),+ }

        impl $name {
            /// The word as it stands in the API.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant)),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// Types of conditions of our kinds.
    ConditionType {
        /// Fleet: every reachable member passed the desired revision, and unreachable ones are within their budget.
        /// Cluster and member: nothing stands in the way.
        Ready,
        /// Fleet: every reachable member serves some good revision.
        Available,
        /// Work is going on (kstatus: InProgress). Present only when True, never beside Stalled.
        Reconciling,
        /// Nothing will change without a person (kstatus: Failed). Present only when True, never beside Reconciling.
        Stalled,
        /// Fields of the spec have no effect in this version. Present only when True.
        FieldsNotHonoured,
        /// Overrides of the fleet merge to a valid template. Present only when False.
        OverridesValid,
        /// The cluster's API server answers.
        Reachable,
        /// The cluster's credentials allow what fleets need.
        Authorized,
        /// Member: its objects are as we want them.
        Applied,
        /// Member: its gateways serve the configuration that they are pinned to.
        ConfigAcked,
        /// Member: nobody else changed what is ours.
        DriftFree,
        /// Member: the cluster has every Service that the routes send requests to.
        BackendsFound,
    }
}

words! {
    /// Reasons in conditions of our kinds.
    Reason {
        /// All clusters passed.
        RolledOut,
        /// All reachable clusters passed; some are unreachable.
        RolledOutExceptUnreachable,
        /// The rollout is going on.
        Progressing,
        /// The rollout waits for the user's `paused: false`.
        Paused,
        /// The rollout waits for a person's approval.
        AwaitingApproval,
        /// The rollout failed and touched clusters went back.
        RolledBack,
        /// The rollout failed and stands still.
        RolloutFailed,
        /// The desired revision failed before and is not tried again.
        Quarantined,
        /// More clusters would leave at once than `maxShrink` allows.
        ShrinkGuard,
        /// No cluster is selected.
        NoClusters,
        /// A name in the spec has no FleetCluster.
        UnknownCluster,
        /// Some cluster serves no good revision.
        NotServing,
        /// Every reachable cluster serves a good revision.
        Serving,
        /// An override merges to an invalid template.
        OverrideInvalid,
        /// Set fields have no effect in this version.
        NotYetImplemented,
        /// An object that the spec names is missing.
        ReferenceNotFound,
        /// The cluster answers.
        Connected,
        /// The cluster does not answer.
        Unreachable,
        /// The cluster's name or address cannot be resolved or connected to.
        ConnectionFailed,
        /// The cluster did not answer in time.
        TimedOut,
        /// The cluster's certificate is not trusted.
        TlsFailed,
        /// The credentials are refused.
        Unauthorized,
        /// The credentials lack permissions.
        PermissionsMissing,
        /// The credentials allow what fleets need.
        PermissionsGranted,
        /// The Secret with the credentials is missing.
        SecretNotFound,
        /// The Secret holds no usable credentials.
        CredentialsInvalid,
        /// The credentials use something that is not allowed (exec, files, insecure).
        CredentialsForbidden,
        /// Another FleetCluster is the same cluster.
        DuplicateCluster,
        /// The user paused the cluster.
        ClusterPaused,
        /// Objects are as we want them.
        ObjectsApplied,
        /// Objects could not be applied.
        ApplyFailed,
        /// Another manager owns fields of ours.
        Conflict,
        /// Another hub or a newer leader owns the cluster's objects.
        ForeignOwner,
        /// Pods are not ready yet.
        PodsNotReady,
        /// An image cannot be pulled.
        ImagePullFailed,
        /// The load balancer gave no address yet.
        AddressPending,
        /// All gateways serve the configuration.
        Acked,
        /// Gateways have not answered yet.
        AwaitingAck,
        /// A gateway rejected the configuration.
        ConfigRejected,
        /// No gateway is connected.
        NoGateways,
        /// Nobody changed what is ours.
        NoDrift,
        /// A Service, or its port, does not exist in the cluster.
        BackendNotFound,
        /// Every Service is there.
        AllFound,
        /// Someone changed what is ours.
        Drifted,
        /// Nothing is known yet.
        Pending,
        /// All is well.
        Healthy,
    }
}

/// True, False or Unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It is not known.
    Unknown,
}

impl Truth {
    /// The word as it stands in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Truth {
    fn from(truth: bool) -> Self {
        if truth { Self::True } else { Self::False }
    }
}

/// What a condition should say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Which condition.
    pub condition_type: ConditionType,
    /// Whether it holds.
    pub status: Truth,
    /// Why.
    pub reason: Reason,
    /// With object, field and remedy where something is wrong.
    pub message: String,
}

impl Statement {
    /// A statement.
    #[must_use]
    pub fn new(
        condition_type: ConditionType,
        status: impl Into<Truth>,
        reason: Reason,
        message: impl Into<String>,
    ) -> Self {
        Self { condition_type, status: status.into(), reason, message: message.into() }
    }
}

/// Longest message that a condition may carry (the API's limit is 32,768 characters).
const MESSAGE_LIMIT: usize = 4096;

/// Writes `statement` into `conditions`. `lastTransitionTime` moves only when the status changes, and the list keeps its
/// order. Returns whether the status changed, which is when an Event is due.
pub fn set(conditions: &mut Vec<Condition>, statement: Statement, generation: i64, now: &Time) -> bool {
    let Statement { condition_type, status, reason, message } = statement;
    let existing = conditions.iter_mut().find(|condition| condition.type_ == condition_type.as_str());
    let changed = existing.as_ref().is_none_or(|condition| condition.status != status.as_str());
    let since = match &existing {
        Some(condition) if !changed => condition.last_transition_time.clone(),
        _ => now.clone(),
    };
    let condition = Condition {
        type_: condition_type.as_str().to_owned(),
        status: status.as_str().to_owned(),
        reason: reason.as_str().to_owned(),
        message: message.chars().take(MESSAGE_LIMIT).collect(),
        observed_generation: Some(generation),
        last_transition_time: since,
    };
    match existing {
        Some(slot) => *slot = condition,
        None => conditions.push(condition),
    }
    changed
}

/// Removes a condition; for those that are present only when they matter. Returns whether it was there.
pub fn remove(conditions: &mut Vec<Condition>, condition_type: ConditionType) -> bool {
    let before = conditions.len();
    conditions.retain(|condition| condition.type_ != condition_type.as_str());
    conditions.len() != before
}

/// The condition of that type.
#[must_use]
pub fn find(conditions: &[Condition], condition_type: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == condition_type.as_str())
}

/// Whether the condition of that type is True.
#[must_use]
pub fn holds(conditions: &[Condition], condition_type: ConditionType) -> bool {
    find(conditions, condition_type).is_some_and(|condition| condition.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Time {
        Time(text.parse().unwrap())
    }

    #[test]
    fn transition_time_moves_only_with_the_status() {
        let mut conditions = Vec::new();
        let (first, later) = (at("2026-11-21T10:00:00Z"), at("2026-11-21T11:00:00Z"));
        let ready = |status: bool, message: &str| {
            Statement::new(ConditionType::Ready, status, Reason::Progressing, message)
        };
        assert!(set(&mut conditions, ready(false, "one"), 1, &first));
        assert!(!set(&mut conditions, ready(false, "two"), 2, &later));
        assert_eq!(conditions[0].last_transition_time, first);
        assert_eq!((conditions[0].message.as_str(), conditions[0].observed_generation), ("two", Some(2)));
        assert!(set(&mut conditions, ready(true, "three"), 2, &later));
        assert_eq!(conditions[0].last_transition_time, later);
        assert!(holds(&conditions, ConditionType::Ready));
        assert!(
            remove(&mut conditions, ConditionType::Ready) && !remove(&mut conditions, ConditionType::Ready)
        );
    }
}
