// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Who a gateway process is: SPIFFE URI and node id.

use crate::IdentityError;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Longest part of a name (a DNS subdomain, RFC 1123).
const LONGEST_PART: usize = 253;

/// Names a GatewayFleet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FleetName {
    /// Namespace on the hub.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl fmt::Display for FleetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.namespace, self.name)
    }
}

/// An attested gateway process. As URI it is
/// `spiffe://<trustDomain>/cluster/<cluster>/ns/<ns>/sa/<serviceaccount>/fleet/<fleet namespace>.<fleet>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WorkloadIdentity {
    /// The installation's trust domain.
    pub trust_domain: String,
    /// Name of the member cluster.
    pub cluster: String,
    /// Namespace of the pod.
    pub namespace: String,
    /// ServiceAccount of the pod; also the name of its gateway.
    pub service_account: String,
    /// The fleet that it serves.
    pub fleet: FleetName,
    /// Name of the pod, or of the process on a host.
    pub pod: String,
}

impl WorkloadIdentity {
    /// The URI SAN of its certificate.
    ///
    /// # Errors
    /// Where a part has characters that would change the URI's shape.
    pub fn spiffe_uri(&self) -> Result<String, IdentityError> {
        self.check()?;
        Ok(format!(
            "{}/ns/{}/sa/{}/fleet/{}",
            cluster_uri(&self.trust_domain, &self.cluster)?,
            self.namespace,
            self.service_account,
            self.fleet
        ))
    }

    /// The node id `<cluster>/<ns>/<pod>`: CN of its certificate and `node.id` of its streams.
    #[must_use]
    pub fn node_id(&self) -> String {
        format!("{}/{}/{}", self.cluster, self.namespace, self.pod)
    }

    /// Reads the URI SAN and the CN of a certificate; both must name the same cluster and namespace.
    ///
    /// # Errors
    /// Where one is malformed or they disagree.
    pub fn parse(uri: &str, node_id: &str) -> Result<Self, IdentityError> {
        let malformed = || IdentityError::Uri(uri.to_owned());
        let path = uri.strip_prefix("spiffe://").ok_or_else(malformed)?;
        let parts: Vec<&str> = path.split('/').collect();
        let [trust_domain, "cluster", cluster, "ns", namespace, "sa", service_account, "fleet", fleet] =
            parts[..]
        else {
            return Err(malformed());
        };
        let (fleet_namespace, fleet_name) = fleet.split_once('.').ok_or_else(malformed)?;
        let pod = node_id
            .strip_prefix(cluster)
            .and_then(|rest| rest.strip_prefix('/'))
            .and_then(|rest| rest.strip_prefix(namespace))
            .and_then(|rest| rest.strip_prefix('/'))
            .ok_or_else(|| IdentityError::Disagree(format!("node id {node_id:?} is not of {uri}")))?;
        let identity = Self {
            trust_domain: trust_domain.to_owned(),
            cluster: cluster.to_owned(),
            namespace: namespace.to_owned(),
            service_account: service_account.to_owned(),
            fleet: FleetName { namespace: fleet_namespace.to_owned(), name: fleet_name.to_owned() },
            pod: pod.to_owned(),
        };
        identity.check()?;
        Ok(identity)
    }

    fn check(&self) -> Result<(), IdentityError> {
        check_part("trust domain", &self.trust_domain)?;
        check_part("cluster", &self.cluster)?;
        check_part("namespace", &self.namespace)?;
        check_part("service account", &self.service_account)?;
        check_part("fleet name", &self.fleet.name)?;
        check_part("pod", &self.pod)?;
        // A namespace is one DNS label: the first dot ends it in the URI.
        if self.fleet.namespace.contains('.') {
            return Err(IdentityError::Name { part: "fleet namespace", value: self.fleet.namespace.clone() });
        }
        check_part("fleet namespace", &self.fleet.namespace)
    }
}

/// The URI SAN of a cluster's intermediate; every identity in that cluster begins so.
pub(crate) fn cluster_uri(trust_domain: &str, cluster: &str) -> Result<String, IdentityError> {
    check_part("trust domain", trust_domain)?;
    check_part("cluster", cluster)?;
    Ok(format!("spiffe://{trust_domain}/cluster/{cluster}"))
}

/// Letters, digits, `-`, `_` and `.`, and no path trick.
pub(crate) fn check_part(part: &'static str, value: &str) -> Result<(), IdentityError> {
    let plain = value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if value.is_empty() || value.len() > LONGEST_PART || value == "." || value == ".." || !plain {
        return Err(IdentityError::Name { part, value: value.chars().take(LONGEST_PART).collect() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{FleetName, WorkloadIdentity};

    fn identity() -> WorkloadIdentity {
        WorkloadIdentity {
            trust_domain: "fleet.example".into(),
            cluster: "eu-west-1".into(),
            namespace: "gateways".into(),
            service_account: "edge".into(),
            fleet: FleetName { namespace: "gateways".into(), name: "edge.v2".into() },
            pod: "edge-7d9f-abcde".into(),
        }
    }

    #[test]
    fn uri_and_node_id_read_back() {
        let uri = identity().spiffe_uri().unwrap();
        assert_eq!(
            uri,
            "spiffe://fleet.example/cluster/eu-west-1/ns/gateways/sa/edge/fleet/gateways.edge.v2"
        );
        assert_eq!(identity().node_id(), "eu-west-1/gateways/edge-7d9f-abcde");
        assert_eq!(WorkloadIdentity::parse(&uri, &identity().node_id()).unwrap(), identity());
    }

    #[test]
    fn hostile_names_are_refused() {
        for bad in ["", "..", "a/b", "a b", "a%2fb", "a\u{0}", "ä", &"x".repeat(254)] {
            for set in [
                |i: &mut WorkloadIdentity, v: &str| i.cluster = v.into(),
                |i: &mut WorkloadIdentity, v: &str| i.namespace = v.into(),
                |i: &mut WorkloadIdentity, v: &str| i.service_account = v.into(),
                |i: &mut WorkloadIdentity, v: &str| i.pod = v.into(),
                |i: &mut WorkloadIdentity, v: &str| i.fleet.name = v.into(),
                |i: &mut WorkloadIdentity, v: &str| i.trust_domain = v.into(),
            ] {
                let mut identity = identity();
                set(&mut identity, bad);
                assert!(identity.spiffe_uri().is_err(), "{bad:?} was taken");
            }
        }
        for (uri, node) in [
            ("spiffe://t/cluster/c/ns/n/sa/s", "c/n/p"),
            ("spiffe://t/cluster/c/ns/n/sa/s/fleet/nodot", "c/n/p"),
            ("spiffe://t/cluster/c/ns/n/sa/s/fleet/f.g/more", "c/n/p"),
            ("https://t/cluster/c/ns/n/sa/s/fleet/f.g", "c/n/p"),
            ("spiffe://t/cluster/c/ns/n/sa/s/fleet/f.g", "other/n/p"),
            ("spiffe://t/cluster/c/ns/n/sa/s/fleet/f.g", "c/other/p"),
            ("spiffe://t/cluster/c/ns/n/sa/s/fleet/f.g", "c/n/"),
            ("spiffe://t/cluster/c/ns/n/sa/s/fleet/f.g", "c/n/p/q"),
        ] {
            assert!(WorkloadIdentity::parse(uri, node).is_err(), "{uri} with {node} was taken");
        }
    }
}
