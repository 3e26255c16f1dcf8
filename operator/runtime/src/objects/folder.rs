// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A folder of YAML as a source of objects: read, followed, and put into stores.
//!
//! Files directly in the folder (and its subfolders) are the hub's objects; files under `clusters/NAME/` are the objects of
//! that member cluster. A file that cannot be read keeps its last good objects.

use super::defaults::Schemas;
use super::store::{Key, Store};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// Something in the folder that a user must mend; what was good before goes on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FolderProblem {
    /// The file, relative to the folder.
    pub file: PathBuf,
    /// Line and column from 1, where known.
    pub position: Option<(u64, u64)>,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for FolderProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some((line, column)) => write!(f, "{}:{line}:{column}: {}", self.file.display(), self.message),
            None => write!(f, "{}: {}", self.file.display(), self.message),
        }
    }
}

/// What one file gave when it was last good.
#[derive(Debug, Default)]
struct FileState {
    content: Vec<u8>,
    objects: BTreeMap<Key, Value>,
    problems: Vec<FolderProblem>,
}

/// Keeps stores equal to a folder.
#[derive(Debug)]
pub struct FolderSource {
    root: PathBuf,
    schemas: Schemas,
    hub: Store,
    members: BTreeMap<String, Store>,
    files: BTreeMap<PathBuf, FileState>,
}

impl FolderSource {
    /// A source over a folder; nothing is read yet.
    #[must_use]
    pub fn new(root: PathBuf, definitions: impl IntoIterator<Item = Value>) -> Self {
        let schemas = Schemas::new(definitions);
        Self { root, schemas, hub: Store::new(), members: BTreeMap::new(), files: BTreeMap::new() }
    }

    /// The hub's objects.
    #[must_use]
    pub fn hub(&self) -> Store {
        self.hub.clone()
    }

    /// The objects of a member cluster.
    pub fn member(&mut self, cluster: &str) -> Store {
        self.members.entry(cluster.to_owned()).or_default().clone()
    }

