// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The two proxies: each on an address of its own, with its own origins, under the same control plane.

use crate::admin::{ADMIN_PORT, METRICS_PORT};
use crate::authority::Authority;
use crate::case::{ADDRESS, Case, HTTP2_ORIGIN, Made, ORIGINS, TLS_ORIGIN, common_clusters};
use crate::control::{Control, Resources};
use crate::datagrams;
use crate::origin::{Record, serve};
use anyhow::{Context, bail};
use gateway_xds_api::pb::envoy::service::discovery::v3::Resource;
use gateway_xds_api::{Descriptors, ResourceType};
use serde_json::{Value, json};
use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

/// The first case's port.
pub(crate) const FIRST_PORT: u16 = 20000;

/// Time for a proxy to take everything.
const START: Duration = Duration::from_secs(60);

/// One of the two.
pub(crate) struct Proxy {
    pub(crate) name: &'static str,
    pub(crate) address: IpAddr,
    pub(crate) record: Record,
    pub(crate) log: PathBuf,
    /// Texts of what it rejected.
    pub(crate) rejected: Vec<String>,
    /// Ended with the harness.
    _process: Child,
}

/// Where the programs are and where files go.
pub(crate) struct Programs {
    pub(crate) gateway: PathBuf,
    pub(crate) envoy: PathBuf,
    pub(crate) folder: PathBuf,
    /// Who vouches for the origin that speaks TLS.
    pub(crate) authority: Authority,
}

/// Starts one proxy with all cases; done when it answered.
pub(crate) async fn start(
    name: &'static str,
    address: IpAddr,
    programs: &Programs,
    (cases, control, ads): (&[Case], &Control, SocketAddr),
) -> anyhow::Result<Proxy> {
    let record = Record::default();
    let origins = ORIGINS.iter().copied().chain([("http2", HTTP2_ORIGIN)]);
    let origins = origins.map(|(origin, port)| (origin, port, None));
    let tls = Some(Arc::clone(&programs.authority.server));
    for (origin, port, tls) in origins.chain([("tls", TLS_ORIGIN, tls)]) {
        serve(SocketAddr::new(address, port), origin, record.clone(), tls)
            .await
            .with_context(|| format!("origin on {address}:{port}"))?;
    }
    for (origin, port) in ORIGINS {
        datagrams::serve(SocketAddr::new(address, port), origin).await?;
    }
    let folder = programs.folder.join(name);
    std::fs::create_dir_all(&folder)?;
    let log = folder.join("access.log");
    control.set(name, resources(cases, address, &log, &programs.authority.roots)?);
    let out = File::create(folder.join("process.log"))?;
    let mut command = match name {
        "ours" => gateway(&folder, address, ads, &programs.gateway)?,
        _ => envoy(&folder, address, ads, &programs.envoy)?,
    };
    let process = command
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("start {name}"))?;
    let started = Instant::now();
    loop {
        let (all, rejected) = control.answers(name);
        if all {
            return Ok(Proxy { name, address, record, log, rejected, _process: process });
        }
        if started.elapsed() > START {
            bail!("{name} did not take its configuration; see {}", folder.display());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// All resources, encoded, with the proxy's own address and log in them.
fn resources(cases: &[Case], address: IpAddr, log: &Path, roots: &str) -> anyhow::Result<Resources> {
    let descriptors = Descriptors::load()?;
    let mut all = Resources::new();
    let mut made: Vec<Made> = common_clusters();
    for (index, case) in cases.iter().enumerate() {
        let port = FIRST_PORT + u16::try_from(index).context("so many cases")?;
        made.extend(case.resources(port));
    }
    for (kind, name, value) in made {
        let text = value
            .to_string()
            .replace(ADDRESS, &address.to_string())
            .replace("@LOG@", &log.display().to_string())
            .replace("@CA@", &roots.replace('\n', "\\n"));
        let value: Value = serde_json::from_str(&text)?;
        let any = descriptors.from_json(&value).with_context(|| format!("{kind} {name}"))?;
        let kind = ResourceType::from_type_url(&any.type_url).context("a type of ADS")?;
        let resource = Resource { name, version: "1".to_owned(), resource: Some(any), ..Resource::default() };
        all.entry(kind).or_default().push(resource);
    }
    Ok(all)
}

fn gateway(folder: &Path, address: IpAddr, ads: SocketAddr, program: &Path) -> anyhow::Result<Command> {
    let state = folder.join("state");
    // What an earlier run kept must not be served.
    if state.exists() {
        std::fs::remove_dir_all(&state)?;
    }
    let bootstrap = json!({
        "controlPlane": {"address": ads.to_string(), "plaintext": true, "node": {"id": "ours", "cluster": "oracle"}},
        "stateDir": state,
        "admin": format!("{address}:{ADMIN_PORT}"),
        "readiness": format!("{address}:19021"),
        "metrics": format!("{address}:{METRICS_PORT}"),
        "workers": 1,
        "drainSeconds": 1,
    });
    let file = folder.join("bootstrap.yaml");
    std::fs::write(&file, bootstrap.to_string())?;
    let mut command = Command::new(program);
    command.arg("--bootstrap").arg(file);
    Ok(command)
}

fn envoy(folder: &Path, address: IpAddr, ads: SocketAddr, program: &Path) -> anyhow::Result<Command> {
    let source = json!({"ads": {}, "resource_api_version": "V3"});
    let endpoint =
        json!({"endpoint": {"address": {"socket_address": {"address": ads.ip(), "port_value": ads.port()}}}});
    let bootstrap = json!({
        "node": {"id": "envoy", "cluster": "oracle"},
        "admin": {"address": {"socket_address": {"address": address, "port_value": ADMIN_PORT}}},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "control"}}],
            },
            "cds_config": source,
            "lds_config": source,
        },
        "static_resources": {
            "clusters": [{
                "name": "control",
                "type": "STATIC",
                "typed_extension_protocol_options": {
                    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                        "explicit_http_config": {"http2_protocol_options": {}},
                    },
                },
                "load_assignment": {"cluster_name": "control", "endpoints": [{"lb_endpoints": [endpoint]}]},
            }],
        },
    });
    let file = folder.join("bootstrap.json");
    std::fs::write(&file, serde_json::to_string_pretty(&bootstrap)?)?;
    let mut command = Command::new(program);
    command.arg("-c").arg(file).args([
        "--concurrency",
        "1",
        "--use-dynamic-base-id",
        "--file-flush-interval-msec",
        "100",
        "--log-level",
        "warning",
    ]);
    Ok(command)
}
