// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Route tables, virtual hosts and routes.

mod action;

use crate::canonical::{ROUTE_METADATA, append, metadata};
use crate::matcher::route_match;
use crate::value::{ads, number, yes};
use crate::{cors, headers, names};
use gateway_xds_api::pb::envoy::config::route::v3::route::Action as EnvoyAction;
use gateway_xds_api::pb::envoy::config::route::v3::{
    Route, RouteConfiguration, Vhds, VirtualHost as EnvoyVirtualHost,
};
use gateway_xds_api::{PackedResource, ResourceType, pack, pack_encoded};
use operator_ir::{Action, RouteTableId, Rule, VirtualHost};
use prost::Message;
use std::sync::Arc;

/// Field of `RouteConfiguration.virtual_hosts`.
const VIRTUAL_HOSTS: u32 = 2;
/// Field of `VirtualHost.routes`.
const ROUTES: u32 = 3;
/// Largest body that the gateway itself answers with.
const DIRECT_RESPONSE_BYTES: u32 = 1 << 20;

/// A route table whose virtual hosts travel one by one.
pub(crate) fn table(id: &RouteTableId) -> PackedResource {
    let mut table = empty_table(id);
    table.vhds = Some(Vhds { config_source: ads() });
    pack(ResourceType::RouteConfiguration, names::route_configuration(id), &table, "")
}

/// A route table with its encoded virtual hosts inside.
pub(crate) fn table_with<'a>(
    name: &str,
    hosts: impl Iterator<Item = &'a Arc<PackedResource>>,
) -> PackedResource {
    let mut value = empty_table(&RouteTableId(name.to_owned())).encode_to_vec();
    for host in hosts {
        append(&mut value, VIRTUAL_HOSTS, &host.value);
    }
    pack_encoded(ResourceType::RouteConfiguration, name, value, "")
}

fn empty_table(id: &RouteTableId) -> RouteConfiguration {
    RouteConfiguration {
        name: names::route_configuration(id),
        // A route may name a Service that this cluster lacks: it answers 500, and the others go on.
        validate_clusters: yes(false),
        max_direct_response_body_size_bytes: number(DIRECT_RESPONSE_BYTES),
        ignore_port_in_host_matching: true,
        ..RouteConfiguration::default()
    }
}

/// Packs a virtual host.
pub(crate) fn virtual_host(host: &VirtualHost) -> PackedResource {
    let name = names::virtual_host(&host.id);
    let envoy = EnvoyVirtualHost {
        name: name.clone(),
        domains: vec![host.id.host.to_string()],
        ..EnvoyVirtualHost::default()
    };
    let mut value = envoy.encode_to_vec();
    for rule in &host.rules {
        let mut route = route(rule).encode_to_vec();
        append(&mut route, ROUTE_METADATA, &metadata(&rule.origin));
        append(&mut value, ROUTES, &route);
    }
    pack_encoded(ResourceType::VirtualHost, name, value, origin(host))
}

/// The one object that all rules come from, or none.
fn origin(host: &VirtualHost) -> String {
    let mut rules = host.rules.iter().map(|rule| &rule.origin);
    match rules.next() {
        Some(first) if rules.clone().all(|origin| origin == first) => first.to_string(),
        Some(first) if rules.all(|origin| origin.object == first.object) => first.object.to_string(),
        _ => String::new(),
    }
}

fn route(rule: &Rule) -> Route {
    let request_headers = &rule.filters.request_headers;
    let action = match &rule.action {
        Action::Forward(forward) => {
            action::forward(forward, &rule.matches.path, headers::host(request_headers))
        }
        Action::Redirect(redirect) => EnvoyAction::Redirect(action::redirect(redirect, &rule.matches.path)),
        Action::Respond(respond) => {
            EnvoyAction::DirectResponse(action::respond(respond.status, &respond.body))
        }
    };
    let policy = rule.filters.cors.as_ref().map(|cors| (cors::FILTER.to_owned(), cors::policy(cors)));
    Route {
        name: rule.name.clone(),
        r#match: Some(route_match(&rule.matches)),
        action: Some(action),
        request_headers_to_add: headers::to_add(request_headers),
        request_headers_to_remove: headers::to_remove(request_headers),
        response_headers_to_add: headers::to_add(&rule.filters.response_headers),
        response_headers_to_remove: headers::to_remove(&rule.filters.response_headers),
        // One entry at most: the generated map has no order.
        typed_per_filter_config: policy.into_iter().collect(),
        ..Route::default()
    }
}
