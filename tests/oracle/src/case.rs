// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! One configuration with its requests, as a file says it, and the resources that it becomes for one of the two proxies.

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::path::Path;

const TYPE: &str = "type.googleapis.com/envoy.";
const HCM: &str = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

/// What stands for a proxy's own loopback address in a configuration.
pub(crate) const ADDRESS: &str = "@ADDRESS@";

/// Ports of the origins, on each proxy's own address.
pub(crate) const ORIGINS: [(&str, u16); 3] = [("one", 19481), ("two", 19482), ("three", 19483)];
/// The origin that speaks HTTP/2.
pub(crate) const HTTP2_ORIGIN: u16 = 19484;
/// The origin that speaks TLS.
pub(crate) const TLS_ORIGIN: u16 = 19485;
/// A port where nobody listens.
const NOBODY: u16 = 19499;

/// What is asked for in every access log line; the first is the request's own mark.
pub(crate) const LOG_FIELDS: [&str; 14] = [
    "%REQ(X-CASE)%",
    "%REQ(:METHOD)%",
    "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "%REQ(:AUTHORITY)%",
    "%PROTOCOL%",
    "%RESPONSE_CODE%",
    "%RESPONSE_CODE_DETAILS%",
    "%RESPONSE_FLAGS%",
    "%BYTES_RECEIVED%",
    "%BYTES_SENT%",
    "%UPSTREAM_CLUSTER%",
    "%ROUTE_NAME%",
    "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
];

/// A configuration and what is asked of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// Its name, unique.
    pub(crate) name: String,
    /// Routes of a virtual host for all domains.
    #[serde(default)]
    routes: Vec<Value>,
    /// Further fields of that virtual host.
    #[serde(default)]
    virtual_host: Map<String, Value>,
    /// Instead of `routes`: the virtual hosts.
    #[serde(default)]
    virtual_hosts: Vec<Value>,
    /// Further fields of the RouteConfiguration.
    #[serde(default)]
    route_config: Map<String, Value>,
    /// Further fields of the HttpConnectionManager.
    #[serde(default)]
    http: Map<String, Value>,
    /// HTTP filters before the router.
    #[serde(default)]
    filters: Vec<Value>,
    /// Further fields of the router.
    #[serde(default)]
    router: Map<String, Value>,
    /// Further fields of the listener.
    #[serde(default)]
    listener: Map<String, Value>,
    /// Fields of a UDP proxy; the listener is for datagrams then, and has nothing of the above.
    #[serde(default)]
    udp: Map<String, Value>,
    /// Clusters of this case alone.
    #[serde(default)]
    clusters: Vec<Value>,
    /// What is asked.
    pub(crate) requests: Vec<Ask>,
}

/// One request.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ask {
    #[serde(default = "get")]
    pub(crate) method: String,
    #[serde(default = "slash")]
    pub(crate) path: String,
    #[serde(default = "case_host")]
    pub(crate) host: String,
    /// Lines `name: value`.
    #[serde(default)]
    pub(crate) headers: Vec<String>,
    #[serde(default)]
    pub(crate) body: String,
    /// `1.0`, `1.1` or `2`.
    #[serde(default)]
    pub(crate) version: Version,
    /// `:protocol` of an extended CONNECT.
    #[serde(default)]
    pub(crate) protocol: String,
    /// A line for the tunnel that the answer opens; what comes back is the answer's body.
    #[serde(default)]
    pub(crate) tunnel: Option<String>,
    /// Instead of a request: datagrams that one socket sends one after the other.
    #[serde(default)]
    pub(crate) datagrams: Vec<String>,
    /// Asked so often; the shares of the origins are compared instead of each answer.
    #[serde(default)]
    pub(crate) shares: usize,
}

/// The protocol of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) enum Version {
    #[serde(rename = "1.0")]
    Http10,
    #[default]
    #[serde(rename = "1.1")]
    Http11,
    #[serde(rename = "2")]
    Http2,
}

impl Ask {
    /// Whether an answer opens the tunnel that is asked for.
    pub(crate) fn opens_tunnel(&self, status: u16) -> bool {
        let success = (200..300).contains(&status);
        self.tunnel.is_some() && (status == 101 || (self.method == "CONNECT" && success))
    }
}

fn get() -> String {
    "GET".to_owned()
}

fn slash() -> String {
    "/".to_owned()
}

fn case_host() -> String {
    "case.test".to_owned()
}

