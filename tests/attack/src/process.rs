// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The gateway's own process under attack: started with a bootstrap, configured over ADS, looked at from outside.

use crate::control::Control;
use crate::resources::Typed;
use crate::wire;
use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, UnixStream};
use tokio::process::{Child, Command};

/// Time for the process to be ready.
const START: Duration = Duration::from_secs(60);
/// Time for one of its pages.
const PAGE: Duration = Duration::from_secs(5);

/// A gateway process; it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    admin: SocketAddr,
    readiness: SocketAddr,
    program: PathBuf,
    bootstrap: PathBuf,
    log: PathBuf,
    id: u32,
    child: Child,
    control: Control,
}

/// An address that nobody uses right now.
pub(crate) async fn free() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0").await?.local_addr()?)
}

/// Starts the program; its log is written behind what is there.
fn launch(program: &Path, bootstrap: &Path, log: &Path, arguments: &[&str]) -> anyhow::Result<Child> {
    let out = File::options().create(true).append(true).open(log)?;
    let mut command = Command::new(program);
    command.arg("--bootstrap").arg(bootstrap).args(arguments);
    command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).kill_on_drop(true);
    command.spawn().with_context(|| format!("start {}", program.display()))
}

impl Process {
    /// Starts the program; `limits` is that part of its bootstrap. Done once it is ready.
    pub(crate) async fn start(
        program: &Path,
        folder: &Path,
        limits: Value,
        resources: Vec<Typed>,
    ) -> anyhow::Result<Self> {
        if folder.exists() {
            std::fs::remove_dir_all(folder)?;
        }
        std::fs::create_dir_all(folder)?;
        let control = Control::start(resources).await?;
        let (admin, readiness, metrics) = (free().await?, free().await?, free().await?);
        let mut bootstrap = json!({
            "controlPlane": {"address": control.address.to_string(), "plaintext": true, "node": {"id": "attacked"}},
            "stateDir": folder.join("state"),
            "admin": admin, "readiness": readiness, "metrics": metrics,
            "workers": 2,
            "drainSeconds": 1,
        });
        if !limits.is_null() {
            bootstrap["limits"] = limits;
        }
        let file = folder.join("bootstrap.yaml");
        std::fs::write(&file, bootstrap.to_string())?;
        let log = folder.join("gateway.log");
        let child = launch(program, &file, &log, &[])?;
        let id = child.id().context("the gateway ended at once")?;
        let (program, bootstrap) = (program.to_owned(), file);
        let mut process = Self { admin, readiness, program, bootstrap, log, id, child, control };
        let started = Instant::now();
        while !process.is_ready().await {
            let rejected = process.control.rejected();
            if started.elapsed() > START || !rejected.is_empty() || !process.is_alive() {
                bail!("the gateway is not ready: {rejected:?}; see {}", process.log.display());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(process)
    }

    /// Lets another process of the same program and bootstrap take this one's place; done once the old one has ended by itself.
    pub(crate) async fn replace(&mut self) -> anyhow::Result<()> {
        let next = launch(&self.program, &self.bootstrap, &self.log, &["--take-over"])?;
        self.id = next.id().context("the new gateway ended at once")?;
        let mut before = std::mem::replace(&mut self.child, next);
        match tokio::time::timeout(START, before.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(status) => bail!("the gateway before ended with {status:?}"),
            Err(_) => bail!("the gateway before does not end; see {}", self.log.display()),
        }
    }

    /// Asks for this one's place as another process does, and goes away once the first socket came.
    pub(crate) async fn ask_and_leave(&self) -> anyhow::Result<()> {
        let meeting = self.bootstrap.with_file_name("state").join("takeover.sock");
        let mut stream = UnixStream::connect(meeting).await?;
        tokio::time::timeout(PAGE, stream.read_u8()).await??;
        Ok(())
    }

    /// Who configures it.
    pub(crate) fn control(&self) -> &Control {
        &self.control
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Whether its readiness page says yes.
    pub(crate) async fn is_ready(&self) -> bool {
        wire::get(self.readiness, "/healthz/ready", PAGE).await.is_ok_and(|reply| reply.status() == Some(200))
    }

    /// A page of its admin port; none where it does not answer with 200.
    pub(crate) async fn page(&self, path: &str) -> Option<String> {
        let reply = wire::get(self.admin, path, PAGE).await.ok()?;
        (reply.status() == Some(200)).then(|| String::from_utf8_lossy(&reply.bytes).into_owned())
    }

    /// The sum of all samples of a metric whose line contains `part`.
    pub(crate) async fn metric(&self, name: &str, part: &str) -> u64 {
        let text = self.page("/stats/prometheus").await.unwrap_or_default();
        let samples = text.lines().filter(|line| line.starts_with(name) && line.contains(part));
        let values = samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.sum::<f64>() as u64
    }

    /// Memory of the process that is in use, KiB.
    pub(crate) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id)).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
    }

    /// Lines of its log that contain a text.
    pub(crate) fn logged(&self, part: &str) -> usize {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        log.lines().filter(|line| line.contains(part)).count()
    }
}
