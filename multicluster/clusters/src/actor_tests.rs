// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Actors against real sockets: a server that answers, one that accepts and never answers, and a refused port.

use super::{ClusterActor, ClusterHandle, Settings};
use crate::{Access, ApiAccess, CallError, Credential, Facts, Reach, Refusal, UnreachableReason};
use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};

const LIMIT: Duration = Duration::from_secs(20);

fn settings() -> Settings {
    Settings {
        call_timeout: Duration::from_millis(300),
        probe_interval: Duration::from_millis(100),
        backoff_base: Duration::from_millis(20),
        backoff_max: Duration::from_millis(100),
        breaker_threshold: 2,
        concurrency: 2,
    }
}

fn access(address: &str, token: &str) -> Result<Access, Refusal> {
    Ok(Access::Api(Box::new(ApiAccess {
        server: format!("http://{address}").parse().unwrap(),
        server_name: None,
        roots: None,
        insecure: false,
        credential: Credential::Token(token.to_owned().into()),
        impersonate: None,
        impersonate_groups: Vec::new(),
    })))
}

/// The three answers that a probe asks for, to the bearer of `token`.
async fn api_server(token: &'static str) -> (String, Arc<AtomicUsize>, tokio::task::AbortHandle) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let answer = move |headers: &HeaderMap, body: &'static str| -> Response {
        counted.fetch_add(1, Ordering::SeqCst);
        if headers.get("authorization").is_none_or(|v| v.as_bytes() != format!("Bearer {token}").as_bytes()) {
            let status = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"Unauthorized","reason":"Unauthorized","code":401}"#;
            return (StatusCode::UNAUTHORIZED, status).into_response();
        }
        body.into_response()
    };
    let (a, b, c) = (answer.clone(), answer.clone(), answer);
    let version = r#"{"major":"1","minor":"33","gitVersion":"v1.33.2","gitCommit":"","gitTreeState":"","buildDate":"","goVersion":"","compiler":"","platform":""}"#;
    let review = r#"{"apiVersion":"authorization.k8s.io/v1","kind":"SelfSubjectRulesReview","spec":{},"status":{"incomplete":false,"nonResourceRules":[],"resourceRules":[{"apiGroups":["*"],"resources":["*"],"verbs":["get","list","watch","create","delete"]}]}}"#;
    let namespace = r#"{"apiVersion":"meta.k8s.io/v1","kind":"PartialObjectMetadata","metadata":{"name":"kube-system","uid":"u-1"}}"#;
    let router = Router::new()
        .route("/version", get(move |h: HeaderMap| async move { a(&h, version) }))
        .route(
            "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
            post(move |h: HeaderMap| async move { b(&h, review) }),
        )
        .route("/api/v1/namespaces/kube-system", get(move |h: HeaderMap| async move { c(&h, namespace) }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, calls, task.abort_handle())
}

/// Accepts and never answers.
async fn blackhole() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    address
}

async fn until(handle: &ClusterHandle, what: &str, condition: impl FnMut(&Facts) -> bool) -> Facts {
    let mut facts = handle.facts();
    match timeout(LIMIT, facts.wait_for(condition)).await {
        Ok(Ok(facts)) => facts.clone(),
        _ => panic!("waited {LIMIT:?} for {what}; last: {:?}", handle.facts().borrow().clone()),
    }
}

fn install() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

#[tokio::test]
async fn a_healthy_cluster_is_described() {
    install();
    let (address, _, _) = api_server("t").await;
    let handle = ClusterActor::spawn("a", access(&address, "t"), settings());
    handle.set_namespaces(["gateways".to_owned()].into());
    let facts = until(&handle, "rights", |f| !f.missing_rights.is_empty()).await;
    assert!(facts.reach.is_reachable());
    assert_eq!(facts.version.as_deref(), Some("v1.33.2"));
    assert_eq!(facts.cluster_id.as_deref(), Some("u-1"));
    assert!(facts.missing_rights["gateways"].contains(&"patch apps/deployments".to_owned()));
    assert!(!facts.missing_rights["gateways"].contains(&"get apps/deployments".to_owned()));
}

