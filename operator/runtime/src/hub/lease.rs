// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Leader election by a Lease. Its `leaseTransitions` is the epoch that every remote write is stamped with.

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Others may take the Lease this long after they last saw it renewed.
const LEASE_DURATION: Duration = Duration::from_secs(15);
/// A leader that could not renew for this long stops, before others may start.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Between attempts.
const RETRY: Duration = Duration::from_secs(2);

/// Takes part in the election until the receiver is dropped. The epoch while we lead, none otherwise; and the task, which lets
/// the next one take over at once before it ends.
pub(super) fn elect(
    client: Client,
    namespace: &str,
    name: &str,
    identity: &str,
) -> (watch::Receiver<Option<i64>>, JoinHandle<()>) {
    let (sender, receiver) = watch::channel(None);
    let candidate = Candidate {
        api: Api::namespaced(client, namespace),
        name: name.to_owned(),
        identity: identity.to_owned(),
        observer: Observer { identity: identity.to_owned(), seen: None },
    };
    let task = tokio::spawn(candidate.run(sender));
    (receiver, task)
}

struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
    observer: Observer,
}

/// What a look at the Lease asks for.
#[derive(Debug, PartialEq)]
enum Step {
    /// Ours: renew.
    Renew(i64),
    /// Free or run out: take it, with this epoch.
    Take(i64),
    /// Another's.
    Wait,
}

impl Candidate {
    async fn run(mut self, sender: watch::Sender<Option<i64>>) {
        let mut renewed = Instant::now();
        loop {
            match tokio::time::timeout(RETRY * 2, self.attempt()).await {
                Ok(Ok(Some(epoch))) => {
                    renewed = Instant::now();
                    if *sender.borrow() != Some(epoch) {
                        tracing::info!(epoch, identity = %self.identity, "leading");
                        sender.send_replace(Some(epoch));
                    }
                }
                Ok(Ok(None)) => {
                    if sender.borrow().is_some() {
                        tracing::warn!(identity = %self.identity, "another process leads");
                        sender.send_replace(None);
                    }
                }
                outcome => {
                    let error = match outcome {
                        Ok(Err(error)) => error.to_string(),
                        _ => "no answer".to_owned(),
                    };
                    tracing::debug!(%error, "lease");
                    if renewed.elapsed() >= RENEW_DEADLINE && sender.borrow().is_some() {
                        tracing::warn!(%error, "the lease could not be renewed in time: not leading");
                        sender.send_replace(None);
                    }
                }
            }
            tokio::select! {
                () = sender.closed() => return self.release().await,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }

    /// One look and one write. The epoch, if we lead now.
    async fn attempt(&mut self) -> Result<Option<i64>, kube::Error> {
        let found = self.api.get_opt(&self.name).await?;
        let Some(mut lease) = found else {
            let lease = Lease {
                metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
                spec: Some(self.record(1, None)),
            };
            return match self.api.create(&PostParams::default(), &lease).await {
                Ok(_) => Ok(Some(1)),
                Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
                Err(error) => Err(error),
            };
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let epoch = match self.observer.judge(&spec, Instant::now()) {
            Step::Wait => return Ok(None),
            Step::Renew(epoch) | Step::Take(epoch) => epoch,
        };
        lease.spec = Some(self.record(epoch, Some(&spec)));
        // The resource version makes this a compare-and-swap: of two that take it, one wins.
        match self.api.replace(&self.name, &PostParams::default(), &lease).await {
            Ok(_) => Ok(Some(epoch)),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Judges Leases by what was seen of them before.
#[derive(Debug)]
struct Observer {
    identity: String,
    /// The last record of another holder, and when we first saw it. Only our own clock counts.
    seen: Option<(LeaseSpec, Instant)>,
}

impl Observer {
    fn judge(&mut self, spec: &LeaseSpec, now: Instant) -> Step {
        let transitions = i64::from(spec.lease_transitions.unwrap_or(0));
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        if holder == self.identity {
            return Step::Renew(transitions);
        }
        if holder.is_empty() {
            return Step::Take(transitions + 1);
        }
        match &self.seen {
            Some((seen, since)) if seen == spec => {
                let seconds = spec.lease_duration_seconds.and_then(|s| u64::try_from(s).ok());
                let duration = seconds.map_or(LEASE_DURATION, Duration::from_secs);
                if now.duration_since(*since) > duration { Step::Take(transitions + 1) } else { Step::Wait }
            }
            _ => {
                self.seen = Some((spec.clone(), now));
                Step::Wait
            }
        }
    }
}

impl Candidate {
    fn record(&self, epoch: i64, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(jiff::Timestamp::now());
        let ours = before.filter(|spec| spec.holder_identity.as_deref() == Some(&self.identity));
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(LEASE_DURATION.as_secs()).ok(),
            lease_transitions: i32::try_from(epoch).ok(),
            acquire_time: ours.and_then(|spec| spec.acquire_time.clone()).or_else(|| Some(now.clone())),
            renew_time: Some(now),
            preferred_holder: None,
            strategy: None,
        }
    }

    /// Lets the next one take over at once.
    async fn release(self) {
        let Ok(Ok(Some(mut lease))) = tokio::time::timeout(RETRY, self.api.get_opt(&self.name)).await else {
            return;
        };
        let ours =
            lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()) == Some(&self.identity);
        if let Some(spec) = lease.spec.as_mut().filter(|_| ours) {
            spec.holder_identity = None;
            let params = PostParams::default();
            let replace = self.api.replace(&self.name, &params, &lease);
            if !matches!(tokio::time::timeout(RETRY, replace).await, Ok(Ok(_))) {
                tracing::debug!("the lease runs out by itself");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(holder: &str, transitions: i32) -> LeaseSpec {
        LeaseSpec {
            holder_identity: (!holder.is_empty()).then(|| holder.to_owned()),
            lease_transitions: Some(transitions),
            lease_duration_seconds: Some(15),
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn takes_what_is_free_or_run_out_by_its_own_clock() {
        let mut candidate = Observer { identity: "me".to_owned(), seen: None };
        let start = Instant::now();
        assert_eq!(candidate.judge(&held("me", 4), start), Step::Renew(4));
        assert_eq!(candidate.judge(&held("", 4), start), Step::Take(5));
        assert_eq!(candidate.judge(&held("other", 4), start), Step::Wait);
        assert_eq!(candidate.judge(&held("other", 4), start + Duration::from_secs(14)), Step::Wait);
        // Renewed in between: the wait begins anew.
        let mut renewed = held("other", 4);
        renewed.renew_time = Some(MicroTime(jiff::Timestamp::UNIX_EPOCH));
        assert_eq!(candidate.judge(&renewed, start + Duration::from_secs(14)), Step::Wait);
        assert_eq!(candidate.judge(&renewed, start + Duration::from_secs(28)), Step::Wait);
        assert_eq!(candidate.judge(&renewed, start + Duration::from_secs(30)), Step::Take(5));
    }
}
