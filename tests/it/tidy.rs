// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What prose cannot enforce: licence headers, module docs, file sizes, dependency edges.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The hard stop for the length of a file, in lines.
const MAX_LINES: usize = 500;

/// What each room may depend on, directly. The drawing is in docs/architecture.md.
const EDGES: [(&str, &[&str]); 30] = [
    ("crds", &[]),
    ("gateway-xds-api", &[]),
    ("gateway-telemetry", &[]),
    ("gateway-config", &["gateway-xds-api"]),
    ("gateway-xds-client", &["gateway-xds-api", "gateway-config"]),
    ("gateway-filter-api", &[]),
    ("gateway-oci", &[]),
    ("gateway-upstream", &["gateway-config"]),
    ("gateway-wasm", &["gateway-filter-api", "gateway-oci", "gateway-config"]),
    ("gateway-proxy", &["gateway-config", "gateway-upstream", "gateway-filter-api", "gateway-xds-api"]),
    (
        "gateway",
        &[
            "gateway-config",
            "gateway-proxy",
            "gateway-upstream",
            "gateway-wasm",
            "gateway-oci",
            "gateway-filter-api",
            "gateway-xds-api",
            "gateway-xds-client",
            "gateway-telemetry",
        ],
    ),
    ("operator-ir", &[]),
    ("operator-resolve", &["operator-ir", "crds"]),
    ("operator-revision", &["operator-ir"]),
    ("operator-translate", &["operator-ir", "gateway-xds-api"]),
    ("operator-identity", &[]),
    ("operator-xds-server", &["gateway-xds-api", "operator-identity"]),
    (
        "operator-runtime",
        &[
            "crds",
            "operator-ir",
            "operator-resolve",
            "operator-revision",
            "operator-translate",
            "operator-identity",
            "operator-xds-server",
            "gateway-xds-api",
            "gateway-telemetry",
            "gateway-oci",
            "multicluster-clusters",
            "multicluster-rollout",
            "multicluster-manifests",
            "multicluster-apply",
        ],
    ),
    (
        "operator-cli",
        &["operator-runtime", "crds", "multicluster-apply", "multicluster-clusters", "gateway-telemetry"],
    ),
    ("operator", &["operator-cli", "operator-runtime", "gateway-telemetry"]),
    ("multicluster-clusters", &["crds"]),
    ("multicluster-rollout", &["crds"]),
    ("multicluster-manifests", &["crds"]),
    ("multicluster-apply", &["crds", "multicluster-manifests"]),
    ("tests", &[]),
    ("attack", &["gateway-config", "gateway-proxy", "gateway-xds-api"]),
    ("oracle", &["gateway-xds-api"]),
    ("bench", &["gateway-xds-api"]),
    ("fuzz", &["gateway-config", "gateway-proxy", "gateway-xds-api"]),
    ("xtask", &["crds"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lies in the repository").to_path_buf()
}

fn tracked() -> Vec<String> {
    let output = Command::new("git").args(["ls-files"]).current_dir(root()).output().expect("git runs");
    assert!(output.status.success(), "git ls-files failed");
    String::from_utf8(output.stdout).expect("paths are text").lines().map(str::to_owned).collect()
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(root().join(path)).ok()
}

fn generated(path: &str) -> bool {
    path.starts_with("crds/src/gateway_api/")
}

#[test]
fn every_source_file_carries_the_licence() {
    let named = ["Makefile", ".ci/run"];
    let endings = [".rs", ".py", ".sh", ".toml", ".go", ".c", ".ts", ".tpl"];
    let wanted = |path: &String| named.contains(&path.as_str()) || endings.iter().any(|e| path.ends_with(e));
    let without: Vec<_> = tracked()
        .into_iter()
        .filter(wanted)
        .filter(|path| {
            read(path).is_some_and(|text| {
                !text.lines().take(6).any(|l| l.contains("SPDX-License-Identifier: Apache-2.0"))
            })
        })
        .collect();
    assert!(without.is_empty(), "no licence header: {without:#?}");
}

#[test]
fn every_module_states_its_responsibility() {
    let without: Vec<_> = tracked()
        .into_iter()
        .filter(|path| path.ends_with(".rs") && !generated(path))
        .filter(|path| {
            read(path).is_some_and(|text| {
                let first = text
                    .lines()
                    .find(|l| !l.is_empty() && !l.starts_with("// SPDX") && !l.starts_with("#!["));
                !first.is_some_and(|l| l.starts_with("//!"))
            })
        })
        .collect();
    assert!(without.is_empty(), "the first line after the licence must be `//! ...`: {without:#?}");
}

#[test]
fn files_stay_readable() {
    let long: BTreeMap<_, _> = tracked()
        .into_iter()
        .filter(|path| {
            (path.ends_with(".rs") || path.ends_with(".py") || path.ends_with(".go")) && !generated(path)
        })
        .filter_map(|path| read(&path).map(|text| (path, text.lines().count())))
        .filter(|(_, lines)| *lines > MAX_LINES)
        .collect();
    assert!(long.is_empty(), "over {MAX_LINES} lines, split by responsibility: {long:#?}");
}

#[test]
fn dependencies_follow_the_map() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let ours: BTreeSet<&str> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    let allowed: BTreeMap<&str, &[&str]> = EDGES.into_iter().collect();
    let mut wrong = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(edges) = allowed.get(name) else {
            wrong.push(format!("{name} is not on the map"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let to = dependency["name"].as_str().unwrap_or_default();
            let dev = dependency["kind"].as_str() == Some("dev");
            if ours.contains(to) && !edges.contains(&to) && !dev {
                wrong.push(format!("{name} -> {to}"));
            }
        }
    }
    assert!(wrong.is_empty(), "edges that docs/architecture.md does not show: {wrong:#?}");
}
