// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! No request fails while the configuration changes under load: swaps of routes, clusters and listeners, rejected ones among them,
//! certificates that rotate, listeners that come and go, endpoints that come and go, and while one process takes another one's place.

use crate::authority::Authority;
use crate::load::{Judge, Load, Tally, Way};
use crate::named::Named;
use crate::process::{self, Process};
use crate::report::Report;
use crate::resources::{
    Speaks, assigned, broken_cluster, cluster, discovered, listener_at, listener_with, table, table_saying,
};
use anyhow::Context;
use bytes::Bytes;
use gateway_xds_api::ResourceType;
use http::Response;
use rustls::ClientConfig;
use serde_json::json;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Clients of each way.
const EACH: usize = 2;
/// Load before and after each phase.
const CALM: Duration = Duration::from_millis(500);
/// The gateway's certificate.
const CERTIFICATE: &str = "certificate";
/// Both clusters between which routes change.
const ORIGINS: [&str; 2] = ["one", "two"];

/// How much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) swaps: usize,
    pub(crate) rotations: usize,
    pub(crate) listeners: usize,
    pub(crate) churns: usize,
    pub(crate) restarts: usize,
}

/// What all phases work with.
struct Scene {
    gateway: Process,
    origins: Vec<Named>,
    authority: Authority,
    plain: SocketAddr,
    tls: SocketAddr,
}

/// Runs all phases against one process.
pub(crate) async fn run(
    report: &mut Report,
    program: &Path,
    folder: &Path,
    sizes: Sizes,
) -> anyhow::Result<()> {
    let mut origins = Vec::new();
    for name in [ORIGINS[0], ORIGINS[1], "three", "four", "five", "six"] {
        origins.push(Named::start(name).await?);
    }
    let authority = Authority::new()?;
    let (plain, tls) = (process::free().await?, process::free().await?);
    let mut resources = vec![
        authority.certificate(CERTIFICATE)?.0,
        table_saying("table", ORIGINS[0], "0"),
        listener_at("plain", plain, Speaks::Plain, "table"),
        listener_at("tls", tls, Speaks::Tls(CERTIFICATE), "table"),
    ];
    for (name, origin) in ORIGINS.into_iter().zip(&origins) {
        resources.push(cluster(name, &[origin.address], false));
    }
    let gateway = Process::start(program, folder, serde_json::Value::Null, resources).await?;
    let mut scene = Scene { gateway, origins, authority, plain, tls };
    swaps(report, &scene, sizes.swaps).await?;
    rotations(report, &scene, sizes.rotations).await?;
    listeners(report, &scene, sizes.listeners).await?;
    churn(report, &scene, sizes.churns).await?;
    restarts(report, &mut scene, sizes.restarts).await?;
    report.check(
        "the process lives and is ready",
        scene.gateway.is_alive() && scene.gateway.is_ready().await,
        || "it does not, or is not".into(),
    );
    let panics = scene.gateway.logged("panicked");
    report.check("nothing panicked", panics == 0, || format!("{panics} lines"));
    Ok(())
}

impl Scene {
    /// Every way to ask, several times each.
    fn ways(&self) -> Vec<Way> {
        let trusting = |http2, resumes| Some(self.authority.client(http2, resumes));
        let way = |name, to, http2, tls, once| Way { name, to, http2, tls, once, until_refused: false };
        let ways = [
            way("HTTP/1.1", self.plain, false, None, false),
            way("HTTP/1.1, a connection each", self.plain, false, None, true),
            way("HTTP/2", self.plain, true, None, false),
            way("HTTP/1.1 over TLS", self.tls, false, trusting(false, true), false),
            way("HTTP/2 over TLS", self.tls, true, trusting(true, true), false),
            way("TLS, a full handshake each", self.tls, false, trusting(false, false), true),
            way("TLS, a resumed handshake each", self.tls, true, trusting(true, true), true),
        ];
        ways.iter().flat_map(|way| std::iter::repeat_n(way.clone(), EACH)).collect()
    }
}

