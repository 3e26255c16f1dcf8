// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The gateway and the real Envoy under the same configurations and requests, compared.

#![allow(clippy::print_stdout, reason = "what it finds is its output")]

mod access_log;
mod admin;
mod authority;
mod case;
mod client;
mod compare;
mod control;
mod datagrams;
mod generate;
mod known;
mod origin;
mod proxies;

use anyhow::Context;
use authority::Authority;
use case::Case;
use clap::{Parser, Subcommand};
use compare::{Difference, Outcome, Sides};
use control::Control;
use futures::StreamExt;
use known::Known;
use proxies::{FIRST_PORT, Programs, Proxy};
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Cases under way at once.
const AT_ONCE: usize = 32;
/// Time for listeners to open whose configuration was taken.
const OPEN: Duration = Duration::from_secs(1);
/// Differences printed in full.
const SHOWN: usize = 60;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: What,
}

#[derive(Subcommand)]
enum What {
    /// Compares.
    Run(Options),
    /// Writes docs/envoy-differences.md.
    Page,
}

#[derive(clap::Args)]
struct Options {
    /// Our gateway.
    #[arg(long)]
    gateway: PathBuf,
    /// The real Envoy.
    #[arg(long)]
    envoy: PathBuf,
    /// Where files of the run go.
    #[arg(long)]
    folder: PathBuf,
    /// The report.
    #[arg(long)]
    report: PathBuf,
    /// What generated configurations come from; chosen by chance where it is not given.
    #[arg(long)]
    seed: Option<u64>,
    /// Generated configurations.
    #[arg(long, default_value_t = 340)]
    configurations: usize,
    /// Only cases whose name begins so; known differences that do not occur are fine then.
    #[arg(long)]
    only: Option<String>,
}

fn main() -> ExitCode {
    let done = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(run(Arguments::parse())));
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("oracle: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<bool> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let known = Known::read(&root.join("docs/envoy-differences.yaml"))?;
    let page = root.join("docs/envoy-differences.md");
    let options = match arguments.command {
        What::Page => {
            std::fs::write(page, known.page())?;
            return Ok(true);
        }
        What::Run(options) => options,
    };
    known.check_page(&page)?;
    let seed = options.seed.unwrap_or_else(rand::random);
    println!("seed {seed}");
    let mut cases = case::read_all(&root.join("tests/oracle/cases"))?;
    cases.extend(generate::all(seed, options.configurations)?);
    if let Some(only) = &options.only {
        cases.retain(|case| case.name.starts_with(only.as_str()));
    }
    let began = Instant::now();
    let (requests, differences) = compare_all(&cases, &options).await?;
    report(&cases, &options, (seed, requests, began.elapsed()), known.sort(differences))
}

async fn compare_all(cases: &[Case], options: &Options) -> anyhow::Result<(usize, Vec<Difference>)> {
    let programs = Programs {
        gateway: options.gateway.clone(),
        envoy: options.envoy.clone(),
        folder: std::path::absolute(&options.folder)?,
        authority: Authority::new()?,
    };
    let control = Control::default();
    let ads = control.serve().await?;
    for name in ["ours", "envoy"] {
        // Logs of an earlier run would be compared as well.
        let log = programs.folder.join(name).join("access.log");
        if log.exists() {
            std::fs::remove_file(log)?;
        }
    }
    let loopback = |last| IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
    let ours = proxies::start("ours", loopback(18), &programs, (cases, &control, ads)).await?;
    let envoy = proxies::start("envoy", loopback(19), &programs, (cases, &control, ads)).await?;
    let mut differences = rejections(cases, &ours, &envoy);
    let refused: Vec<String> = differences.iter().map(|d| d.configuration.clone()).collect();
    let asked = cases.iter().enumerate().filter(|(_, case)| !refused.contains(&case.name));
    let outcomes: Vec<anyhow::Result<Outcome>> = futures::stream::iter(asked)
        .map(|(index, case)| ask_case(index, case, &ours, &envoy))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let (mut requests, mut asked) = (0, access_log::Asked::new());
    for outcome in outcomes {
        let outcome = outcome?;
        requests += outcome.requests;
        differences.extend(outcome.differences);
        asked.extend(outcome.asked);
    }
    // Both write their logs behind.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (lines, logged) = access_log::compare(&ours.log, &envoy.log, &asked)?;
    println!("{lines} requests with access log lines");
    differences.extend(logged);
    if cases.iter().any(|case| case.name == "admin") {
        differences.extend(admin::compare(&ours, &envoy).await?);
    }
    Ok((requests, differences))
}

