// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The fleet's certificate authority: a root per fleet and an intermediate per cluster, kept in a Secret on the hub.

use super::FleetKey;
use crate::objects::{Objects, ObjectsError};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ObjectMeta;
use operator_identity::{AuthorityPem, ClusterAuthority, FleetAuthority, IdentityError, KeyPem, rotate_at};
use std::collections::BTreeMap;

const ROOT: &str = "tls.crt";
const ROOT_KEY: &str = "tls.key";
/// Roots that were replaced and still sign certificates in use.
const PREVIOUS: &str = "previous.crt";

/// The authority of a fleet cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum AuthorityError {
    /// The Secret cannot be read or written.
    #[error("Secret {0} with the fleet's certificate authority cannot be read or written")]
    Objects(String, #[source] ObjectsError),
    /// What it holds cannot be used.
    #[error(
        "Secret {0} holds no usable certificate authority; restore it from a backup, or delete it to make a new one"
    )]
    Unusable(String, #[source] IdentityError),
    /// Nothing can be signed.
    #[error("cannot sign for the fleet")]
    Sign(#[source] IdentityError),
}

/// The authority of one fleet.
#[derive(Debug)]
pub(super) struct Authority {
    fleet: FleetKey,
    root: FleetAuthority,
    previous: Option<String>,
    clusters: BTreeMap<String, ClusterAuthority>,
}

impl Authority {
    /// Reads the fleet's authority, or makes one.
    pub(super) async fn load(
        objects: &Objects,
        fleet: &FleetKey,
        trust_domain: &str,
        now: Timestamp,
    ) -> Result<Self, AuthorityError> {
        let label = secret_label(fleet);
        let secret: Option<Secret> = objects
            .get(&fleet.namespace, &secret_name(fleet))
            .await
            .map_err(|error| AuthorityError::Objects(label.clone(), error))?;
        let mut authority = match &secret {
            Some(secret) => {
                Self::read(fleet, secret).map_err(|e| AuthorityError::Unusable(label.clone(), e))?
            }
            None => Self {
                fleet: fleet.clone(),
                root: FleetAuthority::create(trust_domain, now).map_err(AuthorityError::Sign)?,
                previous: None,
                clusters: BTreeMap::new(),
            },
        };
        let due = now >= rotate_at(authority.root.validity(), 0.0);
        if due {
            // Both roots are trusted until everything has a certificate of the new one.
            authority.previous = Some(authority.root.pem().certificate.clone());
            authority.root = FleetAuthority::create(trust_domain, now).map_err(AuthorityError::Sign)?;
            authority.clusters.clear();
        }
        if due || secret.is_none() {
            authority.store(objects).await?;
        }
        Ok(authority)
    }

    /// The intermediate of a cluster, made or renewed where that is due.
    pub(super) async fn cluster(
        &mut self,
        objects: &Objects,
        cluster: &str,
        now: Timestamp,
    ) -> Result<AuthorityPem, AuthorityError> {
        let fresh = self.clusters.get(cluster).filter(|a| now < rotate_at(a.validity(), 0.0));
        if let Some(authority) = fresh {
            return Ok(authority.pem().clone());
        }
        let authority = self.root.cluster_authority(cluster, now).map_err(AuthorityError::Sign)?;
        let pem = authority.pem().clone();
        self.clusters.insert(cluster.to_owned(), authority);
        self.store(objects).await?;
        Ok(pem)
    }

    /// Roots that gateways and relays of the fleet trust, PEM.
    pub(super) fn trust_bundle(&self) -> String {
        let mut bundle = self.root.pem().certificate.clone();
        bundle.extend(self.previous.iter().map(String::as_str));
        bundle
    }

    fn read(fleet: &FleetKey, secret: &Secret) -> Result<Self, IdentityError> {
        let text = |key: &str| {
            let bytes = secret.data.as_ref().and_then(|data| data.get(key));
            bytes.map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned())
        };
        let pem = |certificate: &str, key: &str| {
            let key = KeyPem::new(text(key).unwrap_or_default());
            AuthorityPem { certificate: text(certificate).unwrap_or_default(), key }
        };
        let root = FleetAuthority::from_pem(pem(ROOT, ROOT_KEY))?;
        let mut clusters = BTreeMap::new();
        let names = secret
            .data
            .iter()
            .flatten()
            .filter_map(|(key, _)| key.strip_prefix("cluster-")?.strip_suffix(".crt"));
        for name in names {
            let stored = pem(&cluster_field(name, "crt"), &cluster_field(name, "key"));
            match ClusterAuthority::from_pem(stored) {
                Ok(authority) => {
                    clusters.insert(name.to_owned(), authority);
                }
                // One that cannot be read is made anew; the others go on.
                Err(error) => {
                    tracing::warn!(fleet = %fleet, cluster = name, %error, "intermediate is made anew")
                }
            }
        }
        Ok(Self { fleet: fleet.clone(), root, previous: text(PREVIOUS), clusters })
    }

    async fn store(&self, objects: &Objects) -> Result<(), AuthorityError> {
        let mut data = BTreeMap::from([
            (ROOT.to_owned(), self.root.pem().certificate.clone()),
            (ROOT_KEY.to_owned(), self.root.pem().key.expose().to_owned()),
        ]);
        data.extend(self.previous.iter().map(|previous| (PREVIOUS.to_owned(), previous.clone())));
        for (name, authority) in &self.clusters {
            data.insert(cluster_field(name, "crt"), authority.pem().certificate.clone());
            data.insert(cluster_field(name, "key"), authority.pem().key.expose().to_owned());
        }
        let labels = [
            (crds::LABEL_MANAGED_BY, crds::MANAGED_BY),
            (crds::LABEL_FLEET, &self.fleet.name),
            (crds::LABEL_COMPONENT, "authority"),
        ];
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(secret_name(&self.fleet)),
                namespace: Some(self.fleet.namespace.clone()),
                labels: Some(labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()),
                ..ObjectMeta::default()
            },
            type_: Some("gatefleet.dev/authority".to_owned()),
            data: Some(data.into_iter().map(|(key, text)| (key, ByteString(text.into_bytes()))).collect()),
            ..Secret::default()
        };
        let written = objects.apply(crds::FIELD_MANAGER, &secret).await;
        written.map(|_| ()).map_err(|error| AuthorityError::Objects(secret_label(&self.fleet), error))
    }
}

