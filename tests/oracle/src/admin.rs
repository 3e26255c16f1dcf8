// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The admin pages of both proxies after the same requests: what the dumps hold, which hosts there are, which numbers there are
//! and what they count.

use crate::compare::Difference;
use crate::proxies::Proxy;
use anyhow::Context;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use tokio::net::TcpStream;

/// Ports of the pages.
pub(crate) const ADMIN_PORT: u16 = 19000;
pub(crate) const METRICS_PORT: u16 = 19090;

/// The case whose numbers are compared: the beginning of its cluster names, and its `stat_prefix`.
const CASE: &str = "admin";

/// Envoy's only static cluster is the way to its control plane.
const CONTROL: &str = "control";

/// Lists of a dump, and where in their messages the resource's name is.
const LISTS: [(&str, &str); 7] = [
    ("dynamic_active_clusters", "/cluster/name"),
    ("dynamic_warming_clusters", "/cluster/name"),
    ("dynamic_listeners", "/name"),
    ("static_route_configs", "/route_config/name"),
    ("dynamic_route_configs", "/route_config/name"),
    ("dynamic_active_secrets", "/name"),
    ("dynamic_endpoint_configs", "/endpoint_config/cluster_name"),
];

/// Compares everything.
pub(crate) async fn compare(ours: &Proxy, envoy: &Proxy) -> anyhow::Result<Vec<Difference>> {
    let mut differences = Vec::new();
    let mut both = async |path: &str, view: fn(&Proxy, &str) -> anyhow::Result<BTreeMap<String, String>>| {
        let mut views = Vec::new();
        for proxy in [ours, envoy] {
            let page = page(SocketAddr::new(proxy.address, ADMIN_PORT), path).await?;
            views.push(view(proxy, &page).with_context(|| format!("{path} of {}", proxy.name))?);
        }
        let [ours, envoy] = views.try_into().ok().context("two views")?;
        differences.extend(unlike(path, &ours, &envoy));
        anyhow::Ok(())
    };
    both("/config_dump?include_eds", dump).await?;
    both("/clusters?format=json", clusters).await?;
    both("/clusters", cluster_lines).await?;
    both("/listeners", listener_lines).await?;
    let own = page(SocketAddr::new(ours.address, METRICS_PORT), "/stats/prometheus").await?;
    let theirs = page(SocketAddr::new(envoy.address, ADMIN_PORT), "/stats/prometheus").await?;
    let (own, theirs) = (Metrics::read(ours, &own), Metrics::read(envoy, &theirs));
    println!(
        "{} families of metrics under Envoy's names, {} series counted",
        own.families.len(),
        own.counted.len()
    );
    differences.extend(own.families_unlike(&theirs));
    let counted = |all: &BTreeMap<String, String>, other: &BTreeMap<String, String>| {
        all.iter()
            .filter(|(name, _)| other.contains_key(*name))
            .map(|(n, v)| (n.clone(), v.clone()))
            .collect()
    };
    let sides: [BTreeMap<String, String>; 2] =
        [counted(&own.counted, &theirs.counted), counted(&theirs.counted, &own.counted)];
    differences.extend(unlike("/stats/prometheus", &sides[0], &sides[1]));
    Ok(differences)
}

