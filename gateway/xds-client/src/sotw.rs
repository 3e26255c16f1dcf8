// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! State-of-the-world ADS spoken by a client that thinks in differences: requests and responses are translated. Pure.
//!
//! - A request lists all names that are wanted of its type, and quotes the version that was last accepted.
//! - Of listeners and clusters, which are subscribed as a whole, a response is everything there is: what it lacks is gone.
//!   Of the other types it is what changed, and nothing goes away but with its last reference (xDS, "Deleting Resources").
//! - Resources whose bytes are those that were accepted are left out of what the client sees.

use gateway_xds_api::ResourceType;
use gateway_xds_api::pb::envoy::config::cluster::v3::Cluster;
use gateway_xds_api::pb::envoy::config::core::v3::Node;
use gateway_xds_api::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use gateway_xds_api::pb::envoy::config::listener::v3::Listener;
use gateway_xds_api::pb::envoy::config::route::v3::{RouteConfiguration, VirtualHost};
use gateway_xds_api::pb::envoy::extensions::transport_sockets::tls::v3::Secret;
use gateway_xds_api::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use gateway_xds_api::pb::google::protobuf::Any;
use gateway_xds_api::{UnpackError, pack_encoded, unpack};
use std::collections::{BTreeMap, BTreeSet};

/// The wrapper that a server may put around a resource.
const WRAPPER: &str = "envoy.service.discovery.v3.Resource";

/// One stream's state.
#[derive(Debug, Default)]
pub(crate) struct Sotw {
    node: Option<Node>,
    kinds: BTreeMap<String, Kind>,
}

/// One type's state.
#[derive(Debug, Default)]
struct Kind {
    /// Names told; empty where the type is subscribed as a whole.
    names: BTreeSet<String>,
    /// The version last accepted.
    accepted: String,
    /// The nonce last received.
    nonce: String,
    /// What was last received and not answered yet: its version and its resources.
    received: Option<(String, BTreeMap<String, String>)>,
    /// Content hashes of what was accepted, by name.
    held: BTreeMap<String, String>,
}

impl Sotw {
    /// The request that says the same.
    pub(crate) fn request(&mut self, delta: DeltaDiscoveryRequest) -> DiscoveryRequest {
        if let Some(node) = delta.node {
            self.node = Some(node);
        }
        let kind = self.kinds.entry(delta.type_url.clone()).or_default();
        if let Some((version, resources)) = kind.received.take_if(|_| delta.response_nonce == kind.nonce) {
            match &delta.error_detail {
                None => {
                    kind.accepted = version;
                    kind.held.extend(resources);
                }
                // Which of them were good is not known here: all of them are looked at again when they come again.
                Some(_) => resources.keys().for_each(|name| _ = kind.held.remove(name)),
            }
        }
        kind.names.extend(delta.resource_names_subscribe.into_iter().filter(|name| name != "*"));
        for name in &delta.resource_names_unsubscribe {
            kind.names.remove(name);
            kind.held.remove(name);
        }
        DiscoveryRequest {
            version_info: kind.accepted.clone(),
            node: self.node.clone(),
            resource_names: kind.names.iter().cloned().collect(),
            type_url: delta.type_url,
            response_nonce: kind.nonce.clone(),
            error_detail: delta.error_detail,
            ..DiscoveryRequest::default()
        }
    }

    /// The differences that a response makes.
    pub(crate) fn response(&mut self, response: DiscoveryResponse) -> DeltaDiscoveryResponse {
        let kind = self.kinds.entry(response.type_url.clone()).or_default();
        let mut seen = BTreeMap::new();
        let mut resources = Vec::new();
        for any in response.resources {
            let resource = named(&response.type_url, any);
            let twice = seen.contains_key(&resource.name);
            if twice || kind.held.get(&resource.name) != Some(&resource.version) {
                seen.insert(resource.name.clone(), resource.version.clone());
                resources.push(resource);
            } else {
                seen.insert(resource.name, resource.version);
            }
        }
        let whole = ResourceType::from_type_url(&response.type_url)
            .is_some_and(|kind| matches!(kind, ResourceType::Listener | ResourceType::Cluster));
        let mut removed_resources = Vec::new();
        if whole {
            kind.held.retain(|name, _| {
                let there = seen.contains_key(name);
                if !there {
                    removed_resources.push(name.clone());
                }
                there
            });
        }
        kind.nonce.clone_from(&response.nonce);
        kind.received = Some((response.version_info.clone(), seen));
        DeltaDiscoveryResponse {
            system_version_info: response.version_info,
            resources,
            type_url: response.type_url,
            removed_resources,
            nonce: response.nonce,
            ..DeltaDiscoveryResponse::default()
        }
    }
}

/// A resource with its name, which only its content tells; without one where that cannot be read, which gets it rejected.
fn named(type_url: &str, any: Any) -> Resource {
    if any.type_url.ends_with(WRAPPER)
        && let Ok(wrapped) = unpack::<Resource>(&any)
    {
        return match wrapped.resource {
            Some(inner) if wrapped.name.is_empty() => named(type_url, inner),
            Some(ref inner) => Resource { version: hash(type_url, inner), ..wrapped },
            None => wrapped,
        };
    }
    let name = ResourceType::from_type_url(type_url).and_then(|kind| name_of(kind, &any).ok());
    Resource {
        name: name.unwrap_or_default(),
        version: hash(type_url, &any),
        resource: Some(any),
        ..Resource::default()
    }
}

