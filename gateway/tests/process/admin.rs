// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The admin port: Envoy's pages in Envoy's form, and no secret in any of them nor in the log.

use crate::backend::{self, ask};
use crate::configuration::{CLUSTER, LISTENER, TABLE, bad_cluster};
use crate::gateway::{Gateway, Ports, Relay};
use crate::life::configure;
use crate::server::ServerStream;
use gateway_xds_api::ResourceType::{Cluster, Listener, Secret};
use gateway_xds_api::pb::envoy::service::discovery::v3::Resource;
use gateway_xds_api::{Descriptors, ResourceType};
use http::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Each stands for a secret; none may be seen anywhere.
const PASSWORD_DIGEST: &str = "Y2FuYXJ5LW9mLWEtcGFzc3dvcmQ=";
const API_KEY: &str = "canary-of-an-api-key";
const JWT_SECRET: &str = "Y2FuYXJ5LW9mLWEtand0LWtleQ";
const BEARER: &str = "canary-of-a-bearer-token";
const GENERIC: &str = "canary-of-a-generic-secret";
const BAD_KEY: &str = "canary-of-a-key-that-is-none";

/// Dropped in this order: the gateway's log is in the folder.
struct Setting {
    gateway: Gateway,
    stream: ServerStream,
    ports: Ports,
    _relay: Relay,
    _folder: TempDir,
}

async fn start() -> Setting {
    let folder = TempDir::new().unwrap();
    let backend = backend::start().await;
    let mut relay = Relay::start().await;
    let ports = relay.bootstrap(&folder);
    let gateway = Gateway::start(folder.path(), ports);
    let mut stream = relay.ads.accept().await;
    configure(&mut stream, ports.traffic, backend, None).await;
    gateway.until(ports.readiness, "/healthz/ready", StatusCode::OK).await;
    Setting { gateway, stream, ports, _relay: relay, _folder: folder }
}

impl Setting {
    async fn page(&self, path: &str) -> String {
        self.gateway.until(self.ports.admin, path, StatusCode::OK).await
    }

    async fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.page(path).await).unwrap()
    }

    async fn section(&self, path: &str, message: &str) -> Value {
        let dump = self.json(path).await;
        let wanted = format!("type.googleapis.com/envoy.admin.v3.{message}");
        let configs = dump["configs"].as_array().unwrap().iter();
        configs.clone().find(|section| section["@type"] == wanted.as_str()).unwrap().clone()
    }

    async fn send(&mut self, kind: ResourceType, nonce: &str, resources: Vec<Resource>) -> Option<String> {
        self.stream.send_resources(kind, nonce, resources, &[]).await;
        self.stream.answer().await.error_detail.map(|detail| detail.message)
    }
}

/// A resource by its JSON.
fn resource(kind: ResourceType, name: &str, mut json: Value) -> Resource {
    json["@type"] = kind.type_url().into();
    let any = Descriptors::load().unwrap().from_json(&json).unwrap();
    Resource { name: name.into(), version: "v1".into(), resource: Some(any), ..Resource::default() }
}

fn typed(kind: &str, mut json: Value) -> Value {
    json["@type"] = format!("type.googleapis.com/envoy.extensions.{kind}").into();
    json
}

