// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Modules on disk, by the digest of the manifest that named them.

use crate::OciError;
use crate::fetch::{Plugin, sha256_hex};
use std::path::{Path, PathBuf};

/// A folder of modules. Each is checked against its digest whenever it is read.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
}

impl Cache {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The module of a manifest digest (hex); none where it is not there or not what it should be.
    pub(crate) fn get(&self, manifest: &str) -> Option<Plugin> {
        let sha256 = std::fs::read_to_string(self.entry(manifest)).ok()?.trim().to_owned();
        let path = self.module(&sha256);
        let bytes = std::fs::read(&path).ok()?;
        if sha256_hex(&bytes) != sha256 {
            tracing::warn!(path = %path.display(), "cached plugin is damaged and is fetched again");
            return None;
        }
        Some(Plugin { sha256, bytes: bytes.into() })
    }

    pub(crate) fn put(&self, manifest: &str, plugin: &Plugin) -> Result<(), OciError> {
        std::fs::create_dir_all(&self.folder).map_err(|e| failed(&self.folder, e))?;
        write(&self.module(&plugin.sha256), &plugin.bytes)?;
        write(&self.entry(manifest), plugin.sha256.as_bytes())
    }

    fn entry(&self, manifest: &str) -> PathBuf {
        self.folder.join(format!("{manifest}.digest"))
    }

    fn module(&self, sha256: &str) -> PathBuf {
        self.folder.join(format!("{sha256}.wasm"))
    }
}

/// Writes beside and renames, so that a reader never sees half a file.
fn write(path: &Path, content: &[u8]) -> Result<(), OciError> {
    let partial = path.with_extension("partial");
    std::fs::write(&partial, content)
        .and_then(|()| std::fs::rename(&partial, path))
        .map_err(|e| failed(path, e))
}

fn failed(path: &Path, source: std::io::Error) -> OciError {
    OciError::Cache { path: path.display().to_string(), source }
}
