// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! `gatefleet up DIR`: a whole fleet on this machine, from a folder.

mod check;
mod fleet_state;
mod progress;

use anyhow::{Context, bail};
use clap::Args;
use fleet_state::{FleetState, watch_state};
use gateway_telemetry::{LogFormat, LogOptions, init_logs};
use operator_runtime::embedded::{Embedded, EmbeddedOptions};
use progress::Progress;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::Instant;

/// Arguments of `gatefleet up`.
#[derive(Debug, Args)]
pub struct UpArgs {
    /// Folder with the fleet's YAML; files under clusters/NAME/ are what that cluster has of its own.
    folder: PathBuf,
    /// Checks one request through each cluster and ends.
    #[arg(long)]
    once: bool,
    /// Where state is kept: logs, last good configurations, keys of this fleet.
    #[arg(long)]
    state: Option<PathBuf>,
    /// Longest wait until every gateway serves, in seconds.
    #[arg(long, default_value_t = 60)]
    timeout: u64,
    /// The gateway program; beside this one by default.
    #[arg(long)]
    gateway: Option<PathBuf>,
    /// Log filter; logs go to standard error.
    #[arg(long, env = "GATEFLEET_LOG", default_value = "error")]
    log: String,
}

/// Starts everything, shows progress, then follows the folder until Ctrl-C.
///
/// # Errors
/// Where the folder cannot be read, a port is taken, or the fleet does not come up in time.
pub(crate) async fn run(args: UpArgs) -> anyhow::Result<ExitCode> {
    init_logs(&LogOptions { filter: args.log.clone(), format: LogFormat::Text })
        .context("cannot set logging up")?;
    let folder =
        args.folder.canonicalize().with_context(|| format!("no folder {}", args.folder.display()))?;
    let options = EmbeddedOptions {
        state: args.state.clone().unwrap_or_else(|| default_state(&folder)),
        gateway: gateway_program(args.gateway.as_deref())?,
        folder,
    };
    let began = Instant::now();
    let embedded = Embedded::start(options).await?;
    let outcome = tokio::select! {
        outcome = follow(&embedded, &args, began) => outcome,
        _ = tokio::signal::ctrl_c() => Ok(ExitCode::SUCCESS),
        () = terminated() => Ok(ExitCode::SUCCESS),
    };
    eprintln!("ending everything that was started");
    embedded.shutdown().await;
    outcome
}

async fn follow(embedded: &Embedded, args: &UpArgs, began: Instant) -> anyhow::Result<ExitCode> {
    let mut problems = embedded.problems();
    let mut states = watch_state(embedded.objects());
    let mut progress = Progress::new();
    let deadline = Instant::now() + Duration::from_secs(args.timeout);
    for problem in problems.borrow_and_update().iter() {
        progress.problem(problem);
    }
    let state = loop {
        let state = states.borrow_and_update().clone();
        progress.show(&state);
        if state.serves() {
            break state;
        }
        tokio::select! {
            _ = states.changed() => {}
            _ = problems.changed() => problems.borrow_and_update().iter().for_each(|p| progress.problem(p)),
            () = tokio::time::sleep_until(deadline) => {
                progress.end();
                bail!("the fleet does not serve after {} s: {}; see the logs in {}",
                    args.timeout, state.waiting_for(), embedded.state().display());
            }
        }
    };
    progress.end();
    println_table(&state, began.elapsed());
    if args.once {
        return check::every_cluster(&state).await;
    }
    loop {
        tokio::select! {
            changed = problems.changed() => {
                if changed.is_err() {
                    return Ok(ExitCode::SUCCESS);
                }
                let standing = problems.borrow_and_update().clone();
                standing.iter().for_each(|p| progress.problem(p));
                if standing.is_empty() {
                    progress.note("the folder is in order");
                }
            }
            _ = states.changed() => {
                let state = states.borrow_and_update().clone();
                progress.revision(&state);
            }
        }
    }
}

#[allow(clippy::print_stdout, reason = "the table is this command's output")]
fn println_table(state: &FleetState, elapsed: Duration) {
    println!("{}", state.table());
    println!("\nserving after {:.1} s. Try:", elapsed.as_secs_f64());
    for line in state.to_try() {
        println!("  {line}");
    }
    println!("\nEdit a file and save it: the gateways follow at once. Ctrl-C ends everything.");
}

async fn terminated() {
    match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(mut signal) => {
            signal.recv().await;
        }
        Err(_) => std::future::pending().await,
    }
}

/// One place for each folder, outside of it.
fn default_state(folder: &Path) -> PathBuf {
    let base = std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state")))
        .unwrap_or_else(std::env::temp_dir);
    let name: String =
        folder.to_string_lossy().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    base.join("gatefleet").join(name.trim_matches('-'))
}

fn gateway_program(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    let path = match given {
        Some(path) => path.to_path_buf(),
        None => std::env::current_exe()
            .context("cannot find this program's own path")?
            .with_file_name("gatefleet-gateway"),
    };
    if !path.is_file() {
        bail!(
            "no gateway program at {}; build it (cargo build -p gateway) or name it with --gateway",
            path.display()
        );
    }
    Ok(path)
}
