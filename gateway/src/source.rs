// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Where the configuration comes from: a fleet's relay, or any ADS server; what each of them is asked for.

use gateway_config::{AdsProtocol, Bootstrap, ControlPlane, Membership, Source};
use gateway_proxy::IstioSource;
use gateway_xds_api::ResourceType;
use gateway_xds_api::pb::envoy::config::route::v3::RouteConfiguration;
use gateway_xds_client::{
    CertificateWatch, ClientOptions, IdentityOptions, NodeIdentity, Protocol, Rejection, RelayClient,
    RelayOptions, Security, Update, WorkloadIdentity,
};
use prost::Message;
use serde_json::Value;
use std::time::Duration;
use tokio::sync::watch;

/// Time after which resources are asked for again that could not be used for a passing reason.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// The identity that a fleet's gateway is issued; others have none.
pub(crate) fn identity(bootstrap: &Bootstrap) -> Option<WorkloadIdentity> {
    let Source::Fleet(member) = &bootstrap.source else { return None };
    Some(WorkloadIdentity::new(IdentityOptions {
        node_id: member.node_id(),
        issuer: relay_options(member),
        token_file: member.token_file.clone(),
    }))
}

/// The certificate of a gateway that is issued none.
pub(crate) fn no_certificate() -> CertificateWatch {
    watch::channel(None).1
}

/// The relay's HTTPS port.
pub(crate) fn relay(bootstrap: &Bootstrap) -> Option<RelayClient> {
    match &bootstrap.source {
        Source::Fleet(member) => Some(RelayClient::new(relay_options(member))),
        Source::ControlPlane(_) => None,
    }
}

/// The types that are subscribed as a whole.
pub(crate) fn wildcards(bootstrap: &Bootstrap) -> &'static [ResourceType] {
    match bootstrap.source {
        Source::Fleet(_) => &[ResourceType::Cluster, ResourceType::Listener, ResourceType::VirtualHost],
        // Servers that know no virtual hosts as resources end the stream when asked for them.
        Source::ControlPlane(_) => &[ResourceType::Cluster, ResourceType::Listener],
    }
}

/// Takes out of an update what cannot be followed up: virtual hosts of their own are asked of a relay alone.
pub(crate) fn refuse(bootstrap: &Bootstrap, update: &mut Update) -> Vec<Rejection> {
    if matches!(bootstrap.source, Source::Fleet(_)) || update.kind != ResourceType::RouteConfiguration {
        return Vec::new();
    }
    let mut refused = Vec::new();
    update.upserts.retain(|upsert| {
        let vhds = RouteConfiguration::decode(upsert.value.clone()).is_ok_and(|table| table.vhds.is_some());
        if vhds {
            let message = "vhds: virtual hosts are not asked for one by one of this control plane; put them into virtual_hosts";
            refused.push(Rejection::new(upsert.name.clone(), message));
        }
        !vhds
    });
    refused
}

/// Who the gateway says it is.
pub(crate) fn node(bootstrap: &Bootstrap) -> NodeIdentity {
    match &bootstrap.source {
        Source::Fleet(member) => NodeIdentity {
            id: member.node_id(),
            cluster: format!("{}/{}", member.fleet.namespace, member.fleet.name),
            metadata: serde_json::Map::new(),
            locality: locality(bootstrap),
        },
        Source::ControlPlane(control_plane) => NodeIdentity {
            id: control_plane.node.id.clone(),
            cluster: control_plane.node.cluster.clone(),
            metadata: control_plane.node.metadata.clone(),
            locality: locality(bootstrap),
        },
    }
}

/// Who the gateway is in Istio's metrics: what istiod's agent writes into the node's metadata, or the fleet's names.
pub(crate) fn istio(bootstrap: &Bootstrap) -> IstioSource {
    match &bootstrap.source {
        Source::Fleet(member) => IstioSource {
            workload: member.fleet.name.clone(),
            namespace: member.node.namespace.clone(),
            app: member.fleet.name.clone(),
            cluster: member.node.cluster.clone(),
            ..IstioSource::default()
        },
        Source::ControlPlane(control_plane) => {
            let metadata = &control_plane.node.metadata;
            let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
            let labels = metadata.get("LABELS").and_then(Value::as_object);
            let label = |name: &str| text(labels.and_then(|labels| labels.get(name)));
            let either = |first: String, second: String| if first.is_empty() { second } else { first };
            IstioSource {
                workload: text(metadata.get("WORKLOAD_NAME")),
                namespace: text(metadata.get("NAMESPACE")),
                app: either(label("service.istio.io/canonical-name"), label("app")),
                version: either(label("service.istio.io/canonical-revision"), label("version")),
                cluster: text(metadata.get("CLUSTER_ID")),
                principal: String::new(),
            }
        }
    }
}

/// Whom the ADS client talks to.
pub(crate) fn client(bootstrap: &Bootstrap, certificate: CertificateWatch) -> ClientOptions {
    match &bootstrap.source {
        Source::Fleet(member) => ClientOptions {
            address: member.relay.address.clone(),
            node: node(bootstrap),
            protocol: Protocol::Delta,
            security: Security::MutualTls {
                server_name: member.relay.server_name.clone(),
                trust_bundle: member.trust_bundle.clone(),
                certificate,
            },
            ask_again: ASK_AGAIN,
        },
        Source::ControlPlane(control_plane) => ClientOptions {
            address: control_plane.address.clone(),
            node: node(bootstrap),
            protocol: match control_plane.protocol {
                AdsProtocol::Delta => Protocol::Delta,
                AdsProtocol::Sotw => Protocol::Sotw,
            },
            security: security(control_plane),
            ask_again: ASK_AGAIN,
        },
    }
}

fn locality(bootstrap: &Bootstrap) -> Option<[String; 3]> {
    let place = &bootstrap.local.as_ref()?.place;
    Some([&place.region, &place.zone, &place.sub_zone].map(ToString::to_string))
}

fn security(control_plane: &ControlPlane) -> Security {
    match &control_plane.tls {
        None => Security::Plaintext,
        Some(tls) => Security::Tls {
            server_name: tls.server_name.clone(),
            trust_bundle: tls.trust_bundle.clone(),
            identity: tls.certificate.clone().zip(tls.key.clone()),
        },
    }
}

fn relay_options(member: &Membership) -> RelayOptions {
    RelayOptions {
        address: member.relay.issuer.clone(),
        server_name: member.relay.server_name.clone(),
        trust_bundle: member.trust_bundle.clone(),
    }
}
