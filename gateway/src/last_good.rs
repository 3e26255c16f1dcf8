// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The last good configuration on disk: one file, checked when read, replaced as a whole, never with secrets.

use crate::process::Shared;
use bytes::Bytes;
use gateway_config::{Update, last_good};
use gateway_xds_api::ResourceType;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The file's name in the state folder.
const NAME: &str = "last-good.bin";
/// A larger file is not ours.
const LARGEST: u64 = 1024 * 1024 * 1024;
/// Time after a change in which further ones are gathered.
const GATHER: Duration = Duration::from_millis(500);
/// Writing takes at most one part in this many of the time.
const SHARE: u32 = 20;
/// Time between attempts while the initial state is incomplete or the disk refuses.
const AGAIN: Duration = Duration::from_secs(5);

/// Why a kept configuration was not used, or not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LastGoodError {
    /// The system refused.
    #[error("cannot {step} {path}")]
    File {
        /// What was tried.
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Its content is not what was written.
    #[error("{path} is not used; it was moved to {aside}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where it is kept for a look.
        aside: PathBuf,
        /// What is wrong with it.
        #[source]
        source: last_good::LastGoodError,
    },
}

/// Where the configuration is kept.
#[derive(Clone, Debug)]
pub(crate) struct LastGood {
    folder: PathBuf,
}

impl LastGood {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Reads what was kept; empty on the first start. A corrupt file is moved aside.
    pub(crate) fn load(&self) -> Result<Vec<Update>, LastGoodError> {
        let path = self.folder.join(NAME);
        let failed = |source| LastGoodError::File { step: "read", path: path.clone(), source };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut content = Vec::new();
        file.take(LARGEST).read_to_end(&mut content).map_err(failed)?;
        last_good::decode(&content).map_err(|source| {
            let aside = self.folder.join(format!("{NAME}.corrupt"));
            // Where the move fails too, the next write replaces the file.
            let _ = fs::rename(&path, &aside);
            LastGoodError::Corrupt { path, aside, source }
        })
    }

    /// Replaces the file: written beside it, flushed, renamed; the folder is flushed as well.
    pub(crate) fn store(&self, content: &[u8]) -> Result<(), LastGoodError> {
        let path = self.folder.join(NAME);
        let beside = self.folder.join(format!("{NAME}.new"));
        let failed = |step| {
            let path = path.clone();
            move |source| LastGoodError::File { step, path, source }
        };
        fs::create_dir_all(&self.folder).map_err(failed("make the folder of"))?;
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)
            .map_err(failed("open"))?;
        file.write_all(content).map_err(failed("write"))?;
        file.sync_all().map_err(failed("flush"))?;
        fs::rename(&beside, &path).map_err(failed("replace"))?;
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(failed("flush the folder of"))
    }
}

/// Writes after changes, apart from the path of configuration; only states that are complete.
pub(crate) async fn keep(last_good: LastGood, shared: Arc<Shared>) {
    let mut written = None;
    loop {
        shared.changed.notified().await;
        tokio::time::sleep(GATHER).await;
        while !shared.initial_state_is_complete() {
            tokio::time::sleep(AGAIN).await;
        }
        let generation = shared.store.lock().snapshot().generation;
        if written == Some(generation) {
            continue;
        }
        let start = Instant::now();
        let (last_good, writer) = (last_good.clone(), shared.clone());
        let outcome = tokio::task::spawn_blocking(move || last_good.store(&content(&writer))).await;
        match outcome {
            Ok(Ok(())) => {
                written = Some(generation);
                tracing::debug!(generation, "configuration kept on disk");
                tokio::time::sleep(start.elapsed() * SHARE).await;
            }
            Ok(Err(error)) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "configuration cannot be kept on disk"
                );
                tokio::time::sleep(AGAIN).await;
                shared.changed.notify_one();
            }
            Err(_) => return,
        }
    }
}

/// Encoded apart from the store's lock: only handles are copied under it.
fn content(shared: &Shared) -> Bytes {
    let accepted: Vec<(ResourceType, String, Bytes)> = {
        let store = shared.store.lock();
        store.accepted().map(|(kind, name, value)| (kind, name.to_owned(), value.clone())).collect()
    };
    last_good::encode(accepted.iter().map(|(kind, name, value)| (*kind, name.as_str(), value)))
}

#[cfg(test)]
mod tests {
    use super::{LastGood, LastGoodError};
    use bytes::Bytes;
    use gateway_config::last_good::encode;
    use gateway_xds_api::ResourceType::Cluster;
    use std::os::unix::fs::PermissionsExt;
    use tempfile::TempDir;

    #[test]
    fn what_was_stored_is_read_back_by_its_owner_only() {
        let folder = TempDir::new().unwrap();
        let last_good = LastGood::new(&folder.path().join("state"));
        assert!(last_good.load().unwrap().is_empty(), "nothing on the first start");
        last_good.store(&encode([(Cluster, "a", &Bytes::from_static(b"body"))])).unwrap();
        let read = last_good.load().unwrap();
        let names: Vec<_> =
            read.iter().flat_map(|update| &update.upserts).map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a"]);
        let file = folder.path().join("state/last-good.bin");
        assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_file_is_kept_aside_and_replaced() {
        let folder = TempDir::new().unwrap();
        let last_good = LastGood::new(folder.path());
        let mut content = encode([(Cluster, "a", &Bytes::from_static(b"body"))]).to_vec();
        content[12] ^= 1;
        std::fs::write(folder.path().join("last-good.bin"), &content).unwrap();
        match last_good.load().unwrap_err() {
            LastGoodError::Corrupt { aside, .. } => assert_eq!(std::fs::read(aside).unwrap(), content),
            other => panic!("{other}"),
        }
        assert!(last_good.load().unwrap().is_empty(), "the damaged file is out of the way");
        last_good.store(&encode([])).unwrap();
        assert_eq!(last_good.load().unwrap().iter().map(|update| update.upserts.len()).sum::<usize>(), 0);
    }
}
