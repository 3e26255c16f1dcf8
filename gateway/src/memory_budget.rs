// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! How much memory the process may use: what its bootstrap says, else most of what its cgroup may, version 2 or 1.

use std::path::{Path, PathBuf};

/// What version 1 writes where there is no limit is about as large; nothing has that much.
const UNLIMITED: u64 = 1 << 60;

/// The part of a cgroup's limit that is ours, percent. The kernel counts its socket buffers there too, and what was begun when memory ran
/// short still has to fit.
const SHARE: u64 = 85;

/// What this process's cgroup leaves it, bytes; none where there is no limit.
pub(crate) fn of_cgroup() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    files(&groups, Path::new("/sys/fs/cgroup"))
        .iter()
        .filter_map(|file| limit(file))
        .min()
        .map(|limit| limit / 100 * SHARE)
}

/// Where limits can stand: in the group, and where a container sees its own group as the root.
fn files(groups: &str, mount: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else { continue };
        let (base, file) = match controllers {
            "" => (mount.to_owned(), "memory.max"),
            _ if controllers.split(',').any(|one| one == "memory") => {
                (mount.join("memory"), "memory.limit_in_bytes")
            }
            _ => continue,
        };
        // A group's limit is also its ancestors'.
        let group = Path::new(group.trim_start_matches('/'));
        files.extend(group.ancestors().map(|group| base.join(group).join(file)));
    }
    files
}

fn limit(file: &Path) -> Option<u64> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok().filter(|bytes| *bytes < UNLIMITED)
}

#[cfg(test)]
mod tests {
    use super::{files, limit};
    use std::path::Path;
    use tempfile::TempDir;

    #[test]
    fn both_versions_are_found_from_the_group_to_the_root() {
        let found = |groups| {
            let files = files(groups, Path::new("/m"));
            files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(found("0::/pod/c\n"), ["/m/pod/c/memory.max", "/m/pod/memory.max", "/m/memory.max"]);
        assert_eq!(found("0::/\n"), ["/m/memory.max"]);
        assert_eq!(
            found("5:cpu:/a\n4:memory,x:/a\n"),
            ["/m/memory/a/memory.limit_in_bytes", "/m/memory/memory.limit_in_bytes"]
        );
        assert!(found("broken").is_empty());
    }

    #[test]
    fn no_limit_is_none() {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("memory.max");
        for (text, expected) in
            [("max\n", None), ("67108864\n", Some(64 << 20)), ("9223372036854771712\n", None)]
        {
            std::fs::write(&file, text).unwrap();
            assert_eq!(limit(&file), expected);
        }
        assert_eq!(limit(&folder.path().join("none")), None);
    }
}
