// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Hostile and impatient clients against a running gateway. Each subcommand is one suite: it starts a proxy with its default limits and
//! servers behind it on loopback, prints one line for each check, writes a report and ends with 1 where a check failed.

mod authority;
mod continuity;
mod control;
mod crowd;
mod floods;
mod framing;
mod gateway;
mod h2_client;
mod h2spec;
mod load;
mod named;
mod origin;
mod overload;
mod probe;
mod process;
mod report;
mod resources;
mod slow;
mod smuggling;
mod wire;

use clap::{Parser, Subcommand};
use gateway::Certificate;
use origin::Origin;
use process::Process;
use report::Report;
use resources::{Speaks, cluster, impatient, listener_at, table};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Hostile and impatient clients against a running gateway.
#[derive(Debug, Parser)]
struct Args {
    /// Where to write what was found (JSON).
    #[arg(long, value_name = "FILE", global = true)]
    report: Option<PathBuf>,
    #[command(subcommand)]
    suite: Suite,
}

#[derive(Debug, Subcommand)]
enum Suite {
    /// The HTTP/2 conformance cases of h2spec, over TLS and in plain text, strict and not.
    H2spec {
        /// The program h2spec.
        #[arg(long)]
        tool: PathBuf,
    },
    /// The request-framing corpus of http_desync_guardian.
    Framing {
        /// The folder of its test cases.
        #[arg(long)]
        corpus: PathBuf,
    },
    /// Floods, slow clients, crowds and requests with two readings against the gateway's own process.
    Floods {
        /// The program gatefleet-gateway.
        #[arg(long)]
        gateway: PathBuf,
        /// Where its files go.
        #[arg(long)]
        folder: PathBuf,
        /// Slow clients of each kind.
        #[arg(long, default_value_t = 500)]
        slow: usize,
        /// Idle connections.
        #[arg(long, default_value_t = 10_000)]
        idle: usize,
    },
    /// Load against the gateway's own process while its configuration changes: no request fails.
    Continuity {
        /// The program gatefleet-gateway.
        #[arg(long)]
        gateway: PathBuf,
        /// Where its files go.
        #[arg(long)]
        folder: PathBuf,
        /// Random changes of routes, clusters and listeners.
        #[arg(long, default_value_t = 1000)]
        swaps: usize,
        /// Certificates, one after the other.
        #[arg(long, default_value_t = 100)]
        rotations: usize,
        /// Listeners that come and go.
        #[arg(long, default_value_t = 10)]
        listeners: usize,
        /// Changes of a cluster's endpoints.
        #[arg(long, default_value_t = 200)]
        churns: usize,
        /// Processes that take each other's place.
        #[arg(long, default_value_t = 5)]
        restarts: usize,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    // Fails only where a provider was installed before, and nobody could.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut report = Report::default();
    runtime.block_on(async {
        match args.suite {
            Suite::H2spec { tool } => h2spec::run(&mut report, &tool).await,
            Suite::Framing { corpus } => framing::run(&mut report, &corpus).await,
            Suite::Floods { gateway, folder, slow, idle } => {
                floods_suite(&mut report, &gateway, &folder, (slow, idle)).await
            }
            Suite::Continuity { gateway, folder, swaps, rotations, listeners, churns, restarts } => {
                let sizes = continuity::Sizes { swaps, rotations, listeners, churns, restarts };
                continuity::run(&mut report, &gateway, &folder, sizes).await
            }
        }
    })?;
    report.finish(args.report.as_deref())
}

/// One gateway process for all of it: what one part breaks, the next would notice.
async fn floods_suite(
    report: &mut Report,
    program: &Path,
    folder: &Path,
    (slow, idle): (usize, usize),
) -> anyhow::Result<()> {
    let origin = Origin::start("served").await?;
    let certificate = Certificate::new("localhost")?;
    let (usual, plain) = (process::free().await?, process::free().await?);
    let (tls, proxied) = (process::free().await?, process::free().await?);
    let tls_speaks = Speaks::Tls("certificate");
    let resources = vec![
        cluster("origin", &[origin.address], false),
        certificate.secret("certificate"),
        table("table", &[("/", "origin")]),
        listener_at("usual", usual, Speaks::Plain, "table"),
        impatient(("plain", plain), (Speaks::Plain, false), "table", slow::LIMIT),
        impatient(("tls", tls), (tls_speaks, false), "table", slow::LIMIT),
        impatient(("proxied", proxied), (Speaks::Plain, true), "table", slow::LIMIT),
    ];
    let mut gateway = Process::start(program, folder, serde_json::Value::Null, resources).await?;
    floods::run(report, &gateway, &origin, usual).await?;
    smuggling::run(report, &origin, usual).await?;
    let targets = slow::Targets { plain, tls, proxied, probe: usual };
    slow::run(report, &gateway, targets, slow).await?;
    crowd::idle(report, &gateway, usual, idle).await?;
    report.check("the process lives", gateway.is_alive(), || "it ended".into());
    report.check("it is ready", gateway.is_ready().await, || "it is not".into());
    overload::connections(report, program, &folder.join("connections")).await?;
    overload::memory(report, program, &folder.join("memory")).await?;
    let panics = gateway.logged("panicked");
    report.check("nothing panicked", panics == 0, || format!("{panics} lines"));
    Ok(())
}