fn cluster_field(name: &str, suffix: &str) -> String {
    format!("cluster-{name}.{suffix}")
}

fn secret_name(fleet: &FleetKey) -> String {
    format!("{}-ca", fleet.name)
}

fn secret_label(fleet: &FleetKey) -> String {
    format!("{}/{}", fleet.namespace, secret_name(fleet))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::Store;

    #[tokio::test]
    async fn the_authority_survives_a_restart_and_signs_one_intermediate_per_cluster() {
        let objects = Objects::Folder(Store::new());
        let fleet = FleetKey { namespace: "n".into(), name: "edge".into() };
        let now = Timestamp::now();
        let mut first = Authority::load(&objects, &fleet, "edge.example", now).await.unwrap();
        let east = first.cluster(&objects, "east", now).await.unwrap();
        let west = first.cluster(&objects, "west", now).await.unwrap();
        assert_ne!(east.certificate, west.certificate);
        let mut second = Authority::load(&objects, &fleet, "edge.example", now).await.unwrap();
        assert_eq!(second.trust_bundle(), first.trust_bundle());
        assert_eq!(second.cluster(&objects, "east", now).await.unwrap(), east);
    }

    #[tokio::test]
    async fn intermediates_and_the_root_are_renewed_in_time_and_the_old_root_stays_trusted() {
        let objects = Objects::Folder(Store::new());
        let fleet = FleetKey { namespace: "n".into(), name: "edge".into() };
        let now = Timestamp::now();
        let mut first = Authority::load(&objects, &fleet, "edge.example", now).await.unwrap();
        let east = first.cluster(&objects, "east", now).await.unwrap();
        let later = now + jiff::SignedDuration::from_hours(24 * 80);
        assert_ne!(first.cluster(&objects, "east", later).await.unwrap(), east);
        let much_later = now + jiff::SignedDuration::from_hours(24 * 365 * 8);
        let second = Authority::load(&objects, &fleet, "edge.example", much_later).await.unwrap();
        assert!(second.trust_bundle().contains(&first.root.pem().certificate));
        assert_ne!(second.root.pem().certificate, first.root.pem().certificate);
    }
}
