// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! One task per cluster: it owns the client, probes, keeps the facts fresh and swaps credentials.

use crate::breaker::{Breaker, backoff};
use crate::call::{CallError, is_unavailable, reason};
use crate::{Access, Facts, REQUIRED_RIGHTS, Reach, Refusal, UnreachableReason, connect, missing_rights};
use jiff::Timestamp;
use k8s_openapi::api::authorization::v1::{SelfSubjectRulesReview, SelfSubjectRulesReviewSpec};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Limits of a cluster's actor.
#[derive(Clone, Debug)]
pub struct Settings {
    /// For one call.
    pub call_timeout: Duration,
    /// Between probes of a cluster that answers.
    pub probe_interval: Duration,
    /// First wait after a failed probe; doubles from there.
    pub backoff_base: Duration,
    /// Longest wait after a failed probe.
    pub backoff_max: Duration,
    /// Failures in a row that open the breaker.
    pub breaker_threshold: u32,
    /// Calls at the same time.
    pub concurrency: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            call_timeout: Duration::from_secs(10),
            probe_interval: Duration::from_secs(10),
            backoff_base: Duration::from_millis(500),
            backoff_max: Duration::from_secs(30),
            breaker_threshold: 3,
            concurrency: 8,
        }
    }
}

/// Starts actors.
#[derive(Debug)]
pub struct ClusterActor {
    access: watch::Receiver<Result<Access, Refusal>>,
    namespaces: watch::Receiver<BTreeSet<String>>,
    facts: watch::Sender<Facts>,
    shared: Arc<Shared>,
    current: Option<Access>,
    failed_probes: u32,
}

/// What the actor and its callers share.
#[derive(Debug)]
struct Shared {
    name: String,
    settings: Settings,
    client: Mutex<Option<ClientSlot>>,
    breaker: Mutex<Breaker>,
    permits: Semaphore,
    probe_now: Notify,
}

struct ClientSlot(Client);

impl std::fmt::Debug for ClientSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

/// The way to one cluster. Cheap to clone; the actor ends with the last handle.
#[derive(Clone, Debug)]
pub struct ClusterHandle {
    shared: Arc<Shared>,
    facts: watch::Receiver<Facts>,
    access: watch::Sender<Result<Access, Refusal>>,
    namespaces: watch::Sender<BTreeSet<String>>,
    _task: Arc<DropGuard>,
}

impl ClusterHandle {
    /// Name of the FleetCluster.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// What is known of the cluster. Never waits.
    #[must_use]
    pub fn facts(&self) -> watch::Receiver<Facts> {
        self.facts.clone()
    }

    /// The client, when the cluster answers. For watches; single calls go through [`ClusterHandle::call`].
    #[must_use]
    pub fn client(&self) -> Option<Client> {
        if self.shared.breaker.lock().is_open() {
            return None;
        }
        self.shared.client()
    }

    /// New credentials, or why there are none. Credentials that fail their check replace only ones that fail as well.
    pub fn set_access(&self, access: Result<Access, Refusal>) {
        self.access.send_if_modified(|now| {
            let differs = *now != access;
            if differs {
                *now = access;
            }
            differs
        });
    }

    /// Namespaces in which to look for missing rights.
    pub fn set_namespaces(&self, namespaces: BTreeSet<String>) {
        self.namespaces.send_if_modified(|now| {
            let differs = *now != namespaces;
            if differs {
                *now = namespaces;
            }
            differs
        });
    }

    /// Asks for a probe now.
    pub fn probe_now(&self) {
        self.shared.probe_now.notify_one();
    }

    /// Calls the cluster, within the limits.
    ///
    /// # Errors
    /// At once when the cluster is known not to answer; else when the call fails or takes too long.
    pub async fn call<T, F, Fut>(&self, what: &'static str, call: F) -> Result<T, CallError>
    where
        F: FnOnce(Client) -> Fut,
        Fut: Future<Output = Result<T, kube::Error>>,
    {
        let client = self.client().ok_or(CallError::Unreachable)?;
        let outcome = self.shared.limited(what, call(client)).await;
        match &outcome {
            Err(error) if error.is_unavailable() => {
                if self.shared.breaker.lock().failure() {
                    tracing::warn!(cluster = %self.shared.name, error = %error.describe(), "the breaker opened");
                    self.probe_now();
                }
            }
            // An answer, if only a refusal: the cluster lives. The actor's probe closes an open breaker, not we.
            _ => {
                let mut breaker = self.shared.breaker.lock();
                if !breaker.is_open() {
                    breaker.success();
                }
            }
        }
        outcome
    }
}

impl Shared {
    fn client(&self) -> Option<Client> {
        self.client.lock().as_ref().map(|slot| slot.0.clone())
    }

