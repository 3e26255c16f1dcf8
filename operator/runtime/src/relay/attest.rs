// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Who holds a token: asked of the cluster's API server, or of the process that started the gateways here.

use async_trait::async_trait;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use kube::api::PostParams;
use kube::{Api, Client};
use multicluster_apply::HostTokens;
use operator_identity::{FleetName, WorkloadIdentity};
use operator_xds_server::{AttestError, Attestor};
use std::time::Duration;

/// The audience that gateways' tokens are made for.
const AUDIENCE: &str = "gatefleet-relay";
/// Where a bound token names its pod (Kubernetes, ServiceAccount tokens).
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
/// Longest wait for the API server.
const REVIEW_LIMIT: Duration = Duration::from_secs(5);

/// Asks the cluster's API server by TokenReview; a token must be bound to a pod.
#[derive(Clone)]
pub struct KubernetesAttestor {
    client: Client,
    trust_domain: String,
    cluster: String,
    fleet: FleetName,
}

impl std::fmt::Debug for KubernetesAttestor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubernetesAttestor").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

impl KubernetesAttestor {
    /// Attests pods of a cluster for a fleet.
    #[must_use]
    pub fn new(client: Client, trust_domain: String, cluster: String, fleet: FleetName) -> Self {
        Self { client, trust_domain, cluster, fleet }
    }

    fn identity(&self, user: &UserInfo) -> Result<WorkloadIdentity, AttestError> {
        let name = user.username.as_deref().unwrap_or_default();
        let account = name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
        let (namespace, service_account) =
            account.ok_or_else(|| AttestError::Refused(format!("{name:?} is no ServiceAccount")))?;
        let extra = user.extra.as_ref().and_then(|extra| extra.get(POD_NAME));
        let pod = extra.and_then(|pods| pods.first()).ok_or_else(|| {
            AttestError::Refused("the token is not bound to a pod; use a projected token".to_owned())
        })?;
        Ok(WorkloadIdentity {
            trust_domain: self.trust_domain.clone(),
            cluster: self.cluster.clone(),
            namespace: namespace.to_owned(),
            service_account: service_account.to_owned(),
            fleet: self.fleet.clone(),
            pod: pod.clone(),
        })
    }
}

#[async_trait]
impl Attestor for KubernetesAttestor {
    async fn attest(&self, token: &str) -> Result<WorkloadIdentity, AttestError> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: Some(token.to_owned()),
                audiences: Some(vec![AUDIENCE.to_owned()]),
            },
            ..TokenReview::default()
        };
        let api: Api<TokenReview> = Api::all(self.client.clone());
        let params = PostParams::default();
        let answer = tokio::time::timeout(REVIEW_LIMIT, api.create(&params, &review)).await;
        let answer =
            answer.map_err(|_| AttestError::Unavailable("the API server does not answer".to_owned()))?;
        let status = answer.map_err(|e| AttestError::Unavailable(e.to_string()))?.status.unwrap_or_default();
        let audience = status.audiences.as_ref().is_some_and(|all| all.iter().any(|a| a == AUDIENCE));
        if status.authenticated != Some(true) || !audience {
            let reason = status.error.unwrap_or_else(|| format!("not valid for audience {AUDIENCE}"));
            return Err(AttestError::Refused(reason));
        }
        self.identity(&status.user.unwrap_or_default())
    }
}

/// Knows the tokens of the processes that this machine's gateways run in.
#[derive(Clone, Debug)]
pub struct HostAttestor {
    tokens: HostTokens,
    trust_domain: String,
}

impl HostAttestor {
    /// Attests the holders of tokens that a host backend gave out.
    #[must_use]
    pub fn new(tokens: HostTokens, trust_domain: String) -> Self {
        Self { tokens, trust_domain }
    }
}

#[async_trait]
impl Attestor for HostAttestor {
    async fn attest(&self, token: &str) -> Result<WorkloadIdentity, AttestError> {
        let found = self.tokens.lookup(token);
        let holder = found.ok_or_else(|| AttestError::Refused("unknown token".to_owned()))?;
        let (namespace, name) = holder.fleet;
        Ok(WorkloadIdentity {
            trust_domain: self.trust_domain.clone(),
            cluster: holder.cluster,
            namespace: holder.namespace,
            service_account: holder.service_account,
            fleet: FleetName { namespace, name },
            pod: holder.pod,
        })
    }
}