    /// The clusters that the folder knows: by a FleetCluster object or by files of their own.
    #[must_use]
    pub fn cluster_names(&self) -> Vec<String> {
        let declared = self.files.values().flat_map(|state| state.objects.keys());
        let declared = declared.filter(|key| key.kind == "FleetCluster").map(|key| key.name.clone());
        let mut names: Vec<_> = declared.chain(self.members.keys().cloned()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Reads what changed since the last call and lists all standing problems.
    ///
    /// # Errors
    /// Where the folder itself cannot be read; the stores stay as they are.
    pub fn reload(&mut self) -> std::io::Result<Vec<FolderProblem>> {
        let mut found = Vec::new();
        yaml_files(&self.root, &mut found)?;
        found.sort();
        let gone: Vec<_> = self.files.keys().filter(|path| !found.contains(path)).cloned().collect();
        for path in gone {
            let state = self.files.remove(&path).unwrap_or_default();
            self.withdraw(&path, &state.objects, &BTreeMap::new());
        }
        for path in found {
            self.reload_file(&path);
        }
        Ok(self.files.values().flat_map(|state| state.problems.clone()).collect())
    }

    fn reload_file(&mut self, path: &Path) {
        let relative = path.strip_prefix(&self.root).unwrap_or(path).to_path_buf();
        let content = match read(path) {
            Ok(content) => content,
            Err(message) => {
                let problem = FolderProblem { file: relative, position: None, message };
                self.files.entry(path.to_path_buf()).or_default().problems = vec![problem];
                return;
            }
        };
        if self.files.get(path).is_some_and(|state| state.content == content) {
            return;
        }
        // An editor may empty a file before it writes it: an empty file says nothing yet.
        if content.is_empty() && self.files.contains_key(path) {
            return;
        }
        let (objects, problems) = self.parse(path, &relative, &content);
        let before = self.files.remove(path).unwrap_or_default();
        if objects.is_none() {
            self.files.insert(path.to_path_buf(), FileState { content, objects: before.objects, problems });
            return;
        }
        let objects = objects.unwrap_or_default();
        let store = self.store_of(path);
        for (key, object) in &objects {
            store.put(key.clone(), object.clone());
        }
        self.withdraw(path, &before.objects, &objects);
        self.files.insert(path.to_path_buf(), FileState { content, objects, problems });
    }

    /// The objects of a file; `None` where its YAML is broken. An object that does not fit its kind keeps its last good form.
    fn parse(
        &self,
        path: &Path,
        relative: &Path,
        content: &[u8],
    ) -> (Option<BTreeMap<Key, Value>>, Vec<FolderProblem>) {
        let documents = match serde_saphyr::from_slice_multiple_with_options::<Value>(content, yaml_options())
        {
            Ok(documents) => documents,
            Err(error) => {
                let position = error.location().map(|l| (l.line(), l.column()));
                let message = error.without_snippet().to_string();
                return (None, vec![FolderProblem { file: relative.to_path_buf(), position, message }]);
            }
        };
        let mut objects = BTreeMap::new();
        let mut problems = Vec::new();
        let starts = document_lines(content);
        let last_good = self.files.get(path).map(|state| &state.objects);
        for (i, document) in documents.into_iter().enumerate().filter(|(_, d)| !d.is_null()) {
            let mut report = |message: String| {
                let position = starts.get(i).map(|line| (*line, 1));
                problems.push(FolderProblem { file: relative.to_path_buf(), position, message });
            };
            match self.admit(document) {
                Ok((key, object)) => {
                    if self.owned_elsewhere(path, &key) {
                        report(format!(
                            "{} {}/{} is in another file already; keep one",
                            key.kind, key.namespace, key.name
                        ));
                    } else {
                        objects.insert(key, object);
                    }
                }
                Err((key, messages)) => {
                    messages.into_iter().for_each(&mut report);
                    if let Some((key, old)) =
                        key.and_then(|key| Some((key.clone(), last_good?.get(&key)?.clone())))
                    {
                        objects.insert(key, old);
                    }
                }
            }
        }
        (Some(objects), problems)
    }

    fn admit(&self, mut object: Value) -> Result<(Key, Value), (Option<Key>, Vec<String>)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (version, kind, name) =
            (text(&object["apiVersion"]), text(&object["kind"]), text(&object["metadata"]["name"]));
        if version.is_empty() || kind.is_empty() || name.is_empty() {
            return Err((
                None,
                vec!["apiVersion, kind and metadata.name are needed to name an object".into()],
            ));
        }
        let Some(namespaced) = self.schemas.namespaced(&version, &kind) else {
            return Err((
                None,
                vec![format!("{version} {kind} {name}: this kind is not known here and is left out")],
            ));
        };
        let namespace = match text(&object["metadata"]["namespace"]) {
            _ if !namespaced => String::new(),
            empty if empty.is_empty() => "default".to_owned(),
            namespace => namespace,
        };
        let group = version.rsplit_once('/').map_or("", |(group, _)| group).to_owned();
        let key = Key { group, kind: kind.clone(), namespace, name: name.clone() };
        let problems = self.schemas.admit(&version, &kind, &mut object);
        if problems.is_empty() {
            Ok((key, object))
        } else {
            Err((Some(key), problems.into_iter().map(|p| format!("{kind} {name}: {p}")).collect()))
        }
    }

    fn owned_elsewhere(&self, path: &Path, key: &Key) -> bool {
        let scope = cluster_of(&self.root, path);
        let others =
            self.files.iter().filter(|(other, _)| *other != path && cluster_of(&self.root, other) == scope);
        others.map(|(_, state)| state).any(|state| state.objects.contains_key(key))
    }

    fn withdraw(&mut self, path: &Path, before: &BTreeMap<Key, Value>, after: &BTreeMap<Key, Value>) {
        let store = self.store_of(path);
        before.keys().filter(|key| !after.contains_key(key)).for_each(|key| store.remove(key));
    }

    fn store_of(&mut self, path: &Path) -> Store {
        match cluster_of(&self.root, path) {
            Some(cluster) => self.member(&cluster),
            None => self.hub.clone(),
        }
    }
}

/// YAML 1.2: only `true` and `false` are booleans, so that a namespace `n` or a value `on` stays a text.
fn yaml_options() -> serde_saphyr::Options {
    serde_saphyr::options! { strict_booleans: true }
}

/// The member cluster that a file belongs to.
fn cluster_of(root: &Path, path: &Path) -> Option<String> {
    let mut parts = path.strip_prefix(root).ok()?.components();
    if parts.next()?.as_os_str() != "clusters" {
        return None;
    }
    Some(parts.next()?.as_os_str().to_string_lossy().into_owned())
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let size = std::fs::metadata(path).map_err(|e| e.to_string())?.len();
    if size > MAX_FILE {
        return Err(format!("{size} bytes are more than the {MAX_FILE} that are read; split the file"));
    }
    std::fs::read(path).map_err(|e| e.to_string())
}

fn yaml_files(folder: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
        if hidden {
            continue;
        }
        if path.is_dir() {
            yaml_files(&path, found)?;
        } else if path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
            found.push(path);
        }
    }
    Ok(())
}

/// The line on which each document of a YAML stream starts.
fn document_lines(content: &[u8]) -> Vec<u64> {
    let text = String::from_utf8_lossy(content);
    let mut starts = vec![1];
    let mut seen_content = false;
    for (i, line) in (1..).zip(text.lines()) {
        if line.starts_with("---") {
            if seen_content {
                starts.push(i + 1);
            } else {
                starts[0] = i + 1;
            }
            seen_content = false;
        } else if !line.trim().is_empty() && !line.starts_with('#') {
            seen_content = true;
        }
    }
    starts
}
