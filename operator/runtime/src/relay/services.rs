// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Services and their EndpointSlices, indexed by what a backend asks: which addresses serve this port now. Pure.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The label that ties a slice to its Service (Kubernetes, EndpointSlice).
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Namespace and name of a Service.
pub type ServiceName = (String, String);

/// What is known of a backend in this cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackendState {
    /// Not all Services and slices were listed yet: what was served before goes on.
    Unknown,
    /// The Service, or this port of it, does not exist here.
    Absent,
    /// The addresses; may be empty.
    Known(Vec<ServiceEndpoint>),
}

/// One address of a Service's port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceEndpoint {
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether it takes new requests. One that only drains is left out altogether unless nothing else serves.
    pub ready: bool,
    /// Zone of its node, where known.
    pub zone: Option<String>,
}

/// Services and slices of a cluster.
#[derive(Debug, Default)]
pub struct ServiceIndex {
    services: BTreeMap<ServiceName, Arc<Service>>,
    slices: BTreeMap<ServiceName, BTreeMap<String, Arc<EndpointSlice>>>,
    /// Which Service a slice belonged to, to notice when it moves.
    slice_owner: BTreeMap<ServiceName, ServiceName>,
    services_listed: bool,
    slices_listed: bool,
}

impl ServiceIndex {
    /// All Services were told once.
    pub fn services_listed(&mut self) {
        self.services_listed = true;
    }

    /// All slices were told once.
    pub fn slices_listed(&mut self) {
        self.slices_listed = true;
    }

    /// Whether absence means something by now.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.services_listed && self.slices_listed
    }

    /// A Service is there; yields its name.
    pub fn upsert_service(&mut self, service: Arc<Service>) -> ServiceName {
        let name = name_of(&service.metadata);
        self.services.insert(name.clone(), service);
        name
    }

    /// A Service is gone; yields its name.
    pub fn delete_service(&mut self, service: &Service) -> ServiceName {
        let name = name_of(&service.metadata);
        self.services.remove(&name);
        name
    }

    /// A slice is there; yields the Services whose endpoints may differ now.
    pub fn upsert_slice(&mut self, slice: Arc<EndpointSlice>) -> BTreeSet<ServiceName> {
        let mut touched = self.delete_slice(&slice);
        let own = name_of(&slice.metadata);
        let label = slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_NAME));
        if let Some(service) = label {
            let owner = (own.0.clone(), service.clone());
            self.slices.entry(owner.clone()).or_default().insert(own.1.clone(), slice);
            self.slice_owner.insert(own, owner.clone());
            touched.insert(owner);
        }
        touched
    }

    /// A slice is gone; yields the Services whose endpoints may differ now.
    pub fn delete_slice(&mut self, slice: &EndpointSlice) -> BTreeSet<ServiceName> {
        let own = name_of(&slice.metadata);
        let Some(owner) = self.slice_owner.remove(&own) else { return BTreeSet::new() };
        if let Some(slices) = self.slices.get_mut(&owner) {
            slices.remove(&own.1);
            if slices.is_empty() {
                self.slices.remove(&owner);
            }
        }
        BTreeSet::from([owner])
    }

    /// What serves a port of a Service.
    #[must_use]
    pub fn state(&self, namespace: &str, name: &str, port: u16) -> BackendState {
        if !self.is_listed() {
            return BackendState::Unknown;
        }
        let key = (namespace.to_owned(), name.to_owned());
        let Some(service) = self.services.get(&key) else { return BackendState::Absent };
        let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_ref());
        let Some(wanted) = ports.into_iter().flatten().find(|p| p.port == i32::from(port)) else {
            return BackendState::Absent;
        };
        let target = match &wanted.target_port {
            Some(IntOrString::Int(number)) => Some(*number),
            Some(IntOrString::String(_)) => None,
            None => Some(wanted.port),
        };
        let mut found: Vec<ServiceEndpoint> = Vec::new();
        for slice in self.slices.get(&key).into_iter().flat_map(BTreeMap::values) {
            found.extend(of_slice(slice, wanted.name.as_deref().unwrap_or_default(), target));
        }
        found.sort();
        found.dedup();
        BackendState::Known(serving(found))
    }
}

/// Ready endpoints; where there are none, those that still serve while they end (KEP-1669).
fn serving(found: Vec<ServiceEndpoint>) -> Vec<ServiceEndpoint> {
    if found.iter().any(|e| e.ready) {
        return found.into_iter().filter(|e| e.ready).collect();
    }
    found.into_iter().map(|e| ServiceEndpoint { ready: true, ..e }).collect()
}

