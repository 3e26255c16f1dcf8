// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Writes `gateway/xds-api/descriptors.bin.zst`: the descriptors of all of Envoy's v3 messages, for protobuf's JSON form.

use crate::repository;
use anyhow::{Context, bail};
use prost::Message;
use protox::Compiler;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "gateway/xds-api/descriptors.bin.zst";

/// The crate whose sources carry Envoy's protobuf tree.
const SOURCE: &str = "envoy-types";

/// Roots of imports in that tree.
const INCLUDES: [&str; 8] = [
    "data-plane-api",
    "xds",
    "googleapis",
    "protoc-gen-validate",
    "opentelemetry-proto",
    "cel-spec/proto",
    "client_model",
    "ratelimit",
];

/// Folders whose files, with all that they import, are taken.
const TAKEN: [&str; 2] = ["data-plane-api/envoy", "xds"];

/// Left out: protox resolves a relative name in it to the wrong scope. The gateway refuses clusters of this type.
const LEFT_OUT: &str = "envoy/extensions/clusters/dynamic_forward_proxy/v3/cluster.proto";

/// The level that the file is compressed with.
const LEVEL: i32 = 19;

/// A FileDescriptorSet whose files stay encoded: prost's own type would lose options that are extensions.
#[derive(Clone, PartialEq, Message)]
struct FileSet {
    #[prost(bytes = "vec", repeated, tag = "1")]
    file: Vec<Vec<u8>>,
}

/// What is read of a FileDescriptorProto.
#[derive(Clone, PartialEq, Message)]
struct FileName {
    #[prost(string, tag = "1")]
    name: String,
}

/// Writes the descriptors, or with `check` fails where the file has others.
pub(crate) fn run(check: bool) -> anyhow::Result<()> {
    let target = repository::root().join(TARGET);
    let set = compile(&proto_tree()?)?;
    if check {
        let kept = std::fs::read(&target).with_context(|| format!("read {TARGET}"))?;
        // The content counts: another version of zstd may pack it otherwise.
        if zstd::decode_all(kept.as_slice()).with_context(|| format!("unpack {TARGET}"))? != set {
            bail!("{TARGET} is stale: run `cargo run -p xtask -- descriptors`");
        }
        return Ok(());
    }
    let packed = zstd::encode_all(set.as_slice(), LEVEL).context("compress descriptors")?;
    std::fs::write(&target, packed).with_context(|| format!("write {TARGET}"))
}

/// The protobuf tree of the version that the lock file names.
fn proto_tree() -> anyhow::Result<PathBuf> {
    let output = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .current_dir(repository::root())
        .output()
        .context("run cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).context("read cargo metadata")?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists packages")?;
    let source = packages.iter().find(|package| package["name"] == SOURCE);
    let manifest = source.and_then(|package| package["manifest_path"].as_str());
    let manifest = Path::new(manifest.with_context(|| format!("no package {SOURCE}"))?);
    Ok(manifest.parent().context("a manifest lies in a folder")?.join("proto"))
}

fn compile(tree: &Path) -> anyhow::Result<Vec<u8>> {
    let mut files = Vec::new();
    for folder in TAKEN {
        collect(&tree.join(folder), &mut files)?;
    }
    files.sort();
    let mut set = FileSet::default();
    let mut names = BTreeSet::new();
    // One by one: in a common pool protox finds relative names in packages that a file does not import.
    for file in files {
        let mut compiler =
            Compiler::new(INCLUDES.map(|folder| tree.join(folder))).context("open the tree")?;
        compiler.include_imports(true).include_source_info(false);
        compiler.open_file(&file).with_context(|| format!("compile {}", file.display()))?;
        // Imports come before those that import them, so the order stays right.
        let encoded = compiler.encode_file_descriptor_set();
        for file in FileSet::decode(encoded.as_slice()).context("read descriptors")?.file {
            if names.insert(FileName::decode(file.as_slice()).context("read a descriptor")?.name) {
                set.file.push(file);
            }
        }
    }
    Ok(set.encode_to_vec())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|ending| ending == "proto") && !path.ends_with(LEFT_OUT) {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn committed_descriptors_are_those_of_the_locked_crate() {
        super::run(true).unwrap();
    }
}