async fn ask_case(index: usize, case: &Case, ours: &Proxy, envoy: &Proxy) -> anyhow::Result<Outcome> {
    let port = FIRST_PORT + u16::try_from(index)?;
    let sides = Sides {
        addresses: [ours, envoy].map(|proxy| SocketAddr::new(proxy.address, port)),
        records: [&ours.record, &envoy.record],
    };
    if case.is_udp() {
        // Nothing tells whether somebody listens.
        tokio::time::sleep(OPEN).await;
        return Ok(compare::run(case, &sides).await);
    }
    for address in sides.addresses {
        let began = Instant::now();
        while tokio::net::TcpStream::connect(address).await.is_err() {
            if began.elapsed() > Duration::from_secs(20) {
                anyhow::bail!("{}: nobody listens on {address}", case.name);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(compare::run(case, &sides).await)
}

/// Cases that one of the two rejects, or both.
fn rejections(cases: &[Case], ours: &Proxy, envoy: &Proxy) -> Vec<Difference> {
    let said = |proxy: &Proxy, name: &str| {
        let named = format!("{name}: ");
        let lines = proxy.rejected.iter().flat_map(|text| text.lines());
        let line = lines.filter_map(|line| line.split_once(&named)).map(|(_, why)| why.to_owned()).next();
        line.unwrap_or_else(|| "taken".to_owned())
    };
    for proxy in [ours, envoy] {
        for text in &proxy.rejected {
            println!("{} rejects: {}", proxy.name, text.chars().take(3000).collect::<String>());
        }
    }
    let mut differences = Vec::new();
    for case in cases {
        let (ours, envoy) = (said(ours, &case.name), said(envoy, &case.name));
        if ours != "taken" || envoy != "taken" {
            let request = "(configuration)".to_owned();
            differences.push(Difference {
                configuration: case.name.clone(),
                request,
                field: "accepted".to_owned(),
                ours,
                envoy,
            });
        }
    }
    differences
}

fn report(
    cases: &[Case],
    options: &Options,
    (seed, requests, took): (u64, usize, Duration),
    sorted: known::Sorted,
) -> anyhow::Result<bool> {
    let gone = if options.only.is_some() { Vec::new() } else { sorted.gone };
    for difference in sorted.unlisted.iter().take(SHOWN) {
        println!("DIFFERENT {} | {} | {}", difference.configuration, difference.request, difference.field);
        println!("    ours:  {}\n    envoy: {}", difference.ours, difference.envoy);
    }
    let mut shown: Vec<&str> = sorted.unlisted.iter().map(|d| d.configuration.as_str()).collect();
    shown.sort_unstable();
    shown.dedup();
    for case in cases.iter().filter(|case| shown.contains(&case.name.as_str())).take(10) {
        println!(
            "CONFIGURATION {}: {}",
            case.name,
            json!(case.resources(0).iter().map(|made| &made.2).collect::<Vec<_>>())
        );
    }
    for id in &gone {
        println!("GONE known difference {id} did not occur: remove it from docs/envoy-differences.yaml");
    }
    let failed = sorted.unlisted.len() + gone.len();
    let passed = requests.saturating_sub(sorted.unlisted.len());
    let listed: serde_json::Map<_, _> =
        sorted.listed.into_iter().map(|(id, count)| (id, json!(count))).collect();
    let body = json!({
        "passed": passed, "failed": failed, "configurations": cases.len(), "requests": requests,
        "differences": sorted.unlisted, "listed": listed, "gone": gone, "seed": seed, "seconds": took.as_secs_f64(),
    });
    if let Some(folder) = options.report.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&options.report, serde_json::to_string_pretty(&body)?)
        .with_context(|| format!("write {}", options.report.display()))?;
    println!(
        "{} configurations, {requests} requests, {} differences not listed, {} listed that did not occur, {:.0} s, seed {seed}",
        cases.len(),
        sorted.unlisted.len(),
        gone.len(),
        took.as_secs_f64()
    );
    Ok(failed == 0)
}