/// A TLS listener whose filters hold secrets.
fn secretive_listener() -> Resource {
    let keys = json!({"keys": [{"kty": "oct", "alg": "HS256", "kid": "k", "k": JWT_SECRET}]}).to_string();
    let filter =
        |name: &str, kind: &str, config: Value| json!({"name": name, "typed_config": typed(kind, config)});
    let manager = typed(
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        json!({
            "stat_prefix": "secretive",
            "route_config": {
                "name": "inline",
                "request_headers_to_add": [{"header": {"key": "authorization", "value": format!("Bearer {BEARER}")}}],
                "virtual_hosts": [{
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": CLUSTER}}],
                }],
            },
            "http_filters": [
                filter("basic", "filters.http.basic_auth.v3.BasicAuth", json!({
                    "users": {"inline_string": format!("ann:{{SHA}}{PASSWORD_DIGEST}")},
                })),
                filter("key", "filters.http.api_key_auth.v3.ApiKeyAuth", json!({
                    "credentials": [{"key": API_KEY, "client": "ann"}],
                    "key_sources": [{"header": "x-key"}],
                })),
                filter("jwt", "filters.http.jwt_authn.v3.JwtAuthentication", json!({
                    "providers": {"p": {"issuer": "i", "local_jwks": {"inline_string": keys}}},
                })),
                filter("router", "filters.http.router.v3.Router", json!({})),
            ],
        }),
    );
    let secret = json!({"name": "shop/cert", "sds_config": {"ads": {}, "resource_api_version": "V3"}});
    let listener = json!({
        "name": "secretive",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{
            "filters": [{"name": "hcm", "typed_config": manager}],
            "transport_socket": {
                "name": "tls",
                "typed_config": typed(
                    "transport_sockets.tls.v3.DownstreamTlsContext",
                    json!({"common_tls_context": {"tls_certificate_sds_secret_configs": [secret]}}),
                ),
            },
        }],
    });
    resource(Listener, "secretive", listener)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_on_a_page_or_in_the_log() {
    let mut setting = start().await;
    assert_eq!(setting.send(Listener, "10", vec![secretive_listener()]).await, None);
    assert_eq!(setting.stream.request().await.resource_names_subscribe, ["shop/cert"]);
    let waiting = setting.section("/config_dump", "ListenersConfigDump").await;
    let listener = &waiting["dynamic_listeners"][1];
    assert!(
        listener["active_state"].is_null() && listener["warming_state"]["version_info"] == "v1",
        "{listener}"
    );
    let warming = setting.section("/config_dump", "SecretsConfigDump").await;
    assert_eq!(warming["dynamic_warming_secrets"][0]["name"], "shop/cert");

    // What is not taken must not be told either.
    let generic = json!({"name": "shop/cert", "session_ticket_keys": {"keys": [{"inline_string": GENERIC}]}});
    assert!(setting.send(Secret, "11", vec![resource(Secret, "shop/cert", generic)]).await.is_some());
    let certified = rcgen::generate_simple_self_signed(vec!["shop.example".to_owned()]).unwrap();
    let (chain, key) = (certified.cert.pem(), certified.signing_key.serialize_pem());
    let certificate = |key: &str| {
        let own =
            json!({"certificate_chain": {"inline_string": chain}, "private_key": {"inline_string": key}});
        resource(Secret, "shop/cert", json!({"name": "shop/cert", "tls_certificate": own}))
    };
    assert!(setting.send(Secret, "12", vec![certificate(BAD_KEY)]).await.is_some());
    let failed = setting.section("/config_dump", "SecretsConfigDump").await;
    let failed = &failed["dynamic_warming_secrets"][0];
    assert!(failed["error_state"]["details"].as_str().unwrap().contains("private_key"), "{failed}");
    assert!(failed["error_state"]["failed_configuration"].is_null());
    assert_eq!(setting.send(Secret, "13", vec![certificate(&key)]).await, None);
    let secrets = setting.section("/config_dump", "SecretsConfigDump").await;
    let active = &secrets["dynamic_active_secrets"][0];
    assert_eq!(active["secret"]["tls_certificate"]["private_key"]["inline_string"], "[redacted]");
    assert!(active["error_state"].is_null() && secrets["dynamic_warming_secrets"].is_null(), "{secrets}");

    let mut canaries = vec![PASSWORD_DIGEST, API_KEY, JWT_SECRET, BEARER, GENERIC, BAD_KEY];
    canaries.extend(key.lines().filter(|line| !line.starts_with('-')));
    let listed = setting.page("/help").await;
    let mut pages: Vec<_> = listed.lines().filter_map(|line| line.strip_prefix("GET ")).collect();
    assert!(pages.len() >= 12, "{listed}");
    pages.extend([
        "/config_dump?include_eds",
        "/clusters?format=json",
        "/stats?format=json",
        "/listeners?format=json",
    ]);
    for path in pages {
        let page = setting.page(path).await;
        assert!(!page.is_empty(), "{path}");
        for canary in &canaries {
            assert!(!page.contains(canary), "{canary} is on {path}");
        }
    }
    let certs = setting.json("/certs").await;
    let shown =
        certs["certificates"].as_array().unwrap().iter().find(|c| c["cert_chain"][0]["path"] == "shop/cert");
    assert_eq!(shown.unwrap()["cert_chain"][0]["subject_alt_names"][0]["dns"], "shop.example");
    let log = setting.gateway.log();
    assert!(log.contains("listener open"), "{log}");
    for canary in &canaries {
        assert!(!log.contains(canary), "{canary} is in the log");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_configuration_dump_has_envoys_form() {
    let mut setting = start().await;
    let rejected = setting.send(Cluster, "10", vec![bad_cluster()]).await.unwrap();

    // Everything is valid JSON of Envoy's messages.
    let dump = setting.json("/config_dump?include_eds").await;
    let mut any = dump.clone();
    any["@type"] = "type.googleapis.com/envoy.admin.v3.ConfigDump".into();
    Descriptors::load().unwrap().from_json(&any).unwrap();
    let kinds: Vec<_> =
        dump["configs"].as_array().unwrap().iter().map(|s| s["@type"].as_str().unwrap()).collect();
    let kinds: Vec<_> = kinds.iter().map(|kind| kind.rsplit('.').next().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "BootstrapConfigDump",
            "ClustersConfigDump",
            "EndpointsConfigDump",
            "ListenersConfigDump",
            "ScopedRoutesConfigDump",
            "RoutesConfigDump",
            "SecretsConfigDump"
        ]
    );
    let clusters = setting.section("/config_dump", "ClustersConfigDump").await;
    assert_eq!(clusters["dynamic_active_clusters"][0]["cluster"]["name"], CLUSTER);
    assert!(clusters["dynamic_active_clusters"][0]["last_updated"].is_string());
    let failed = &clusters["dynamic_warming_clusters"][0];
    assert_eq!(failed["cluster"]["name"], "bad");
    let details = failed["error_state"]["details"].as_str().unwrap();
    assert!(rejected.contains(details), "{rejected} {details}");
    let routes = setting.section("/config_dump", "RoutesConfigDump").await;
    let table = &routes["dynamic_route_configs"][0]["route_config"];
    assert_eq!(table["name"], TABLE);
    assert_eq!(table["virtual_hosts"][0]["domains"][0], "shop.example");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_configuration_dump_can_be_narrowed() {
    let setting = start().await;
    let some =
        setting.json("/config_dump?resource=dynamic_listeners&mask=name,active_state.listener.name").await;
    let listener = json!({
        "@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump.DynamicListener",
        "name": LISTENER,
        "active_state": {
            "listener": {"@type": "type.googleapis.com/envoy.config.listener.v3.Listener", "name": LISTENER},
        },
    });
    assert_eq!(some, json!({"configs": [listener]}));
    assert_eq!(
        setting.json("/config_dump?mask=version_info").await["configs"].as_array().unwrap().len(),
        2,
        "clusters and listeners alone have a version"
    );
    let none = setting.json("/config_dump?resource=dynamic_active_clusters&name_regex=other.%2A").await;
    assert_eq!(none, json!({}));
    for (query, status) in [
        ("resource=nothing", StatusCode::NOT_FOUND),
        ("resource=version_info", StatusCode::BAD_REQUEST),
        ("mask=nothing", StatusCode::BAD_REQUEST),
        ("name_regex=%28", StatusCode::BAD_REQUEST),
    ] {
        setting.gateway.until(setting.ports.admin, &format!("/config_dump?{query}"), status).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_have_envoys_names() {
    let mut setting = start().await;
    assert_eq!(
        ask(setting.ports.traffic, "GET", "shop.example", "/").await,
        Some((StatusCode::OK, "none".into()))
    );
    assert!(setting.send(Cluster, "10", vec![bad_cluster()]).await.is_some());
    let text = setting.page("/clusters").await;
    let lines: Vec<_> = text.lines().filter_map(|line| line.strip_prefix(CLUSTER)).collect();
    for part in ["::default_priority::max_connections::1024", "::added_via_api::true"] {
        assert!(lines.contains(&part), "{part} is not in {text}");
    }
    for end in ["::cx_total::1", "::rq_total::1", "::rq_success::1", "::health_flags::healthy", "::weight::1"]
    {
        assert!(lines.iter().any(|line| line.ends_with(end)), "{end} is not in {text}");
    }
    let status = &setting.json("/clusters?format=json").await["cluster_statuses"][0];
    assert_eq!(status["name"], CLUSTER);
    let host = &status["host_statuses"][0];
    assert_eq!(host["health_status"]["eds_health_status"], "HEALTHY");
    assert!(host["stats"].as_array().unwrap().contains(&json!({"name": "rq_total", "value": "1"})), "{host}");

    let listeners = setting.page("/listeners").await;
    assert_eq!(listeners, format!("{LISTENER}::{}\n", setting.ports.traffic));
    let stats = setting.page("/stats?usedonly&filter=rq_2xx").await;
    assert_eq!(stats, format!("cluster.{CLUSTER}.upstream_rq_2xx: 1\nhttp.http.downstream_rq_2xx: 1\n"));
    let metrics = setting.page("/stats/prometheus").await;
    for part in [
        "envoy_server_live 1\n",
        "envoy_control_plane_connected_state 1\n",
        "envoy_cluster_manager_cds_update_rejected 1\n",
        "envoy_listener_manager_listener_added 1\n",
        "envoy_cluster_upstream_rq{envoy_response_code=\"200\",envoy_cluster_name=\"service/shop/cart/80\"} 1\n",
        "envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"service/shop/cart/80\",le=\"+Inf\"} 1\n",
    ] {
        assert!(metrics.contains(part), "{part} is not in {metrics}");
    }
    let labels = "destination_service=\"cart.shop.svc.cluster.local\"";
    let line = metrics.lines().find(|line| line.starts_with("istio_requests_total{"));
    let line = line.expect("Istio's metrics were asked for");
    assert!(
        line.contains(labels) && line.contains("response_code=\"200\"") && line.ends_with(" 1"),
        "{line}"
    );
    assert_eq!(setting.page("/ready").await, "LIVE\n");
    assert_eq!(setting.json("/server_info").await["state"], "LIVE");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_something_needs_post() {
    let setting = start().await;
    let admin = setting.ports.admin;
    let post = async |path: &str| ask(admin, "POST", "admin", path).await.unwrap();
    for path in ["/healthcheck/fail", "/healthcheck/ok", "/drain_listeners"] {
        let (status, _) = ask(admin, "GET", "admin", path).await.unwrap();
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
    }
    assert_eq!(post("/healthcheck/fail").await, (StatusCode::OK, "OK\n".into()));
    let unready = StatusCode::SERVICE_UNAVAILABLE;
    assert_eq!(setting.gateway.until(admin, "/ready", unready).await, "DRAINING\n");
    setting.gateway.until(setting.ports.readiness, "/healthz/ready", unready).await;
    assert_eq!(post("/healthcheck/ok").await.0, StatusCode::OK);
    assert_eq!(setting.page("/ready").await, "LIVE\n");

    let (status, text) = post("/logging?gateway_proxy=trace").await;
    assert!(status == StatusCode::OK && text.contains("gateway_proxy: trace"), "{text}");
    assert_eq!(post("/logging?gateway_proxy=loud").await.0, StatusCode::BAD_REQUEST);

    assert_eq!(post("/drain_listeners").await.0, StatusCode::OK);
    let closed = async {
        while ask(setting.ports.traffic, "GET", "shop.example", "/").await.is_some() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    crate::server::within("the listener to close", closed).await;
}
