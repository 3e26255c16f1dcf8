// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A FleetCluster and the Secret that it names, as credentials.

use crate::{Access, Refusal, argocd_access, kubeconfig_access};
use crds::{ClusterMode, FleetCluster};
use k8s_openapi::api::core::v1::Secret;
use std::str;

/// Where a FleetCluster takes its credentials from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessSource {
    /// The hub's own cluster.
    Local,
    /// A Secret: of Argo CD, or with a kubeconfig.
    Secret {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Key of the kubeconfig; None: `kubeconfig`, then `value`.
        key: Option<String>,
        /// Plain HTTP and unchecked certificates are allowed.
        allow_insecure: bool,
    },
    /// Needs none: the cluster's agent or processes of this machine do the work.
    None,
}

/// Where `cluster` takes its credentials from.
///
/// # Errors
/// When it names no source, as only an object can that no API server has checked.
pub fn access_source(cluster: &FleetCluster) -> Result<AccessSource, Refusal> {
    let spec = &cluster.spec;
    if spec.mode != ClusterMode::Push {
        return Ok(AccessSource::None);
    }
    if spec.local {
        return Ok(AccessSource::Local);
    }
    let namespace = cluster.metadata.namespace.clone().unwrap_or_default();
    let (name, key) = match (&spec.kubeconfig_secret, &spec.argocd_secret) {
        (Some(secret), _) => (secret.name.clone(), secret.key.clone()),
        (None, Some(secret)) => (secret.name.clone(), None),
        (None, None) => {
            let name = cluster.metadata.name.as_deref().unwrap_or_default();
            let object = format!("FleetCluster {namespace}/{name}");
            const REMEDY: &str = "set one of local: true, kubeconfigSecret, argocdSecret";
            return Err(Refusal::new(&object, "spec", "names no credentials", REMEDY));
        }
    };
    Ok(AccessSource::Secret { namespace, name, key, allow_insecure: spec.allow_insecure })
}

/// Credentials from a Secret.
///
/// # Errors
/// When a field is missing or refused.
pub fn secret_access(secret: &Secret, key: Option<&str>, allow_insecure: bool) -> Result<Access, Refusal> {
    let namespace = secret.metadata.namespace.as_deref().unwrap_or_default();
    let object = format!("Secret {namespace}/{}", secret.metadata.name.as_deref().unwrap_or_default());
    let api = if key.is_none() && is_argocd(secret) {
        let server = field(secret, &object, "server")?;
        argocd_access(&object, server, field(secret, &object, "config")?, allow_insecure)?
    } else {
        let key = key.unwrap_or(if has(secret, "kubeconfig") { "kubeconfig" } else { "value" });
        kubeconfig_access(&object, key, field(secret, &object, key)?, None, allow_insecure)?
    };
    Ok(Access::Api(Box::new(api)))
}

fn is_argocd(secret: &Secret) -> bool {
    has(secret, "server") && has(secret, "config")
}

fn has(secret: &Secret, key: &str) -> bool {
    secret.data.as_ref().is_some_and(|data| data.contains_key(key))
}

fn field<'a>(secret: &'a Secret, object: &str, key: &str) -> Result<&'a str, Refusal> {
    const REMEDY: &str = "store a kubeconfig under kubeconfig or value, or Argo CD's server and config";
    let bytes = secret
        .data
        .as_ref()
        .and_then(|data| data.get(key))
        .ok_or_else(|| Refusal::new(object, key, "is missing", REMEDY))?;
    str::from_utf8(&bytes.0).map_err(|_| Refusal::new(object, key, "is not UTF-8", REMEDY))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;

    fn secret(data: &[(&str, &str)]) -> Secret {
        let mut secret = Secret::default();
        secret.metadata.namespace = Some("fleet".into());
        secret.metadata.name = Some("a".into());
        secret.data =
            Some(data.iter().map(|(k, v)| ((*k).to_owned(), ByteString(v.as_bytes().to_vec()))).collect());
        secret
    }

    const KUBECONFIG: &str = "{current-context: m, contexts: [{name: m, context: {cluster: c, user: u}}], clusters: [{name: c, cluster: {server: 'https://a'}}], users: [{name: u, user: {token: t}}]}";

    #[test]
    fn every_shape_of_secret_is_recognised() {
        assert!(secret_access(&secret(&[("kubeconfig", KUBECONFIG)]), None, false).is_ok());
        assert!(secret_access(&secret(&[("value", KUBECONFIG)]), None, false).is_ok());
        assert!(secret_access(&secret(&[("mine", KUBECONFIG)]), Some("mine"), false).is_ok());
        let argocd = [("name", "a"), ("server", "https://a"), ("config", r#"{"bearerToken":"t"}"#)];
        assert!(secret_access(&secret(&argocd), None, false).is_ok());
    }

    #[test]
    fn a_missing_key_is_named() {
        let refused = secret_access(&secret(&[("other", "x")]), None, false).unwrap_err();
        assert_eq!((refused.object.as_str(), refused.field.as_str()), ("Secret fleet/a", "value"));
        let refused = secret_access(&secret(&[]), Some("mine"), false).unwrap_err();
        assert_eq!(refused.field, "mine");
    }

    #[test]
    fn the_source_follows_the_mode() {
        let mut cluster = FleetCluster::new("a", crds::FleetClusterSpec::default());
        assert!(access_source(&cluster).is_err());
        cluster.spec.local = true;
        assert_eq!(access_source(&cluster), Ok(AccessSource::Local));
        cluster.spec.mode = ClusterMode::Host;
        assert_eq!(access_source(&cluster), Ok(AccessSource::None));
    }
}
