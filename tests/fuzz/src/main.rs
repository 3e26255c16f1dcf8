// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Runs the targets on seeded mutations for a few seconds each: the same seed makes the same inputs. An input that breaks a target, or
//! takes it too long, is printed and saved.

mod mutate;

use anyhow::{Context, bail};
use clap::Parser;
use fuzz::{TARGETS, Target, dictionary, seeds, target};
use mutate::Mutator;
use parking_lot::Mutex;
use serde_json::json;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// Time for one input, on a busy machine.
const LONGEST: Duration = Duration::from_secs(10);

/// What must hold for any bytes.
#[derive(Debug, Parser)]
struct Args {
    /// Targets; all where none is named.
    targets: Vec<String>,
    /// Seconds for each target.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// What the mutations begin with.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Inputs at the most for each target: with this alone, two runs are the same.
    #[arg(long, default_value_t = u64::MAX)]
    inputs: u64,
    /// Where inputs that break a target are saved.
    #[arg(long, default_value = "target/fuzz")]
    folder: PathBuf,
    /// Runs one saved input alone.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Where to write what was found (JSON).
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// What the last panic said.
static SAID: LazyLock<Arc<Mutex<String>>> = LazyLock::new(Arc::default);

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    // Fails only where a provider was installed before, and nobody could.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let chosen: Vec<Target> = if args.targets.is_empty() {
        TARGETS.to_vec()
    } else {
        let named = args.targets.iter().map(|name| target(name).with_context(|| format!("no target {name}")));
        named.collect::<Result<_, _>>()?
    };
    if let Some(path) = &args.input {
        let [target] = chosen[..] else { bail!("name the target of the input") };
        (target.run)(&std::fs::read(path)?);
        return Ok(ExitCode::SUCCESS);
    }
    std::panic::set_hook(Box::new(|info| *SAID.lock() = info.to_string()));
    let (mut passed, mut failed, mut counts) = (0, Vec::new(), serde_json::Map::new());
    for target in chosen {
        match watched(target, &args) {
            Ok(count) => {
                passed += 1;
                counts.insert(target.name.into(), json!(count));
                say(&format!("  ok     {} ({count} inputs)", target.name));
            }
            Err(why) => {
                say(&format!("  FAILED {}: {why:#}", target.name));
                failed.push(format!("{}: {why:#}", target.name));
            }
        }
    }
    say(&format!("{passed} passed, {} failed", failed.len()));
    if let Some(path) = &args.report {
        let body = json!({"passed": passed, "failed": failed, "inputs": counts, "seed": args.seed});
        std::fs::write(path, serde_json::to_vec_pretty(&body)?)?;
    }
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs a target on a thread of its own, so that an input without end is noticed.
fn watched(target: Target, args: &Args) -> anyhow::Result<u64> {
    let current = Arc::new(Mutex::new((0_u64, Vec::new())));
    let (done, outcome) = channel();
    let (shared, seed, seconds, inputs) = (Arc::clone(&current), args.seed, args.seconds, args.inputs);
    std::thread::Builder::new().name(target.name.into()).spawn(move || {
        // Nobody waits any more where an input took too long.
        let _ = done.send(run(target, (seed, Duration::from_secs(seconds), inputs), &shared));
    })?;
    let mut seen = 0;
    loop {
        match outcome.recv_timeout(LONGEST) {
            Ok(Ok(count)) => return Ok(count),
            Ok(Err(why)) => {
                let input = current.lock().1.clone();
                let path = save(&args.folder, target, &input)?;
                bail!("{why}; input {} saved as {}", shown(&input), path.display());
            }
            Err(RecvTimeoutError::Timeout) if current.lock().0 != seen => seen = current.lock().0,
            Err(_) => {
                let input = current.lock().1.clone();
                let path = save(&args.folder, target, &input)?;
                bail!("takes over {LONGEST:?}; input {} saved as {}", shown(&input), path.display());
            }
        }
    }
}

/// Runs mutations until the time is over; how many, or what the panic said.
fn run(
    target: Target,
    (seed, time, inputs): (u64, Duration, u64),
    current: &Mutex<(u64, Vec<u8>)>,
) -> Result<u64, String> {
    let seeds = seeds(target.name);
    let mut mutator = Mutator::new(seed, seeds.clone(), dictionary(target.name));
    let start = Instant::now();
    let mut count = 0;
    while count < inputs && (count < seeds.len() as u64 || start.elapsed() < time) {
        let input = match usize::try_from(count).ok().and_then(|at| seeds.get(at)) {
            Some(seed) => seed.clone(),
            None => mutator.make(),
        };
        count += 1;
        *current.lock() = (count, input.clone());
        if catch_unwind(AssertUnwindSafe(|| (target.run)(&input))).is_err() {
            return Err(SAID.lock().clone());
        }
    }
    Ok(count)
}

fn save(folder: &Path, target: Target, input: &[u8]) -> anyhow::Result<PathBuf> {
    let folder = folder.join(target.name);
    std::fs::create_dir_all(&folder)?;
    let path = folder.join("breaks");
    std::fs::write(&path, input)?;
    Ok(path)
}

/// As text with escapes, cut.
fn shown(input: &[u8]) -> String {
    format!("\"{}\"", input[..input.len().min(400)].escape_ascii())
}

fn say(line: &str) {
    // Nobody has to look on.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