async fn page(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    let stream = TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get(path).header("host", "admin").body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    anyhow::ensure!(response.status() == 200, "{path} of {address} answers {}", response.status());
    let body = response.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// One difference for each name whose text is not the same.
fn unlike(path: &str, ours: &BTreeMap<String, String>, envoy: &BTreeMap<String, String>) -> Vec<Difference> {
    let names: BTreeSet<&String> = ours.keys().chain(envoy.keys()).collect();
    let text = |side: &BTreeMap<String, String>, name: &String| {
        side.get(name).cloned().unwrap_or_else(|| "absent".to_owned())
    };
    let differs = names.into_iter().filter(|name| ours.get(*name) != envoy.get(*name));
    differs.map(|name| difference(path, name, text(ours, name), text(envoy, name))).collect()
}

fn difference(path: &str, name: &str, ours: String, envoy: String) -> Difference {
    Difference {
        configuration: CASE.to_owned(),
        request: format!("(page) {path}"),
        field: name.to_owned(),
        ours,
        envoy,
    }
}

/// Sections, and in each list the names of its resources.
fn dump(_: &Proxy, page: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let dump: Value = serde_json::from_str(page)?;
    let mut view = BTreeMap::new();
    for section in dump["configs"].as_array().context("configs")? {
        let kind = section["@type"].as_str().context("@type")?;
        view.insert(format!("section {kind}"), "there".to_owned());
        for (list, name) in LISTS {
            for entry in section[list].as_array().into_iter().flatten() {
                let name = entry.pointer(name).and_then(Value::as_str).unwrap_or_default();
                view.insert(format!("{list} {name}"), "there".to_owned());
            }
        }
    }
    Ok(view)
}

/// Clusters with their hosts and limits.
fn clusters(proxy: &Proxy, page: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let clusters: Value = serde_json::from_str(page)?;
    let mut view = BTreeMap::new();
    for cluster in clusters["cluster_statuses"].as_array().context("cluster_statuses")? {
        let name = cluster["name"].as_str().context("name")?;
        if name == CONTROL {
            continue;
        }
        view.insert(format!("{name} circuit_breakers"), cluster["circuit_breakers"].to_string());
        for host in cluster["host_statuses"].as_array().into_iter().flatten() {
            let mut host = host.clone();
            let stats: BTreeSet<String> =
                host["stats"].as_array().into_iter().flatten().map(|stat| stat["name"].to_string()).collect();
            host["stats"] = stats.into_iter().collect();
            let address =
                host["address"]["socket_address"].to_string().replace(&proxy.address.to_string(), "address");
            host["address"] = Value::Null;
            // Rates are told once there were enough requests.
            for rate in ["success_rate", "local_origin_success_rate"] {
                host.as_object_mut().map(|fields| fields.remove(rate));
            }
            view.insert(format!("{name} host {address}"), host.to_string());
        }
    }
    Ok(view)
}

/// Lines without their numbers; those of the case with them, but for what is a matter of time.
fn cluster_lines(proxy: &Proxy, page: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let own = proxy.address.to_string();
    let lines = page.lines().filter(|line| !line.starts_with(&format!("{CONTROL}::")));
    let read = |line: &str| {
        let (name, value) = line.rsplit_once("::")?;
        let changing = name.rsplit("::").next().is_some_and(|last| {
            last.starts_with("cx_") || last.starts_with("rq_") || last.contains("success_rate")
        });
        let value = if changing { "a number".to_owned() } else { value.to_owned() };
        Some((name.replace(&own, "address"), value))
    };
    Ok(lines.filter_map(read).collect())
}

fn listener_lines(proxy: &Proxy, page: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let own = proxy.address.to_string();
    let lines = page.lines().filter_map(|line| line.split_once("::"));
    Ok(lines.map(|(name, address)| (name.to_owned(), address.replace(&own, "address"))).collect())
}

/// A page of Prometheus' format.
struct Metrics {
    /// Label names of each family with a name of Envoy's.
    families: BTreeMap<String, BTreeSet<String>>,
    /// Values of the case's series.
    counted: BTreeMap<String, String>,
}

impl Metrics {
    fn read(proxy: &Proxy, page: &str) -> Self {
        let own = proxy.address.to_string();
        let mut metrics = Self { families: BTreeMap::new(), counted: BTreeMap::new() };
        for line in page.lines().filter(|line| line.starts_with("envoy_")) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let labels: BTreeSet<(String, String)> = labels
                .trim_end_matches('}')
                .split("\",")
                .filter_map(|label| label.split_once("=\""))
                .map(|(label, value)| {
                    (label.to_owned(), value.trim_end_matches('"').replace(&own, "address"))
                })
                .collect();
            let names = labels.iter().map(|(label, _)| label.clone());
            metrics.families.entry(name.to_owned()).or_default().extend(names);
            let of_case = labels
                .iter()
                .any(|(label, value)| label != "envoy_listener_address" && value.starts_with(CASE));
            let in_time = ["_bucket", "_sum", "_count"].iter().any(|end| name.ends_with(end));
            if of_case && !in_time && !name.contains("bytes") {
                let labels: Vec<_> = labels.iter().map(|(label, value)| format!("{label}={value}")).collect();
                metrics.counted.insert(format!("{name} {}", labels.join(" ")), value.to_owned());
            }
        }
        metrics
    }

    /// Families of ours that Envoy has not, or with other labels.
    fn families_unlike(&self, envoy: &Self) -> Vec<Difference> {
        let text = |labels: &BTreeSet<String>| labels.iter().cloned().collect::<Vec<_>>().join(" ");
        let mut differences = Vec::new();
        for (name, labels) in &self.families {
            let theirs = envoy.families.get(name);
            if theirs != Some(labels) {
                let field = format!("family {name}");
                let theirs = theirs.map_or("absent".to_owned(), text);
                differences.push(difference("/stats/prometheus", &field, text(labels), theirs));
            }
        }
        differences
    }
}
