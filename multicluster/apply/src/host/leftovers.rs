// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Ends processes that an earlier life of the hub left behind.

use crate::ApplyError;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;

/// How long a left-over process may take to end by itself.
const GRACE: Duration = Duration::from_secs(3);
/// Name of the pid file in a process's folder.
pub(super) const PID_FILE: &str = "pid";

/// Writes who runs: the process id, and the program, so that a reused id is not mistaken for ours.
pub(super) fn record(folder: &Path, pid: u32) -> io::Result<()> {
    let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    fs::write(folder.join(PID_FILE), format!("{pid}\n{}\n", program.display()))
}

/// Forgets who ran.
pub(super) fn forget(folder: &Path) {
    if let Err(error) = fs::remove_file(folder.join(PID_FILE))
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::debug!(folder = %folder.display(), %error, "pid file stays");
    }
}

/// Ends every process that a pid file under `state_dir` names and that still is what the file says.
pub(super) async fn end(state_dir: &Path) -> Result<(), ApplyError> {
    let mut files = Vec::new();
    collect(state_dir, 0, &mut files)
        .map_err(|source| ApplyError::Host { what: format!("read {}", state_dir.display()), source })?;
    let mut ending = Vec::new();
    for file in &files {
        if let Some(pid) = running(file) {
            tracing::warn!(pid = pid.as_raw_nonzero().get(), file = %file.display(), "ending a left-over process");
            signal(pid, Signal::TERM);
            ending.push(pid);
        }
    }
    let deadline = Instant::now() + GRACE;
    while ending.iter().any(|pid| alive(*pid)) {
        if Instant::now() > deadline {
            ending.iter().filter(|pid| alive(**pid)).for_each(|pid| signal(*pid, Signal::KILL));
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for file in files {
        forget(file.parent().unwrap_or(state_dir));
    }
    Ok(())
}

/// The process of a pid file, if it is alive and still the program that was started.
fn running(file: &Path) -> Option<Pid> {
    let text = fs::read_to_string(file).ok()?;
    let mut lines = text.lines();
    let raw: i32 = lines.next()?.trim().parse().ok()?;
    let program = PathBuf::from(lines.next()?);
    let now = fs::read_link(format!("/proc/{raw}/exe")).ok()?;
    // A rebuilt program reads as "<path> (deleted)": still the one that we started.
    let now = PathBuf::from(now.to_string_lossy().trim_end_matches(" (deleted)"));
    if program.as_os_str().is_empty() || now != program {
        return None;
    }
    Pid::from_raw(raw)
}

fn alive(pid: Pid) -> bool {
    test_kill_process(pid).is_ok()
}

/// Signals a process and what it started: each of ours leads a group of its own.
pub(super) fn signal(pid: Pid, signal: Signal) {
    if let Err(error) = kill_process_group(pid, signal) {
        tracing::debug!(pid = pid.as_raw_nonzero().get(), %error, "signal");
    }
}

/// Pid files at most four folders deep.
fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() && depth < 4 {
            collect(&entry.path(), depth + 1, files)?;
        } else if kind.is_file() && entry.file_name() == PID_FILE {
            files.push(entry.path());
        }
    }
    Ok(())
}
