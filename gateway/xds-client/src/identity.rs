// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The workload certificate: asked for at the relay's issuer, renewed in time, published to whoever connects.

use crate::{Backoff, IdentityError, RelayClient, RelayOptions, WorkloadCertificate};
use bytes::Bytes;
use rand::RngExt;
use rcgen::{CertificateParams, DnType, KeyPair};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Where certificates are asked for.
const ISSUE_PATH: &str = "/v1/certificate";
/// Longest answer: a chain of a few certificates.
const ANSWER_BYTES: usize = 256 * 1024;
/// Time for one attempt.
const ATTEMPT: Duration = Duration::from_secs(10);
/// Renewal falls into this share of the certificate's life.
const RENEWAL: std::ops::Range<f64> = 0.7..0.9;
/// The wall clock is looked at this often, so that a suspended machine renews soon after it wakes.
const CLOCK_CHECK: Duration = Duration::from_secs(30);

/// Sees the newest certificate; none until the first was issued.
pub type CertificateWatch = watch::Receiver<Option<Arc<WorkloadCertificate>>>;

/// What a certificate is asked for with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityOptions {
    /// The node id, which becomes the certificate's CN.
    pub node_id: String,
    /// The issuer.
    pub issuer: RelayOptions,
    /// The ServiceAccount token; read anew for each attempt.
    pub token_file: PathBuf,
}

/// Obtains and renews the certificate of this process.
#[derive(Debug)]
pub struct WorkloadIdentity {
    options: IdentityOptions,
    relay: RelayClient,
    newest: watch::Sender<Option<Arc<WorkloadCertificate>>>,
}

#[derive(Serialize)]
struct IssueRequest<'a> {
    csr: &'a str,
    token: &'a str,
}

#[derive(Deserialize)]
struct IssueAnswer {
    chain: String,
}

impl WorkloadIdentity {
    /// Nothing is asked for before [`Self::run`].
    #[must_use]
    pub fn new(options: IdentityOptions) -> Self {
        let relay = RelayClient::new(options.issuer.clone());
        Self { options, relay, newest: watch::Sender::new(None) }
    }

    /// Follows the newest certificate.
    #[must_use]
    pub fn watch(&self) -> CertificateWatch {
        self.newest.subscribe()
    }

    /// Asks for one certificate, with a fresh key.
    ///
    /// # Errors
    /// Where the issuer cannot be reached or verified, refuses, or answers with something else.
    pub async fn issue(&self) -> Result<WorkloadCertificate, IdentityError> {
        let token = tokio::fs::read_to_string(&self.options.token_file)
            .await
            .map_err(|source| IdentityError::Token { path: self.options.token_file.clone(), source })?;
        let key = KeyPair::generate().map_err(IdentityError::Request)?;
        let mut request = CertificateParams::default();
        request.distinguished_name = rcgen::DistinguishedName::new();
        request.distinguished_name.push(DnType::CommonName, self.options.node_id.as_str());
        let csr =
            request.serialize_request(&key).and_then(|csr| csr.pem()).map_err(IdentityError::Request)?;
        let body = serde_json::to_vec(&IssueRequest { csr: &csr, token: token.trim() });
        let body = Bytes::from(body.map_err(IdentityError::Answer)?);
        let answer = self.relay.post_json(ISSUE_PATH, body, ANSWER_BYTES, ATTEMPT).await;
        let answer: IssueAnswer =
            serde_json::from_slice(&answer.map_err(IdentityError::Relay)?).map_err(IdentityError::Answer)?;
        WorkloadCertificate::new(answer.chain, &key, &self.options.node_id)
    }

    /// Keeps a certificate in force until cancelled. The one before stays published while renewals fail.
    pub async fn run(self, cancel: CancellationToken) {
        let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(30));
        loop {
            let pause = match self.issue().await {
                Ok(certificate) => {
                    backoff.reset();
                    let renewal = certificate.after_share(rand::rng().random_range(RENEWAL));
                    tracing::info!(
                        identity = certificate.identity(),
                        serial = certificate.serial(),
                        not_after = ?certificate.not_after(),
                        "workload certificate issued"
                    );
                    self.newest.send_replace(Some(Arc::new(certificate)));
                    Pause::Until(renewal)
                }
                Err(error) => {
                    let pause = backoff.pause();
                    let cause = crate::status::chain(&error);
                    tracing::warn!(cause, retry_in = ?pause, "no workload certificate");
                    Pause::For(pause)
                }
            };
            tokio::select! {
                () = cancel.cancelled() => return,
                () = pause.wait() => {}
            }
        }
    }
}

enum Pause {
    For(Duration),
    Until(SystemTime),
}

impl Pause {
    async fn wait(self) {
        match self {
            Self::For(pause) => tokio::time::sleep(pause).await,
            Self::Until(moment) => {
                while let Ok(left) = moment.duration_since(SystemTime::now()) {
                    tokio::time::sleep(left.min(CLOCK_CHECK)).await;
                }
            }
        }
    }
}
