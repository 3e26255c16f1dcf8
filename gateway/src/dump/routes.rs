// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Route tables as JSON.

use gateway_config::{Action, FilterSetting, Forward, Route, RouteTable, VirtualHost};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A route table.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RouteTableView {
    name: String,
    virtual_hosts: Vec<VirtualHostView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct VirtualHostView {
    name: String,
    domains: Vec<String>,
    routes: Vec<RouteView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RouteView {
    name: String,
    matches: String,
    action: ActionView,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    filters: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
enum ActionView {
    #[serde(rename_all = "camelCase")]
    Forward {
        clusters: Vec<WeightView>,
        timeout_ms: Option<u128>,
        #[serde(skip_serializing_if = "Option::is_none")]
        retry: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        path_rewrite: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        host_rewrite: Option<String>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        mirrors: Vec<String>,
    },
    Redirect {
        settings: String,
    },
    #[serde(rename_all = "camelCase")]
    DirectResponse {
        settings: String,
    },
}

#[derive(Debug, Serialize)]
struct WeightView {
    name: String,
    weight: u32,
}

impl RouteTableView {
    pub(crate) fn of(table: &RouteTable) -> Self {
        // A virtual host stands under each of its domains.
        let mut hosts: BTreeMap<*const VirtualHost, (&Arc<VirtualHost>, Vec<String>)> = BTreeMap::new();
        for (domain, host) in table.domains() {
            hosts.entry(Arc::as_ptr(host)).or_insert((host, Vec::new())).1.push(domain);
        }
        let view = |(host, mut domains): (&Arc<VirtualHost>, Vec<String>)| {
            domains.sort();
            VirtualHostView {
                name: host.name.to_string(),
                domains,
                routes: host.routes().iter().map(|route| route_view(route)).collect(),
            }
        };
        let mut virtual_hosts: Vec<_> = hosts.into_values().map(view).collect();
        virtual_hosts.sort_by(|a, b| a.domains.cmp(&b.domains));
        Self { name: table.name.to_string(), virtual_hosts }
    }
}

fn route_view(route: &Route) -> RouteView {
    let setting = |(name, setting): &(Box<str>, FilterSetting)| match setting {
        FilterSetting::Disabled => format!("{name}: disabled"),
        FilterSetting::Enabled => format!("{name}: enabled"),
        other => format!("{name}: own settings of kind {}", other.kind()),
    };
    RouteView {
        name: route.name.to_string(),
        matches: format!("{:?}", route.matcher),
        action: match &route.action {
            Action::Forward(forward) => forward_view(forward),
            Action::Redirect(redirect) => ActionView::Redirect { settings: format!("{redirect:?}") },
            Action::Respond(direct) => ActionView::DirectResponse { settings: format!("{direct:?}") },
        },
        filters: route.filters.by_name.iter().map(setting).collect(),
    }
}

fn forward_view(forward: &Forward) -> ActionView {
    let weight = |cluster: &gateway_config::WeightedCluster| WeightView {
        name: cluster.name.to_string(),
        weight: cluster.weight,
    };
    ActionView::Forward {
        clusters: forward.clusters.clusters.iter().map(weight).collect(),
        timeout_ms: forward.timeout.map(|timeout| timeout.as_millis()),
        retry: forward.retry.as_ref().map(|retry| format!("{retry:?}")),
        path_rewrite: forward.path_rewrite.as_ref().map(|rewrite| format!("{rewrite:?}")),
        host_rewrite: forward.host_rewrite.as_ref().map(|rewrite| format!("{rewrite:?}")),
        mirrors: forward.mirrors.iter().map(|mirror| mirror.cluster.to_string()).collect(),
    }
}
