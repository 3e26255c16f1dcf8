// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Keeps one program running: starts it, restarts it with backoff, asks for its readiness, ends it.

use super::bootstrap::{self, Ports};
use super::leftovers::{forget, record, signal};
use super::plan::Program;
use super::readiness::is_ready;
use super::{Shared, note};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal};
use std::fs::{self, OpenOptions};
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const BACKOFF_BASE: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// A life this long forgives earlier failures.
const STEADY: Duration = Duration::from_secs(10);
/// Between questions for readiness, before and after the first yes.
const ASK_SOON: Duration = Duration::from_millis(50);
const ASK_LATER: Duration = Duration::from_millis(500);
/// A log beyond this many bytes is put aside when its process starts anew.
const LOG_LIMIT: u64 = 16 * 1024 * 1024;

/// What is known of a process.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ProcessState {
    pub(super) pid: Option<u32>,
    pub(super) ready: bool,
    /// Why it does not run.
    pub(super) problem: Option<String>,
}

/// A program under supervision.
#[derive(Debug)]
pub(super) struct Supervised {
    program: Program,
    state: Shared<ProcessState>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Supervised {
    pub(super) fn start(program: Program, changed: watch::Sender<u64>) -> Self {
        Self::start_after(program, changed, None)
    }

    /// Ends this one, then starts `program` in its place.
    pub(super) fn replace(self, program: Program, changed: watch::Sender<u64>) -> Self {
        Self::start_after(program, changed, Some(self))
    }

    fn start_after(program: Program, changed: watch::Sender<u64>, before: Option<Self>) -> Self {
        let state: Shared<ProcessState> = Arc::new(Mutex::new(ProcessState::default()));
        let stop = CancellationToken::new();
        let supervisor =
            Supervisor { program: program.clone(), state: Arc::clone(&state), stop: stop.clone(), changed };
        let task = tokio::spawn(async move {
            if let Some(before) = before {
                before.stop().await;
            }
            supervisor.run().await;
        });
        Self { program, state, stop, task }
    }

    pub(super) fn program(&self) -> &Program {
        &self.program
    }

    pub(super) fn state(&self) -> ProcessState {
        self.state.lock().clone()
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.state.lock().pid
    }

    pub(super) fn log(&self) -> PathBuf {
        self.program.folder.join("log")
    }

    /// SIGTERM, the grace, SIGKILL. Returns when the process is gone.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(process = %self.program.name, %error, "supervisor ended badly");
        }
    }

    /// SIGTERM, without waiting for anything.
    pub(super) fn signal_now(&self) {
        self.stop.cancel();
        if let Some(pid) = self.pid().and_then(pid_of) {
            signal(pid, Signal::TERM);
        }
    }
}

pub(super) fn pid_of(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// The task's side.
struct Supervisor {
    program: Program,
    state: Shared<ProcessState>,
    stop: CancellationToken,
    changed: watch::Sender<u64>,
}

impl Supervisor {
    async fn run(self) {
        let mut failures = 0u32;
        while !self.stop.is_cancelled() {
            let begun = Instant::now();
            let problem = match self.spawn() {
                Ok((child, ports)) => match self.life(child, ports).await {
                    Some(exit) => format!("{} ended with {exit}", self.program.command.display()),
                    None => break,
                },
                Err(error) => format!("{} cannot be started: {error}", self.program.command.display()),
            };
            if begun.elapsed() >= STEADY {
                failures = 0;
            }
            failures = failures.saturating_add(1);
            tracing::warn!(process = %self.program.name, %problem, failures, "process restarts");
            self.set(|state| {
                *state = ProcessState { problem: Some(problem.clone()), ..ProcessState::default() }
            });
            let wait = BACKOFF_BASE.saturating_mul(1 << (failures - 1).min(10)).min(BACKOFF_MAX);
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = tokio::time::sleep(wait) => {}
            }
        }
        if let Some(files) = &self.program.bootstrap {
            files.tokens.revoke(&files.identity);
        }
        self.set(|state| *state = ProcessState::default());
    }

    fn spawn(&self) -> io::Result<(Child, Option<Ports>)> {
        let program = &self.program;
        fs::create_dir_all(&program.folder)?;
        let ports = match &program.bootstrap {
            Some(files) => {
                let ports = bootstrap::free_ports()?;
                bootstrap::write(program, files, ports)?;
                Some(ports)
            }
            None => None,
        };
        let log_path = program.folder.join("log");
        if fs::metadata(&log_path).is_ok_and(|log| log.len() > LOG_LIMIT) {
            fs::rename(&log_path, program.folder.join("log.1"))?;
        }
        let log = OpenOptions::new().create(true).append(true).open(log_path)?;
        let mut command = Command::new(&program.command);
        command
            .args(&program.arguments)
            .envs(program.environment.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A group of its own: Ctrl-C at the terminal reaches us alone, and we drain the others in order.
            .process_group(0)
            .kill_on_drop(true);
        let child = command.spawn()?;
        if let Some(pid) = child.id() {
            record(&program.folder, pid)?;
            self.set(|state| *state = ProcessState { pid: Some(pid), ready: false, problem: None });
        }
        Ok((child, ports))
    }

    /// One life of the process. None: it was ended on purpose.
    async fn life(&self, mut child: Child, ports: Option<Ports>) -> Option<String> {
        let exit = tokio::select! {
            exit = child.wait() => Some(exit),
            () = self.watch_readiness(ports) => None,
            () = self.stop.cancelled() => None,
        };
        let outcome = match exit {
            Some(exit) => Some(describe(exit)),
            None => {
                self.end(&mut child).await;
                None
            }
        };
        forget(&self.program.folder);
        outcome
    }

    /// Never ends.
    async fn watch_readiness(&self, ports: Option<Ports>) {
        let Some(ports) = ports else { return std::future::pending().await };
        let mut was = false;
        loop {
            let ready = is_ready(ports.readiness).await;
            if ready != was {
                tracing::info!(process = %self.program.name, ready, "readiness");
                self.set(|state| state.ready = ready);
                was = ready;
            }
            tokio::time::sleep(if ready { ASK_LATER } else { ASK_SOON }).await;
        }
    }

    async fn end(&self, child: &mut Child) {
        self.set(|state| state.ready = false);
        let Some(pid) = child.id().and_then(pid_of) else { return };
        signal(pid, Signal::TERM);
        if tokio::time::timeout(self.program.grace, child.wait()).await.is_err() {
            tracing::warn!(process = %self.program.name, grace = ?self.program.grace, "killed: it did not end in time");
        }
        // What it left in its group goes as well.
        signal(pid, Signal::KILL);
        if let Err(error) = child.wait().await {
            tracing::debug!(process = %self.program.name, %error, "wait");
        }
    }

    fn set(&self, change: impl Fn(&mut ProcessState)) {
        change(&mut self.state.lock());
        note(&self.changed);
    }
}

fn describe(exit: io::Result<ExitStatus>) -> String {
    match exit {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    }
}