fn name_of(kind: ResourceType, any: &Any) -> Result<String, UnpackError> {
    Ok(match kind {
        ResourceType::Secret => unpack::<Secret>(any)?.name,
        ResourceType::Cluster => unpack::<Cluster>(any)?.name,
        ResourceType::ClusterLoadAssignment => unpack::<ClusterLoadAssignment>(any)?.cluster_name,
        ResourceType::Listener => unpack::<Listener>(any)?.name,
        ResourceType::RouteConfiguration => unpack::<RouteConfiguration>(any)?.name,
        ResourceType::VirtualHost => unpack::<VirtualHost>(any)?.name,
    })
}

/// The content's version, as for a configuration kept on disk: the server's own is one for all.
fn hash(type_url: &str, any: &Any) -> String {
    ResourceType::from_type_url(type_url)
        .map_or_else(String::new, |kind| pack_encoded(kind, "", any.value.clone(), "").version)
}

#[cfg(test)]
mod tests {
    use super::Sotw;
    use gateway_xds_api::ResourceType::{self, Cluster, RouteConfiguration};
    use gateway_xds_api::pb::envoy::config::cluster::v3::Cluster as ClusterMessage;
    use gateway_xds_api::pb::envoy::config::route::v3::RouteConfiguration as RouteMessage;
    use gateway_xds_api::pb::envoy::service::discovery::v3::{
        DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryResponse,
    };
    use gateway_xds_api::pb::google::protobuf::Any;
    use gateway_xds_api::pb::google::rpc::Status;
    use gateway_xds_api::{pack, pb::envoy::config::core::v3::Node};

    fn ask(kind: ResourceType, names: &[&str]) -> DeltaDiscoveryRequest {
        DeltaDiscoveryRequest {
            type_url: kind.type_url().to_owned(),
            resource_names_subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
            ..DeltaDiscoveryRequest::default()
        }
    }

    fn answer(kind: ResourceType, nonce: &str, bad: bool) -> DeltaDiscoveryRequest {
        let error_detail = bad.then(|| Status { code: 3, ..Status::default() });
        DeltaDiscoveryRequest { response_nonce: nonce.to_owned(), error_detail, ..ask(kind, &[]) }
    }

    /// A response with clusters; a name's second part makes its content.
    fn clusters(version: &str, names: &[&str]) -> DiscoveryResponse {
        let resource = |name: &&str| {
            let (name, content) = name.split_once(':').unwrap_or((name, ""));
            let message = ClusterMessage {
                name: name.to_owned(),
                alt_stat_name: content.to_owned(),
                ..ClusterMessage::default()
            };
            let packed = pack(Cluster, name, &message, "");
            Any { type_url: Cluster.type_url().to_owned(), value: packed.value.to_vec() }
        };
        DiscoveryResponse {
            version_info: version.to_owned(),
            resources: names.iter().map(resource).collect(),
            type_url: Cluster.type_url().to_owned(),
            nonce: format!("n{version}"),
            ..DiscoveryResponse::default()
        }
    }

    fn names(response: &DeltaDiscoveryResponse) -> Vec<&str> {
        response.resources.iter().map(|resource| resource.name.as_str()).collect()
    }

    #[test]
    fn a_whole_type_is_followed_by_differences() {
        let mut sotw = Sotw::default();
        let node = Node { id: "n".to_owned(), ..Node::default() };
        let first = sotw.request(DeltaDiscoveryRequest { node: Some(node), ..ask(Cluster, &["*"]) });
        assert_eq!((first.resource_names.len(), first.version_info.as_str()), (0, ""), "all of them");
        assert_eq!(names(&sotw.response(clusters("1", &["a", "b"]))), ["a", "b"]);
        let ack = sotw.request(answer(Cluster, "n1", false));
        assert_eq!((ack.version_info.as_str(), ack.response_nonce.as_str()), ("1", "n1"));
        assert_eq!(ack.node.unwrap().id, "n");
        let second = sotw.response(clusters("2", &["a:new", "c"]));
        assert_eq!((names(&second), &*second.removed_resources), (vec!["a", "c"], &["b".to_owned()][..]));
    }

    #[test]
    fn what_was_refused_is_looked_at_again() {
        let mut sotw = Sotw::default();
        sotw.request(ask(Cluster, &["*"]));
        sotw.response(clusters("1", &["a"]));
        sotw.request(answer(Cluster, "n1", false));
        sotw.response(clusters("2", &["a:bad", "b"]));
        let nack = sotw.request(answer(Cluster, "n2", true));
        assert_eq!((nack.version_info.as_str(), nack.response_nonce.as_str()), ("1", "n2"));
        assert!(nack.error_detail.is_some());
        assert_eq!(names(&sotw.response(clusters("3", &["a:bad", "b"]))), ["a", "b"]);
    }

    #[test]
    fn names_are_told_all_together_and_absence_removes_nothing() {
        let mut sotw = Sotw::default();
        sotw.request(ask(RouteConfiguration, &["r"]));
        assert_eq!(sotw.request(ask(RouteConfiguration, &["s"])).resource_names, ["r", "s"]);
        let mut drop = ask(RouteConfiguration, &[]);
        drop.resource_names_unsubscribe = vec!["r".to_owned()];
        assert_eq!(sotw.request(drop).resource_names, ["s"]);
        let message = RouteMessage { name: "s".to_owned(), ..RouteMessage::default() };
        let value = pack(RouteConfiguration, "s", &message, "").value.to_vec();
        let type_url = RouteConfiguration.type_url().to_owned();
        let resources = vec![Any { type_url: type_url.clone(), value }];
        let full =
            DiscoveryResponse { type_url, resources, nonce: "1".to_owned(), ..DiscoveryResponse::default() };
        assert_eq!(names(&sotw.response(full.clone())), ["s"]);
        sotw.request(answer(RouteConfiguration, "1", false));
        let empty = sotw.response(DiscoveryResponse { resources: Vec::new(), nonce: "2".to_owned(), ..full });
        assert!(empty.removed_resources.is_empty() && empty.resources.is_empty());
    }
}