/// Checks what clients saw of a phase; `kept`: nobody had to dial again.
fn judge(report: &mut Report, phase: &str, tallies: &[(&'static str, Tally)], kept: bool) -> usize {
    let mut requests = 0;
    for (name, tally) in tallies {
        requests += tally.requests;
        report.check(
            &format!("{phase}: no request fails, {name}"),
            tally.failed == 0 && tally.requests > 0,
            || format!("{} of {}: {:?}", tally.failed, tally.requests, tally.reasons),
        );
        if kept {
            report.check(&format!("{phase}: connections stay, {name}"), tally.dialled_again == 0, || {
                format!("dialled again {} times", tally.dialled_again)
            });
        }
    }
    requests
}

/// Any answer of an origin is right.
fn anything() -> Judge {
    Arc::new(|response: &Response<Bytes>| {
        response.headers().get("x-origin").map(|_| ()).ok_or_else(|| "no origin answered".to_owned())
    })
}

/// Each answer is by one configuration: the route's header and the origin belong together.
fn of_one_configuration(newest: &Arc<AtomicUsize>) -> Judge {
    let newest = Arc::clone(newest);
    Arc::new(move |response: &Response<Bytes>| {
        let said = |name: &str| {
            response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
        };
        let generation: usize = said("x-generation").parse().map_err(|_| "no generation".to_owned())?;
        let newest = newest.load(Ordering::SeqCst);
        match said("x-origin") == ORIGINS[generation % 2] && generation <= newest {
            true => Ok(()),
            false => Err(format!("generation {generation} of {newest} by {}", said("x-origin"))),
        }
    })
}

/// Random changes of everything, one after the other.
async fn swaps(report: &mut Report, scene: &Scene, count: usize) -> anyhow::Result<()> {
    let newest = Arc::new(AtomicUsize::new(0));
    let load = Load::start(&scene.ways(), &of_one_configuration(&newest));
    tokio::time::sleep(CALM).await;
    let started = Instant::now();
    let (mut refused, mut expected) = (0, 0);
    for generation in 1..=count {
        let mut change = vec![table_saying("table", ORIGINS[generation % 2], &generation.to_string())];
        if generation % 5 == 0 {
            // The same cluster, made anew.
            let which = generation / 5 % 2;
            change.push(cluster(
                ORIGINS[which],
                &[scene.origins[which].address, scene.origins[which].address],
                false,
            ));
        }
        if generation % 7 == 0 {
            let server = format!("edge-{generation}");
            change.push(listener_with("plain", scene.plain, Speaks::Plain, "table", &server));
            change.push(listener_with("tls", scene.tls, Speaks::Tls(CERTIFICATE), "table", &server));
        }
        if generation % 11 == 0 {
            expected += 1;
            change.push(broken_cluster("broken", generation));
        }
        newest.store(generation, Ordering::SeqCst);
        scene.gateway.control().change(change, &[]).await?;
        refused += scene.gateway.control().take_rejected().len();
    }
    let took = started.elapsed();
    tokio::time::sleep(CALM).await;
    let tallies = load.stop().await;
    let requests = judge(report, "swaps", &tallies, true);
    report.check("swaps: what is invalid is rejected, and nothing else", refused == expected, || {
        format!("{refused} rejections, {expected} expected")
    });
    scene.gateway.control().change(Vec::new(), &[(ResourceType::Cluster, "broken")]).await?;
    report.figure("swaps", json!({"swaps": count, "requests": requests, "seconds": took.as_secs_f64()}));
    Ok(())
}

/// The certificate changes; new handshakes see the new one.
async fn rotations(report: &mut Report, scene: &Scene, count: usize) -> anyhow::Result<()> {
    let load = Load::start(&scene.ways(), &anything());
    tokio::time::sleep(CALM).await;
    let mut late = 0;
    for _ in 0..count {
        let (secret, certificate) = scene.authority.certificate(CERTIFICATE)?;
        scene.gateway.control().change(vec![secret], &[]).await?;
        let deadline = Instant::now() + Duration::from_secs(2);
        while shown(scene).await? != certificate {
            if Instant::now() > deadline {
                late += 1;
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let tallies = load.stop().await;
    let requests = judge(report, "rotations", &tallies, true);
    report.check("rotations: new handshakes see the new certificate", late == 0, || {
        format!("{late} of {count} do not")
    });
    report.figure("rotations", json!({"rotations": count, "requests": requests}));
    Ok(())
}

/// The certificate of a new handshake.
async fn shown(scene: &Scene) -> anyhow::Result<Vec<u8>> {
    let config: Arc<ClientConfig> = scene.authority.client(false, false);
    let stream = TcpStream::connect(scene.tls).await?;
    let stream = TlsConnector::from(config).connect("localhost".try_into()?, stream).await?;
    let chain = stream.get_ref().1.peer_certificates().context("no certificate")?;
    Ok(chain.first().context("no certificate")?.to_vec())
}

/// Listeners come and go beside those that stay; who is on one that goes is told, and finishes.
async fn listeners(report: &mut Report, scene: &Scene, count: usize) -> anyhow::Result<()> {
    let load = Load::start(&scene.ways(), &anything());
    let (mut requests, mut unended) = (0, 0);
    for _ in 0..count {
        let at = process::free().await?;
        scene.gateway.control().change(vec![listener_at("extra", at, Speaks::Plain, "table")], &[]).await?;
        let deadline = Instant::now() + Duration::from_secs(5);
        while TcpStream::connect(at).await.is_err() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let way = |name, http2, once| Way { name, to: at, http2, tls: None, once, until_refused: true };
        let ways = [
            way("HTTP/1.1", false, false),
            way("HTTP/1.1, a connection each", false, true),
            way("HTTP/2", true, false),
        ];
        let leaving = Load::start(&ways, &anything());
        tokio::time::sleep(Duration::from_millis(100)).await;
        scene.gateway.control().change(Vec::new(), &[(ResourceType::Listener, "extra")]).await?;
        match tokio::time::timeout(Duration::from_secs(10), leaving.join()).await {
            Ok(tallies) => requests += judge(report, "a listener that goes", &tallies, false),
            Err(_) => unended += 1,
        }
    }
    let tallies = load.stop().await;
    requests += judge(report, "listeners", &tallies, true);
    report
        .check("listeners: those that are gone take no connection", unended == 0, || format!("{unended} do"));
    report.figure("listeners", json!({"listeners": count, "requests": requests}));
    Ok(())
}

/// Endpoints of a cluster come and go.
async fn churn(report: &mut Report, scene: &Scene, count: usize) -> anyhow::Result<()> {
    let addresses: Vec<SocketAddr> = scene.origins.iter().map(|origin| origin.address).collect();
    let first = vec![discovered("churned"), assigned("churned", &addresses[..3])];
    scene.gateway.control().change(first, &[]).await?;
    scene.gateway.control().change(vec![table("table", &[("/", "churned")])], &[]).await?;
    let load = Load::start(&scene.ways(), &anything());
    tokio::time::sleep(CALM).await;
    for round in 0..count {
        // Two or more of them, others each time.
        let size = 2 + round % (addresses.len() - 1);
        let some: Vec<SocketAddr> = (0..size).map(|at| addresses[(at + round) % addresses.len()]).collect();
        scene.gateway.control().change(vec![assigned("churned", &some)], &[]).await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let tallies = load.stop().await;
    let requests = judge(report, "endpoints", &tallies, true);
    report.figure("endpoints", json!({"changes": count, "requests": requests}));
    Ok(())
}

/// A process takes the place of the one before, again and again; probes of its readiness are answered all the while.
async fn restarts(report: &mut Report, scene: &mut Scene, count: usize) -> anyhow::Result<()> {
    let load = Load::start(&scene.ways(), &anything());
    tokio::time::sleep(CALM).await;
    let (mut unready, mut longest) = (0, Duration::ZERO);
    for _ in 0..count {
        // One that gives up changes nothing.
        scene.gateway.ask_and_leave().await?;
        let started = Instant::now();
        scene.gateway.replace().await?;
        longest = longest.max(started.elapsed());
        unready += usize::from(!scene.gateway.is_ready().await);
        tokio::time::sleep(CALM).await;
    }
    let tallies = load.stop().await;
    let requests = judge(report, "restarts", &tallies, false);
    report.check("restarts: the new process is ready when the old one has ended", unready == 0, || {
        format!("{unready} of {count} are not")
    });
    let taken = scene.gateway.logged("the place of the process before is taken");
    report.check("restarts: each took the place of the one before", taken == count, || {
        format!("{taken} of {count}")
    });
    report.figure(
        "restarts",
        json!({"restarts": count, "requests": requests, "longest_s": longest.as_secs_f64()}),
    );
    Ok(())
}
