// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The bootstrap file in Envoy's form.

use super::section::{Make, Section};
use crate::admin::hosts;
use crate::admin::json::timestamp;
use crate::process::Shared;
use crate::source;
use gateway_config::{AdsProtocol, Bootstrap, EndpointAddress, Source};
use gateway_xds_api::{Descriptors, Secrecy};
use gateway_xds_client::GATEWAY_USER_AGENT;
use serde_json::{Value, json};

/// `envoy.admin.v3.BootstrapConfigDump`.
pub(super) fn section(shared: &Shared) -> Section {
    let bootstrap = shared.bootstrap.clone();
    let started = shared.started;
    Section {
        message: "envoy.admin.v3.BootstrapConfigDump",
        single: vec![
            (
                "bootstrap",
                Box::new(move |descriptors: &Descriptors| message(&bootstrap, descriptors)) as Make,
            ),
            ("last_updated", Box::new(move |_| timestamp(started))),
        ],
        repeated: Vec::new(),
    }
}

/// The node as it is told to the control plane.
pub(in crate::admin) fn node(bootstrap: &Bootstrap) -> Value {
    let node = source::node(bootstrap);
    json!({
        "id": node.id,
        "cluster": node.cluster,
        "metadata": node.metadata,
        "user_agent_name": GATEWAY_USER_AGENT,
        "user_agent_version": env!("CARGO_PKG_VERSION"),
    })
}

fn message(bootstrap: &Bootstrap, descriptors: &Descriptors) -> Value {
    let sotw =
        matches!(&bootstrap.source, Source::ControlPlane(plane) if plane.protocol == AdsProtocol::Sotw);
    let ads = json!({"ads": {}, "resource_api_version": "V3"});
    let admin = hosts::address(&EndpointAddress::Socket(bootstrap.admin));
    let admin = descriptors.message_to_json(&admin, Secrecy::Redact).unwrap_or_default();
    json!({
        "node": node(bootstrap),
        "dynamic_resources": {
            "lds_config": ads,
            "cds_config": ads,
            "ads_config": {
                "api_type": if sotw { "GRPC" } else { "DELTA_GRPC" },
                "transport_api_version": "V3",
                "grpc_services": [{
                    "google_grpc": {"target_uri": bootstrap.ads_address(), "stat_prefix": "xds"},
                }],
            },
        },
        "admin": {"address": admin},
    })
}