#[tokio::test]
async fn dead_clusters_do_not_delay_a_living_one() {
    install();
    let refused = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let slow = Settings { call_timeout: Duration::from_secs(5), ..settings() };
    let hole = ClusterActor::spawn("hole", access(&blackhole().await, "t"), slow);
    let closed = ClusterActor::spawn("closed", access(&refused, "t"), settings());
    let (address, _, _) = api_server("t").await;
    let begun = Instant::now();
    let good = ClusterActor::spawn("good", access(&address, "t"), settings());
    until(&good, "the living cluster", |f| f.reach.is_reachable()).await;
    assert!(begun.elapsed() < Duration::from_secs(4), "waited for the blackhole: {:?}", begun.elapsed());
    assert!(matches!(hole.facts().borrow().reach, Reach::Unknown), "the blackhole answered");
    // Callers of a cluster that was never seen are turned away without waiting.
    let begun = Instant::now();
    let outcome = hole.call("read", |client| async move { client.apiserver_version().await }).await;
    assert!(matches!(outcome, Err(CallError::Unreachable)) && begun.elapsed() < Duration::from_millis(200));
    let facts = until(&closed, "the refused port", |f| matches!(f.reach, Reach::Unreachable { .. })).await;
    assert!(
        matches!(facts.reach, Reach::Unreachable { reason: UnreachableReason::ConnectFailed, .. }),
        "{facts:?}"
    );
    let facts = until(&hole, "the blackhole", |f| matches!(f.reach, Reach::Unreachable { .. })).await;
    assert!(
        matches!(facts.reach, Reach::Unreachable { reason: UnreachableReason::TimedOut, .. }),
        "{facts:?}"
    );
}

#[tokio::test]
async fn a_cluster_that_dies_opens_the_breaker_and_comes_back() {
    install();
    let (address, _, task) = api_server("t").await;
    let handle = ClusterActor::spawn("a", access(&address, "t"), settings());
    until(&handle, "the first contact", |f| f.reach.is_reachable()).await;
    let since = |f: &Facts| match &f.reach {
        Reach::Unreachable { since, .. } => Some(*since),
        _ => None,
    };
    task.abort();
    // Connections of the aborted server may live on; a call over them still answers. Point the actor at a dead port.
    let dead = blackhole().await;
    handle.set_access(Err(Refusal::absent("Secret fleet/a", "", "create it")));
    let gone = until(&handle, "no credentials", |f| matches!(f.reach, Reach::Unreachable { .. })).await;
    assert!(matches!(gone.reach, Reach::Unreachable { reason: UnreachableReason::NoCredentials, .. }));
    assert!(handle.client().is_none());
    handle.set_access(access(&dead, "t"));
    let timed_out = until(&handle, "a time-out", |f| {
        matches!(f.reach, Reach::Unreachable { reason: UnreachableReason::TimedOut, .. })
    })
    .await;
    assert_eq!(since(&gone), since(&timed_out), "unreachable since it first was");
    let (address, _, _) = api_server("t").await;
    handle.set_access(access(&address, "t"));
    until(&handle, "the recovery", |f| f.reach.is_reachable()).await;
    assert!(handle.call("read", |client| async move { client.apiserver_version().await }).await.is_ok());
}

#[tokio::test]
async fn credentials_that_fail_do_not_replace_ones_that_work() {
    install();
    let (address, calls, _) = api_server("good").await;
    let handle = ClusterActor::spawn("a", access(&address, "good"), settings());
    let before = until(&handle, "the first contact", |f| f.reach.is_reachable()).await;
    handle.set_access(access(&address, "bad"));
    let facts = until(&handle, "the problem", |f| f.credential_problem.is_some()).await;
    assert!(facts.reach.is_reachable() && facts.client_generation == before.client_generation);
    let seen = calls.load(Ordering::SeqCst);
    timeout(LIMIT, async {
        while calls.load(Ordering::SeqCst) < seen + 4 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    assert!(handle.facts().borrow().reach.is_reachable(), "probes go on with the old token");
    // A refused Secret keeps them as well, and says why.
    handle.set_access(Err(Refusal::new(
        "Secret fleet/a",
        "kubeconfig: users[u].exec",
        "runs a program",
        "use token",
    )));
    let facts = until(&handle, "the refusal", |f| {
        f.credential_problem.as_deref().is_some_and(|p| p.contains("users[u].exec"))
    })
    .await;
    assert!(facts.reach.is_reachable());
}

#[tokio::test]
async fn wrong_credentials_are_told_from_a_dead_server() {
    install();
    let (address, _, _) = api_server("good").await;
    let handle = ClusterActor::spawn("a", access(&address, "bad"), settings());
    let facts = until(&handle, "unauthorized", |f| matches!(f.reach, Reach::Unreachable { .. })).await;
    assert!(
        matches!(facts.reach, Reach::Unreachable { reason: UnreachableReason::Unauthorized, .. }),
        "{facts:?}"
    );
}

#[tokio::test]
async fn the_actor_ends_with_its_last_handle() {
    install();
    let (address, _, _) = api_server("t").await;
    let handle = ClusterActor::spawn("a", access(&address, "t"), settings());
    let mut facts = handle.facts();
    drop(handle);
    timeout(LIMIT, async { while facts.changed().await.is_ok() {} }).await.expect("the task ended");
}