    async fn limited<T, Fut>(&self, what: &'static str, call: Fut) -> Result<T, CallError>
    where
        Fut: Future<Output = Result<T, kube::Error>>,
    {
        let limit = self.settings.call_timeout;
        let timed = async {
            // The wait for a permit is part of the limit: a caller never hangs behind slow ones.
            let _permit = self.permits.acquire().await;
            call.await
        };
        match tokio::time::timeout(limit, timed).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(source)) => Err(CallError::Kube { what, source: Box::new(source) }),
            Err(_) => Err(CallError::TimedOut { what, limit }),
        }
    }
}

impl ClusterActor {
    /// Starts the task of the cluster `name`.
    #[must_use]
    pub fn spawn(name: &str, access: Result<Access, Refusal>, settings: Settings) -> ClusterHandle {
        let (access_sender, mut access) = watch::channel(access);
        access.mark_changed();
        let (namespaces_sender, namespaces) = watch::channel(BTreeSet::new());
        let (facts, facts_receiver) = watch::channel(Facts::default());
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            client: Mutex::new(None),
            breaker: Mutex::new(Breaker::new(settings.breaker_threshold)),
            permits: Semaphore::new(settings.concurrency.max(1)),
            probe_now: Notify::new(),
            settings,
        });
        let stop = CancellationToken::new();
        let actor =
            Self { access, namespaces, facts, shared: Arc::clone(&shared), current: None, failed_probes: 0 };
        tokio::spawn(stop.clone().run_until_cancelled_owned(actor.run()));
        ClusterHandle {
            shared,
            facts: facts_receiver,
            access: access_sender,
            namespaces: namespaces_sender,
            _task: Arc::new(stop.drop_guard()),
        }
    }

    async fn run(mut self) {
        loop {
            let wait = self.wait();
            tokio::select! {
                changed = self.access.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.rotate().await;
                }
                changed = self.namespaces.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.probe().await;
                }
                () = self.shared.probe_now.notified() => self.probe().await,
                () = tokio::time::sleep(wait) => self.probe().await,
            }
        }
    }

    fn wait(&self) -> Duration {
        let settings = &self.shared.settings;
        match self.failed_probes {
            0 => settings.probe_interval.mul_f64(0.9 + 0.2 * rand::random::<f64>()),
            n => backoff(settings.backoff_base, settings.backoff_max, n),
        }
    }

    /// Takes new credentials if they work, or if the old ones do not.
    async fn rotate(&mut self) {
        let wanted = self.access.borrow_and_update().clone();
        let access = match wanted {
            Ok(access) => access,
            Err(refusal) => {
                if refusal.absent {
                    // Whoever removes the credentials means it. Nothing is deleted for it.
                    *self.shared.client.lock() = None;
                    self.current = None;
                    self.shared.breaker.lock().trip();
                }
                return self.without(&refusal.to_string());
            }
        };
        if self.current.as_ref() == Some(&access) {
            // Back to the credentials in use, after others that were refused.
            self.publish(|facts| {
                facts.credential_problem = None;
                facts.credential_reason = None;
            });
            return self.probe().await;
        }
        let client = match connect(&access) {
            Ok(client) => client,
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                return self.without(&format!("{error}: {cause}"));
            }
        };
        let checked = self.check(&client).await;
        if let Err(error) = &checked
            && self.facts.borrow().reach.is_reachable()
        {
            let problem = format!("the new credentials were not taken: {}", error.describe());
            tracing::warn!(cluster = %self.shared.name, %problem, "credentials kept");
            return self.publish(|facts| {
                facts.credential_problem = Some(problem.clone());
                facts.credential_reason = Some(reason(error));
            });
        }
        let kind = access.credential_kind();
        *self.shared.client.lock() = Some(ClientSlot(client));
        self.current = Some(access);
        self.publish(|facts| {
            facts.client_generation += 1;
            facts.credential = Some(kind);
            facts.credential_problem = None;
            facts.credential_reason = None;
        });
        self.conclude(checked);
    }

    /// There are no new credentials: the old ones, if they are still there, serve on.
    fn without(&mut self, problem: &str) {
        tracing::warn!(cluster = %self.shared.name, problem, "no usable credentials");
        let none = self.current.is_none();
        self.publish(|facts| {
            facts.credential_problem = Some(problem.to_owned());
            facts.credential_reason = None;
            if none {
                facts.reach = unreachable(&facts.reach, UnreachableReason::NoCredentials, problem.to_owned());
            }
        });
    }

    async fn probe(&mut self) {
        let Some(client) = self.shared.client() else { return };
        let checked = self.check(&client).await;
        self.conclude(checked);
    }

    fn conclude(&mut self, checked: Result<Checked, CallError>) {
        match checked {
            Ok(checked) => {
                self.failed_probes = 0;
                self.shared.breaker.lock().success();
                self.seen(checked);
            }
            Err(error) => {
                self.failed_probes = self.failed_probes.saturating_add(1);
                self.shared.breaker.lock().trip();
                let (reason, message) = (reason(&error), error.describe());
                if self.failed_probes == 1 {
                    tracing::warn!(cluster = %self.shared.name, reason = reason.as_str(), %message, "cluster unreachable");
                }
                self.publish(|facts| facts.reach = unreachable(&facts.reach, reason, message.clone()));
            }
        }
    }

    fn seen(&mut self, checked: Checked) {
        let now = Timestamp::now();
        let before = self.facts.borrow().reach.is_reachable();
        if !before {
            tracing::info!(cluster = %self.shared.name, version = checked.version, "cluster reachable");
        }
        self.publish(|facts| {
            if !facts.reach.is_reachable() {
                facts.reach = Reach::Reachable { since: now };
            }
            facts.last_contact = Some(now);
            facts.version = Some(checked.version.clone());
            facts.missing_rights = checked.missing.clone();
            if checked.cluster_id.is_some() {
                facts.cluster_id.clone_from(&checked.cluster_id);
            }
        });
    }

    fn publish(&self, change: impl Fn(&mut Facts)) {
        self.facts.send_if_modified(|facts| {
            let before = facts.clone();
            change(facts);
            *facts != before
        });
    }

    /// One probe: version, then our rights (which proves the credentials), then the cluster's id once.
    async fn check(&self, client: &Client) -> Result<Checked, CallError> {
        let version = self.direct("read the version", client.apiserver_version()).await?.git_version;
        let mut missing = BTreeMap::new();
        let namespaces = self.namespaces.borrow().clone();
        // Without a fleet there is no target namespace yet; the review then serves as the check of the credentials alone.
        let asked =
            if namespaces.is_empty() { BTreeSet::from(["default".to_owned()]) } else { namespaces.clone() };
        for namespace in asked {
            let status = self.rules(client, &namespace).await?;
            if namespaces.contains(&namespace) {
                missing.insert(namespace, status);
            }
        }
        let known = self.facts.borrow().cluster_id.clone();
        let cluster_id = match known {
            Some(id) => Some(id),
            None => self.cluster_id(client).await?,
        };
        Ok(Checked { version, cluster_id, missing })
    }

    async fn rules(&self, client: &Client, namespace: &str) -> Result<Vec<String>, CallError> {
        let review = SelfSubjectRulesReview {
            spec: SelfSubjectRulesReviewSpec { namespace: Some(namespace.to_owned()) },
            ..SelfSubjectRulesReview::default()
        };
        let api: Api<SelfSubjectRulesReview> = Api::all(client.clone());
        let answer = self
            .direct("review our rights", async {
                api.create(&kube::api::PostParams::default(), &review).await
            })
            .await?;
        Ok(match answer.status {
            // Incomplete: an authorizer that cannot list. The verbs it grants show only when used.
            Some(status) if !status.incomplete => missing_rights(REQUIRED_RIGHTS, &status.resource_rules),
            _ => Vec::new(),
        })
    }

    async fn cluster_id(&self, client: &Client) -> Result<Option<String>, CallError> {
        let api: Api<Namespace> = Api::all(client.clone());
        match self.direct("read namespace kube-system", async { api.get_metadata("kube-system").await }).await
        {
            Ok(namespace) => Ok(namespace.metadata.uid),
            // Not allowed to know is no reason to call the cluster dead.
            Err(CallError::Kube { source, .. }) if !is_unavailable(&source) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A probe's call: limited in time, past the breaker and the permits.
    async fn direct<T, Fut>(&self, what: &'static str, call: Fut) -> Result<T, CallError>
    where
        Fut: Future<Output = Result<T, kube::Error>>,
    {
        let limit = self.shared.settings.call_timeout;
        match tokio::time::timeout(limit, call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(source)) => Err(CallError::Kube { what, source: Box::new(source) }),
            Err(_) => Err(CallError::TimedOut { what, limit }),
        }
    }
}

/// What a probe saw.
#[derive(Debug)]
struct Checked {
    version: String,
    cluster_id: Option<String>,
    missing: BTreeMap<String, Vec<String>>,
}

/// Unreachable, since when it began.
fn unreachable(before: &Reach, reason: UnreachableReason, message: String) -> Reach {
    let since = match before {
        Reach::Unreachable { since, .. } => *since,
        _ => Timestamp::now(),
    };
    Reach::Unreachable { since, reason, message }
}

#[cfg(test)]
#[path = "actor_tests.rs"]
mod tests;