fn of_slice<'a>(
    slice: &'a EndpointSlice,
    port_name: &'a str,
    target: Option<i32>,
) -> impl Iterator<Item = ServiceEndpoint> + 'a {
    let ports = slice.ports.as_deref().unwrap_or_default();
    let port = port_number(ports, port_name, target);
    let endpoints = slice.endpoints.iter().filter_map(move |endpoint| Some((endpoint, port?)));
    endpoints.flat_map(|(endpoint, port)| of_endpoint(endpoint, port))
}

/// Ports of a slice carry the Service port's name; a slice written by hand may leave it out.
fn port_number(ports: &[EndpointPort], name: &str, target: Option<i32>) -> Option<u16> {
    let by_name = ports.iter().find(|p| p.name.as_deref().unwrap_or_default() == name);
    let chosen = by_name.or_else(|| ports.iter().find(|p| p.name.is_none() && p.port == target));
    u16::try_from(chosen?.port?).ok()
}

fn of_endpoint(endpoint: &Endpoint, port: u16) -> Option<ServiceEndpoint> {
    let conditions = endpoint.conditions.as_ref();
    // Unset reads as true (EndpointConditions).
    let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
    let serves = conditions.and_then(|c| c.serving).unwrap_or(ready);
    if !serves {
        return None;
    }
    // All addresses of an endpoint are the same thing; clients use the first (EndpointSlice v1).
    let ip: IpAddr = endpoint.addresses.first()?.parse().ok()?;
    Some(ServiceEndpoint { address: SocketAddr::new(ip, port), ready, zone: endpoint.zone.clone() })
}

fn name_of(metadata: &kube::core::ObjectMeta) -> ServiceName {
    (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::{BackendState, ServiceIndex};
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn parse<T: serde::de::DeserializeOwned>(value: Value) -> Arc<T> {
        Arc::new(serde_json::from_value(value).unwrap())
    }

    fn service() -> Value {
        json!({"metadata": {"name": "a", "namespace": "n"}, "spec": {"ports": [{"name": "http", "port": 80, "targetPort": 9000}]}})
    }

    fn slice(name: &str, conditions: Value, address: &str) -> Value {
        json!({"metadata": {"name": name, "namespace": "n", "labels": {"kubernetes.io/service-name": "a"}},
               "addressType": "IPv4", "ports": [{"name": "http", "port": 9000}],
               "endpoints": [{"addresses": [address], "conditions": conditions}]})
    }

    fn addresses(state: BackendState) -> Vec<String> {
        match state {
            BackendState::Known(list) => list.into_iter().map(|e| e.address.to_string()).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn absence_means_nothing_before_the_lists_are_in() {
        let mut index = ServiceIndex::default();
        assert_eq!(index.state("n", "a", 80), BackendState::Unknown);
        index.services_listed();
        assert_eq!(index.state("n", "a", 80), BackendState::Unknown);
        index.slices_listed();
        assert_eq!(index.state("n", "a", 80), BackendState::Absent);
        index.upsert_service(parse(service()));
        assert_eq!(index.state("n", "a", 80), BackendState::Known(vec![]));
        assert_eq!(index.state("n", "a", 81), BackendState::Absent);
    }

    #[test]
    fn slices_add_up_and_a_draining_endpoint_serves_only_alone() {
        let mut index = ServiceIndex::default();
        index.services_listed();
        index.slices_listed();
        index.upsert_service(parse(service()));
        index.upsert_slice(parse(slice("s1", json!({"ready": true}), "10.0.0.1")));
        index.upsert_slice(parse(slice(
            "s2",
            json!({"ready": false, "serving": true, "terminating": true}),
            "10.0.0.2",
        )));
        index.upsert_slice(parse(slice("s3", json!({"ready": false, "serving": false}), "10.0.0.3")));
        assert_eq!(addresses(index.state("n", "a", 80)), ["10.0.0.1:9000"]);
        let gone = slice("s1", json!({}), "10.0.0.1");
        assert_eq!(index.delete_slice(&serde_json::from_value(gone).unwrap()).len(), 1);
        assert_eq!(addresses(index.state("n", "a", 80)), ["10.0.0.2:9000"]);
    }

    #[test]
    fn a_slice_that_moves_touches_both_services() {
        let mut index = ServiceIndex::default();
        index.upsert_slice(parse(slice("s1", json!({}), "10.0.0.1")));
        let mut moved = slice("s1", json!({}), "10.0.0.1");
        moved["metadata"]["labels"]["kubernetes.io/service-name"] = "b".into();
        assert_eq!(index.upsert_slice(parse(moved)).len(), 2);
    }
}
