// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Writes `crds/generated/*.yaml` from the Rust types.

use crate::repository;
use anyhow::Context;

/// Writes every definition, or with `check` fails where a file differs.
pub(crate) fn run(check: bool) -> anyhow::Result<()> {
    let folder = repository::root().join("crds/generated");
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    for definition in crds::definitions::all() {
        let path = folder.join(definition.file_name());
        let text = definition.yaml().context("render definition")?;
        if !check {
            std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        } else if std::fs::read_to_string(&path).unwrap_or_default() != text {
            anyhow::bail!("{} is stale: run `cargo run -p xtask -- crds`", path.display());
        }
    }
    Ok(())
}