/// A resource for the control plane: its type's short name, its name, its JSON with `@type`.
pub(crate) type Made = (&'static str, String, Value);

impl Case {
    /// Its listener and clusters, for a proxy whose address is filled in later.
    pub(crate) fn resources(&self, port: u16) -> Vec<Made> {
        let mut made: Vec<Made> = self
            .clusters
            .iter()
            .map(|cluster| ("Cluster", text(&cluster["name"]), typed("config.cluster.v3.Cluster", cluster)))
            .collect();
        made.push(("Listener", self.name.clone(), self.listener_resource(port)));
        made
    }

    /// Whether it is about datagrams.
    pub(crate) fn is_udp(&self) -> bool {
        !self.udp.is_empty()
    }

    fn udp_listener(&self, port: u16) -> Value {
        let mut proxy = json!({
            "@type": format!("{TYPE}extensions.filters.udp.udp_proxy.v3.UdpProxyConfig"),
            "stat_prefix": "datagrams",
        });
        merge(&mut proxy, &self.udp);
        let mut listener = json!({
            "name": self.name,
            "address": {"socket_address": {"protocol": "UDP", "address": ADDRESS, "port_value": port}},
            "listener_filters": [{"name": "udp", "typed_config": proxy}],
        });
        merge(&mut listener, &self.listener);
        typed("config.listener.v3.Listener", &listener)
    }

    /// Whether it says which host a retry goes to.
    pub(crate) fn names_hosts(&self) -> bool {
        self.routes.iter().any(|route| !route["route"]["retry_policy"]["retry_host_predicate"].is_null())
    }

    fn listener_resource(&self, port: u16) -> Value {
        if self.is_udp() {
            return self.udp_listener(port);
        }
        let virtual_hosts = if self.virtual_hosts.is_empty() {
            let mut host = json!({"name": "case", "domains": ["*"], "routes": self.routes});
            merge(&mut host, &self.virtual_host);
            json!([host])
        } else {
            json!(self.virtual_hosts)
        };
        let mut routes =
            json!({"name": self.name, "virtual_hosts": virtual_hosts, "validate_clusters": false});
        merge(&mut routes, &self.route_config);
        let mut filters = self.filters.clone();
        let mut router = json!({"@type": format!("{TYPE}extensions.filters.http.router.v3.Router")});
        merge(&mut router, &self.router);
        filters.push(json!({"name": "envoy.filters.http.router", "typed_config": router}));
        let mut manager = json!({
            "@type": format!("{TYPE}{HCM}"),
            "stat_prefix": "case",
            "route_config": routes,
            "http_filters": filters,
            "access_log": [access_log()],
        });
        merge(&mut manager, &self.http);
        let mut listener = json!({
            "name": self.name,
            "address": {"socket_address": {"address": ADDRESS, "port_value": port}},
            "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
        });
        merge(&mut listener, &self.listener);
        typed("config.listener.v3.Listener", &listener)
    }
}

fn access_log() -> Value {
    json!({
        "name": "log",
        "typed_config": {
            "@type": format!("{TYPE}extensions.access_loggers.file.v3.FileAccessLog"),
            "path": "@LOG@",
            "log_format": {"text_format_source": {"inline_string": format!("{}\n", LOG_FIELDS.join("\t"))}},
        },
    })
}

/// Clusters that every case may name.
pub(crate) fn common_clusters() -> Vec<Made> {
    let mut all: Vec<(&str, Vec<u16>)> = ORIGINS.iter().map(|(name, port)| (*name, vec![*port])).collect();
    all.push(("all", ORIGINS.iter().map(|(_, port)| *port).collect()));
    all.push(("dead", vec![NOBODY]));
    all.push(("half", vec![ORIGINS[0].1, NOBODY]));
    all.push(("empty", Vec::new()));
    let mut made: Vec<Made> = all
        .iter()
        .map(|(name, ports)| ("Cluster", (*name).to_owned(), cluster(name, ports, &Value::Null)))
        .collect();
    let http2 = json!({
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": format!("{TYPE}extensions.upstreams.http.v3.HttpProtocolOptions"),
            "explicit_http_config": {"http2_protocol_options": {}},
        },
    });
    made.push(("Cluster", "http2".to_owned(), cluster("http2", &[HTTP2_ORIGIN], &http2)));
    made
}

fn cluster(name: &str, ports: &[u16], protocol: &Value) -> Value {
    let endpoint = |port: &u16| json!({"endpoint": {"address": {"socket_address": {"address": ADDRESS, "port_value": port}}}});
    let endpoints: Vec<Value> = ports.iter().map(endpoint).collect();
    let mut cluster = json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "2s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
        // A dead origin must not change what later requests get.
        "circuit_breakers": {"thresholds": [{"max_retries": 1000, "max_requests": 10000, "max_connections": 10000, "max_pending_requests": 10000}]},
    });
    if !protocol.is_null() {
        cluster["typed_extension_protocol_options"] = protocol.clone();
    }
    typed("config.cluster.v3.Cluster", &cluster)
}

fn typed(name: &str, value: &Value) -> Value {
    let mut value = value.clone();
    value["@type"] = json!(format!("{TYPE}{name}"));
    value
}

fn merge(into: &mut Value, further: &Map<String, Value>) {
    for (name, value) in further {
        into[name] = value.clone();
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Reads the cases of a folder: each file is a list of them.
pub(crate) fn read_all(folder: &Path) -> anyhow::Result<Vec<Case>> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .with_context(|| format!("read {}", folder.display()))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file)?;
        let read: Vec<Case> =
            serde_saphyr::from_str(&text).with_context(|| format!("read {}", file.display()))?;
        cases.extend(read);
    }
    if cases.is_empty() {
        bail!("no case in {}", folder.display());
    }
    Ok(cases)
}
