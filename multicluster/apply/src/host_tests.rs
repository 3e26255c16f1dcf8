// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The host backend with real, tiny processes.

use super::plan::all_programs;
use super::{HostBackend, HostOptions, HostTokens};
use crate::{Backend as _, MemberKey, Outcome};
use crds::{HostProcess, HostSpec};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(20);

/// A gateway for tests: says that it is ready on the port of its bootstrap, and drains for a moment on SIGTERM.
const GATEWAY: &str = r#"#!/usr/bin/env python3
import json, signal, socket, sys
bootstrap = json.load(open(sys.argv[2]))
host, port = bootstrap["readiness"].rsplit(":", 1)
server = socket.create_server((host, int(port)))
def end(*_):
    open(bootstrap["stateDir"] + "/drained", "w").close()
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
while True:
    peer, _ = server.accept()
    peer.recv(1024)
    peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    peer.close()
"#;

fn options(folder: &Path, program: &Path) -> HostOptions {
    HostOptions {
        member: MemberKey { fleet_namespace: "n".into(), fleet: "edge".into(), cluster: "east".into() },
        host: HostSpec { replicas: 2, ..HostSpec::default() },
        gateway_program: program.to_owned(),
        own_program: "/bin/true".into(),
        state_dir: folder.join("state"),
        relay: "127.0.0.1:1".into(),
        issuer: "127.0.0.1:2".into(),
        server_name: "relay".into(),
        trust_bundle: "PEM".into(),
        tokens: HostTokens::default(),
        drain: Duration::from_secs(2),
    }
}

fn gateway_program(folder: &Path) -> PathBuf {
    let path = folder.join("gateway");
    fs::write(&path, GATEWAY).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn one_gateway(options: &HostOptions) -> BTreeMap<String, super::plan::Program> {
    all_programs(options, std::iter::once(("n".to_owned(), "edge".to_owned())))
}

async fn until<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + LIMIT;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "waited {LIMIT:?} for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn alive(pid: u32) -> bool {
    // A zombie is gone for our purposes.
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

async fn ready(backend: &HostBackend, count: i32) {
    let deadline = tokio::time::Instant::now() + LIMIT;
    loop {
        let observed = backend.observe().await.unwrap();
        if observed.gateways.values().map(|g| g.ready).sum::<i32>() == count {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "waited for {count} ready: {observed:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn replicas_run_are_ready_and_drain_at_the_end() {
    let folder = TempDir::new().unwrap();
    let options = options(folder.path(), &gateway_program(folder.path()));
    let backend = HostBackend::open(options.clone()).await.unwrap();
    let outcomes = backend.reconcile(one_gateway(&options));
    assert!(outcomes.len() == 2 && outcomes.iter().all(|(_, outcome)| *outcome == Outcome::Created));
    ready(&backend, 2).await;
    assert!(
        backend.reconcile(one_gateway(&options)).iter().all(|(_, outcome)| *outcome == Outcome::Unchanged)
    );
    let observed = backend.observe().await.unwrap();
    let key = ("n".to_owned(), "edge".to_owned());
    assert!(observed.gateways[&key].is_ready() && observed.addresses[&key].contains("127.0.0.2"));

    let replica = options.state_dir.join("gateways/n/edge-0");
    let token = fs::read_to_string(replica.join("token")).unwrap();
    assert_eq!(options.tokens.lookup(&token).unwrap().pod, "edge-0");
    assert_eq!(fs::metadata(replica.join("token")).unwrap().permissions().mode() & 0o777, 0o600);

    let pids: Vec<u32> = backend.processes().values().filter_map(|(pid, _)| *pid).collect();
    backend.shutdown().await;
    assert!(pids.iter().all(|pid| !alive(*pid)));
    assert!(replica.join("state/drained").exists(), "no SIGTERM, or killed too early");
    assert!(options.tokens.lookup(&token).is_none());
    assert!(!replica.join("pid").exists());
}

#[tokio::test]
async fn a_process_that_dies_is_started_again() {
    let folder = TempDir::new().unwrap();
    let options = options(folder.path(), &gateway_program(folder.path()));
    let backend = HostBackend::open(options.clone()).await.unwrap();
    backend.reconcile(one_gateway(&options));
    ready(&backend, 2).await;
    let first = backend.processes()["n/edge-0"].0.unwrap();
    rustix::process::kill_process(super::process::pid_of(first).unwrap(), rustix::process::Signal::KILL)
        .unwrap();
    until("a new process", || backend.processes()["n/edge-0"].0.filter(|pid| *pid != first)).await;
    ready(&backend, 2).await;
    backend.shutdown().await;
}

#[tokio::test]
async fn extra_programs_run_and_one_that_cannot_start_is_a_problem_of_its_own() {
    let folder = TempDir::new().unwrap();
    let mut options = options(folder.path(), Path::new("/nonexistent/gateway"));
    let process = |name: &str, command: &[&str]| HostProcess {
        name: name.into(),
        command: command.iter().map(ToString::to_string).collect(),
        env: Vec::new(),
    };
    options.host.processes = vec![
        process("good", &["sleep", "600"]),
        process("bad", &["/nonexistent/program"]),
        process("own", &["gatefleet"]),
    ];
    let backend = HostBackend::open(options.clone()).await.unwrap();
    let wanted = one_gateway(&options);
    assert_eq!(wanted["own"].command, PathBuf::from("/bin/true"));
    backend.reconcile(wanted);
    let pid = until("the good one", || backend.processes()["good"].0).await;
    let deadline = tokio::time::Instant::now() + LIMIT;
    let problems = loop {
        let problems = backend.observe().await.unwrap().problems;
        if problems.len() >= 3 {
            break problems;
        }
        assert!(tokio::time::Instant::now() < deadline, "{problems:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(problems.iter().any(|p| p.message.contains("/nonexistent/gateway cannot be started")));
    assert!(alive(pid));
    // Removed from the specification: ends.
    let mut fewer = one_gateway(&options);
    fewer.retain(|name, _| name != "good");
    backend.reconcile(fewer);
    until("its end", || (!alive(pid)).then_some(())).await;
    backend.shutdown().await;
}

#[tokio::test]
async fn left_overs_of_an_earlier_life_are_ended_and_strangers_are_not() {
    let folder = TempDir::new().unwrap();
    let options = options(folder.path(), Path::new("/bin/true"));
    let mut sleeper = std::process::Command::new("sleep");
    std::os::unix::process::CommandExt::process_group(&mut sleeper, 0);
    let mut left_over = sleeper.arg("600").spawn().unwrap();
    let mut stranger = sleeper.spawn().unwrap();
    let record = |name: &str, pid: u32, program: &str| {
        let place = options.state_dir.join("processes").join(name);
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("pid"), format!("{pid}\n{program}\n")).unwrap();
    };
    let exe = fs::read_link(format!("/proc/{}/exe", left_over.id())).unwrap();
    record("mine", left_over.id(), &exe.display().to_string());
    record("reused", stranger.id(), "/some/other/program");
    HostBackend::open(options.clone()).await.unwrap();
    assert!(!alive(left_over.id()));
    assert!(alive(stranger.id()), "a reused process id was taken for ours");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    left_over.wait().unwrap();
}
