// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Inputs that the tests share.

use crds::GatewayFleet;
use crds::gateway_fleet::Template;
use multicluster_manifests::{
    FleetIdentity, GatewayPort, GatewayWorkload, Images, MemberInput, PortProtocol, RelayPlacement,
    WorkloadId, WorkloadOwner,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(crate) const DIGEST: &str = "sha256:9f2c1d5e8a7b3c4d6e0f1a2b3c4d5e6f7081920a1b2c3d4e5f60718293a4b5c6";

pub(crate) fn tcp(port: u16) -> GatewayPort {
    GatewayPort { port, protocol: PortProtocol::Tcp }
}

pub(crate) fn workload(name: &str, ports: &[u16]) -> GatewayWorkload {
    GatewayWorkload {
        id: WorkloadId { namespace: "gateways".into(), name: name.into() },
        owner: WorkloadOwner::Fleet,
        ports: ports.iter().copied().map(tcp).collect(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        addresses: Vec::new(),
    }
}

pub(crate) fn input(template: Value) -> MemberInput {
    MemberInput {
        fleet: FleetIdentity {
            namespace: "platform".into(),
            name: "edge".into(),
            uid: "7d0c2f5e-1111-4222-8333-444455556666".into(),
            target_namespace: "gateways".into(),
        },
        cluster: "eu-west-1".into(),
        template: serde_json::from_value::<Template>(template).unwrap(),
        patches: Vec::new(),
        relay: RelayPlacement::Deployment { arguments: Vec::new() },
        images: Images {
            gateway: format!("registry.example/gatefleet/gateway@{DIGEST}"),
            relay: format!("registry.example/gatefleet/gatefleet@{DIGEST}"),
        },
        trust_bundle: "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n".into(),
        gateways: vec![workload("edge", &[80, 443])],
    }
}

/// The default fleet, and one that uses everything.
pub(crate) fn inputs() -> Vec<(&'static str, MemberInput)> {
    let mut everything = input(json!({
        "image": format!("registry.example/gw/proxy@{DIGEST}"),
        "pullSecrets": ["regcred"],
        "resources": {"requests": {"cpu": "1", "memory": "512Mi"}, "limits": {"memory": "1Gi"}},
        "autoscaling": {"enabled": false, "minReplicas": 2},
        "disruption": {"maxUnavailable": "25%"},
        "topology": {"zone": "Ignore", "node": "DoNotSchedule", "maxSkew": 2},
        "service": {
            "type": "LoadBalancer", "externalTrafficPolicy": "Local", "loadBalancerClass": "example.com/lb",
            "annotations": {"example.com/internal": "true"},
        },
        "metrics": {"port": 9090},
        "drainSeconds": 10,
        "podPatch": {"metadata": {"labels": {"istio": "ingressgateway"}}, "spec": {
            "priorityClassName": "gateway-critical",
            "containers": [
                {"name": "gateway", "env": [{"name": "RUST_BACKTRACE", "value": "1"}]},
                {"name": "sidecar", "image": "registry.example/sidecar:v1"},
            ],
            "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Mi"}}],
        }},
        "relay": {"replicas": 3, "image": format!("registry.example/gw/relay@{DIGEST}")},
    }));
    everything.gateways.push(GatewayWorkload {
        id: WorkloadId { namespace: "shop".into(), name: "shop-gateway".into() },
        owner: WorkloadOwner::Gateway { name: "shop-gateway".into() },
        ports: vec![tcp(8080), GatewayPort { port: 53, protocol: PortProtocol::Udp }],
        labels: BTreeMap::from([("team".into(), "shop".into())]),
        annotations: BTreeMap::from([("example.com/owner".into(), "shop".into())]),
        addresses: vec!["192.0.2.7".into()],
    });
    let mut elsewhere = input(json!({"service": {"type": "ClusterIP"}}));
    elsewhere.relay = RelayPlacement::Elsewhere {
        address: "gatefleet.gatefleet-system.svc:15010".into(),
        issuer: "gatefleet.gatefleet-system.svc:15012".into(),
    };
    elsewhere.gateways[0].addresses = vec!["10.0.0.9".into()];
    vec![("defaults", input(json!({}))), ("everything", everything), ("relay-elsewhere", elsewhere)]
}

pub(crate) fn fleet(spec: &str) -> GatewayFleet {
    let text = format!(
        "{{apiVersion: gatefleet.dev/v1alpha1, kind: GatewayFleet, metadata: {{name: edge, namespace: platform}}, spec: {{{spec}}}}}"
    );
    serde_saphyr::from_str(&text).unwrap()
}
