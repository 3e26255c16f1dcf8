// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! FleetClusters with their credentials: one actor each, and what their status says.

use super::{ClusterKey, time};
use crds::conditions::{self, ConditionType, Reason, Statement, Truth};
use crds::{ClusterMode, FleetCluster, FleetClusterStatus};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use multicluster_clusters::{
    Access, AccessSource, ClusterActor, ClusterHandle, Facts, Reach, Refusal, Settings, UnreachableReason,
    access_source, secret_access,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Contact times in status are this coarse, seconds: a probe is no reason to write.
const CONTACT_STEP: i64 = 60;

/// The Secrets that may hold credentials, by namespace and name.
pub(super) type Secrets = BTreeMap<(String, String), Arc<Secret>>;

/// Actors of all clusters.
#[derive(Default)]
pub(super) struct Registry {
    handles: BTreeMap<ClusterKey, ClusterHandle>,
    local: Option<kube::Client>,
}

impl Registry {
    pub(super) fn new(local: Option<kube::Client>) -> Self {
        Self { handles: BTreeMap::new(), local }
    }

    /// Starts, feeds or ends the actor of a cluster. Returns the handle of one that is new.
    pub(super) fn update(
        &mut self,
        key: &ClusterKey,
        cluster: Option<&FleetCluster>,
        secrets: &Secrets,
    ) -> Option<ClusterHandle> {
        let access = cluster.and_then(|cluster| access(cluster, secrets, self.local.as_ref()));
        let Some(access) = access else {
            self.handles.remove(key);
            return None;
        };
        if let Some(handle) = self.handles.get(key) {
            handle.set_access(access);
            return None;
        }
        let handle = ClusterActor::spawn(&key.name, access, Settings::default());
        self.handles.insert(key.clone(), handle.clone());
        Some(handle)
    }

    pub(super) fn handle(&self, key: &ClusterKey) -> Option<&ClusterHandle> {
        self.handles.get(key)
    }

    /// Clusters that read this Secret.
    pub(super) fn set_namespaces(&self, key: &ClusterKey, namespaces: BTreeSet<String>) {
        if let Some(handle) = self.handles.get(key) {
            handle.set_namespaces(namespaces);
        }
    }

    /// What is known of each cluster.
    pub(super) fn facts(&self, key: &ClusterKey) -> Option<Facts> {
        self.handles.get(key).map(|handle| handle.facts().borrow().clone())
    }

    /// Other FleetClusters that turn out to be the same cluster.
    pub(super) fn twin(&self, key: &ClusterKey) -> Option<ClusterKey> {
        let id = self.facts(key)?.cluster_id?;
        let twins = self.handles.iter().filter(|(other, _)| *other != key);
        twins
            .filter(|(_, handle)| handle.facts().borrow().cluster_id.as_ref() == Some(&id))
            .map(|(k, _)| k.clone())
            .next()
    }
}

/// The credentials of a cluster; none where it needs none.
fn access(
    cluster: &FleetCluster,
    secrets: &Secrets,
    local: Option<&kube::Client>,
) -> Option<Result<Access, Refusal>> {
    let source = match access_source(cluster) {
        Ok(source) => source,
        Err(refusal) => return Some(Err(refusal)),
    };
    match source {
        AccessSource::None => None,
        AccessSource::Local => Some(match local {
            Some(client) => Ok(Access::Existing(client.clone())),
            None => {
                const REMEDY: &str = "use mode: Host, or kubeconfigSecret";
                Err(Refusal::absent(&label(cluster), "spec.local", REMEDY))
            }
        }),
        AccessSource::Secret { namespace, name, key, allow_insecure } => {
            Some(match secrets.get(&(namespace.clone(), name.clone())) {
                Some(secret) => secret_access(secret, key.as_deref(), allow_insecure),
                None => {
                    const REMEDY: &str = "create the Secret, or name another in the FleetCluster";
                    Err(Refusal::absent(&format!("Secret {namespace}/{name}"), "metadata.name", REMEDY))
                }
            })
        }
    }
}

fn label(cluster: &FleetCluster) -> String {
    let metadata = &cluster.metadata;
    format!(
        "FleetCluster {}/{}",
        metadata.namespace.as_deref().unwrap_or_default(),
        metadata.name.as_deref().unwrap_or_default()
    )
}

/// The status of a FleetCluster. Pure.
pub(super) fn cluster_status(
    cluster: &FleetCluster,
    facts: Option<&Facts>,
    twin: Option<&ClusterKey>,
    now: Timestamp,
) -> FleetClusterStatus {
    let mut status = cluster.status.clone().unwrap_or_default();
    let generation = cluster.metadata.generation.unwrap_or_default();
    status.observed_generation = generation;
    let now = time(now);
    if let Some(facts) = facts {
        status.cluster_id.clone_from(&facts.cluster_id);
        status.kubernetes_version.clone_from(&facts.version);
        status.last_contact_time =
            contact_time(status.last_contact_time.as_ref().map(|t| t.0), facts.last_contact).map(time);
        status.missing_permissions =
            facts.missing_rights.values().flatten().collect::<BTreeSet<_>>().into_iter().cloned().collect();
    }
    let statements = match (cluster.spec.mode, facts) {
        (ClusterMode::Push, Some(facts)) => push_statements(cluster, facts),
        (ClusterMode::Push, None) => vec![
            Statement::new(ConditionType::Reachable, Truth::Unknown, Reason::Pending, "not asked yet"),
            Statement::new(ConditionType::Authorized, Truth::Unknown, Reason::Pending, "not asked yet"),
        ],
        (ClusterMode::Host, _) => vec![
            Statement::new(ConditionType::Reachable, true, Reason::Connected, "processes of this machine"),
            Statement::new(
                ConditionType::Authorized,
                true,
                Reason::PermissionsGranted,
                "processes of this machine",
            ),
        ],
        (ClusterMode::Agent, _) => vec![Statement::new(
            ConditionType::Reachable,
            Truth::Unknown,
            Reason::NotYetImplemented,
            "spec.mode: Agent has no effect in this version; use Push with kubeconfigSecret or argocdSecret",
        )],
    };
    let obstacle = statements.iter().find(|s| s.status != Truth::True).cloned();
    for statement in statements {
        conditions::set(&mut status.conditions, statement, generation, &now);
    }
    conditions::set(&mut status.conditions, ready(cluster, obstacle, twin), generation, &now);
    status
}

fn ready(cluster: &FleetCluster, obstacle: Option<Statement>, twin: Option<&ClusterKey>) -> Statement {
    if let Some(twin) = twin {
        let text = format!(
            "is the same cluster as FleetCluster {}/{}; remove one of the two",
            twin.namespace, twin.name
        );
        return Statement::new(ConditionType::Ready, false, Reason::DuplicateCluster, text);
    }
    if cluster.spec.paused {
        let text = "spec.paused: nothing is applied and nothing removed";
        return Statement::new(ConditionType::Ready, false, Reason::ClusterPaused, text);
    }
    match obstacle {
        Some(obstacle) => Statement { condition_type: ConditionType::Ready, ..obstacle },
        None => Statement::new(ConditionType::Ready, true, Reason::Healthy, "nothing stands in the way"),
    }
}

fn push_statements(cluster: &FleetCluster, facts: &Facts) -> Vec<Statement> {
    let place = credentials_place(cluster);
    let reachable = match &facts.reach {
        Reach::Unknown => {
            Statement::new(ConditionType::Reachable, Truth::Unknown, Reason::Pending, "not asked yet")
        }
        Reach::Reachable { .. } => {
            let (reason, text) = match (&facts.credential_problem, facts.credential_reason) {
                (None, _) => (Reason::Connected, "the API server answers".to_owned()),
                (Some(problem), None) => {
                    (Reason::CredentialsForbidden, format!("the earlier credentials serve on: {problem}"))
                }
                (Some(problem), Some(said)) => {
                    let (reason, remedy) = explain(said, facts);
                    (reason, format!("the earlier credentials serve on: {place}{problem}{remedy}"))
                }
            };
            Statement::new(ConditionType::Reachable, true, reason, text)
        }
        Reach::Unreachable { reason, message, .. } => {
            let (reason, remedy) = explain(*reason, facts);
            // A refusal names its Secret itself.
            let place = if message.starts_with("Secret ") { "" } else { place.as_str() };
            Statement::new(ConditionType::Reachable, false, reason, format!("{place}{message}{remedy}"))
        }
    };
    let missing: BTreeSet<&String> = facts.missing_rights.values().flatten().collect();
    let authorized = if !facts.reach.is_reachable() {
        Statement::new(
            ConditionType::Authorized,
            Truth::Unknown,
            Reason::Unreachable,
            "the API server does not answer",
        )
    } else if missing.is_empty() {
        Statement::new(
            ConditionType::Authorized,
            true,
            Reason::PermissionsGranted,
            "the credentials allow what fleets need",
        )
    } else {
        let list = missing.into_iter().take(12).cloned().collect::<Vec<_>>().join(", ");
        let text = format!("the account lacks: {list}; grant them in the fleets' target namespaces");
        Statement::new(ConditionType::Authorized, false, Reason::PermissionsMissing, text)
    };
    vec![reachable, authorized]
}

/// Where the credentials come from, to begin a message with.
fn credentials_place(cluster: &FleetCluster) -> String {
    match access_source(cluster) {
        Ok(AccessSource::Secret { namespace, name, .. }) => format!("Secret {namespace}/{name}: "),
        _ => String::new(),
    }
}

fn explain(reason: UnreachableReason, facts: &Facts) -> (Reason, &'static str) {
    let problem = facts.credential_problem.as_deref().unwrap_or_default();
    match reason {
        UnreachableReason::NoCredentials if problem.contains("does not exist") => {
            (Reason::SecretNotFound, "")
        }
        UnreachableReason::NoCredentials => (Reason::CredentialsForbidden, ""),
        UnreachableReason::Unauthorized => {
            (Reason::Unauthorized, "; renew the token or certificate in the FleetCluster's Secret")
        }
        UnreachableReason::TimedOut => (
            Reason::TimedOut,
            "; check the network between the hub and the address in the Secret's field server",
        ),
        UnreachableReason::ConnectFailed => (
            Reason::ConnectionFailed,
            "; check the address and the certificates in the FleetCluster's Secret",
        ),
        UnreachableReason::ServerError => (Reason::Unreachable, "; check the cluster's API server"),
    }
}

/// The newer time, if it is enough newer to be worth a write.
pub(super) fn contact_time(before: Option<Timestamp>, now: Option<Timestamp>) -> Option<Timestamp> {
    match (before, now) {
        (Some(before), Some(now)) if now.as_second() - before.as_second() < CONTACT_STEP => Some(before),
        (before, now) => now.or(before),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crds::FleetClusterSpec;

    fn cluster() -> FleetCluster {
        let mut cluster = FleetCluster::new("a", FleetClusterSpec::default());
        cluster.metadata.namespace = Some("fleet".into());
        cluster.metadata.generation = Some(4);
        cluster.spec.kubeconfig_secret = Some(crds::KubeconfigSecretRef { name: "a".into(), key: None });
        cluster
    }

    fn condition(status: &FleetClusterStatus, kind: ConditionType) -> (String, String, String) {
        let found = conditions::find(&status.conditions, kind).unwrap();
        assert_eq!(found.observed_generation, Some(4));
        (found.status.clone(), found.reason.clone(), found.message.clone())
    }

    #[test]
    fn a_missing_secret_names_object_field_and_remedy() {
        let Some(Err(refusal)) = access(&cluster(), &Secrets::new(), None) else { panic!("refused") };
        assert!(refusal.absent);
        let text = refusal.to_string();
        assert!(text.contains("Secret fleet/a") && text.contains("create the Secret"), "{text}");
    }

    #[test]
    fn unreachable_is_told_with_reason_and_remedy_and_rights_are_unknown_then() {
        let facts = Facts {
            reach: Reach::Unreachable {
                since: Timestamp::UNIX_EPOCH,
                reason: UnreachableReason::Unauthorized,
                message: "Unauthorized".into(),
            },
            ..Facts::default()
        };
        let status = cluster_status(&cluster(), Some(&facts), None, Timestamp::now());
        let (truth, reason, message) = condition(&status, ConditionType::Reachable);
        assert_eq!((truth.as_str(), reason.as_str()), ("False", "Unauthorized"));
        assert!(message.contains("renew the token") && message.contains("Secret fleet/a"), "{message}");
        assert_eq!(condition(&status, ConditionType::Authorized).0, "Unknown");
        assert_eq!(condition(&status, ConditionType::Ready).0, "False");
    }

    #[test]
    fn new_credentials_that_fail_are_told_while_the_old_ones_serve_on() {
        let facts = Facts {
            reach: Reach::Reachable { since: Timestamp::now() },
            credential_problem: Some("the new credentials were not taken: Unauthorized".into()),
            credential_reason: Some(UnreachableReason::Unauthorized),
            ..Facts::default()
        };
        let status = cluster_status(&cluster(), Some(&facts), None, Timestamp::now());
        let (truth, reason, message) = condition(&status, ConditionType::Reachable);
        assert_eq!((truth.as_str(), reason.as_str()), ("True", "Unauthorized"));
        assert!(message.contains("Secret fleet/a") && message.contains("serve on"), "{message}");
    }

    #[test]
    fn missing_rights_make_it_not_ready() {
        let mut facts = Facts { reach: Reach::Reachable { since: Timestamp::now() }, ..Facts::default() };
        let status = cluster_status(&cluster(), Some(&facts), None, Timestamp::now());
        assert_eq!(condition(&status, ConditionType::Ready).0, "True");
        facts.missing_rights.insert("n".into(), vec!["patch apps/deployments".into()]);
        let status = cluster_status(&cluster(), Some(&facts), None, Timestamp::now());
        assert!(condition(&status, ConditionType::Ready).2.contains("patch apps/deployments"));
    }

    #[test]
    fn a_probe_alone_changes_no_status() {
        let mut cluster = cluster();
        let at = |second| Timestamp::from_second(second).unwrap();
        let facts = |second| Facts {
            reach: Reach::Reachable { since: at(0) },
            last_contact: Some(at(second)),
            ..Facts::default()
        };
        let first = cluster_status(&cluster, Some(&facts(100)), None, at(100));
        cluster.status = Some(first.clone());
        assert_eq!(cluster_status(&cluster, Some(&facts(110)), None, at(110)), first);
        assert_ne!(cluster_status(&cluster, Some(&facts(161)), None, at(161)), first);
    }
}
