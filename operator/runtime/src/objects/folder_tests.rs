// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A folder's life: good files, broken files, changes, removals.

use super::{FolderSource, ObjectEvent, Objects, Scope, Store};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use std::path::Path;

const GOOD: &str =
    "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: n}\nspec: {ports: [{port: 80}]}\n";

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn services(store: &Store) -> Vec<(String, i32)> {
    let list: Vec<Service> = store.list(&Scope::all()).unwrap();
    list.iter().map(|s| (s.name_any(), s.spec.as_ref().unwrap().ports.as_ref().unwrap()[0].port)).collect()
}

#[test]
fn broken_yaml_names_its_place_and_keeps_what_was_good() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.yaml", GOOD);
    let mut source = FolderSource::new(folder.path().to_path_buf(), []);
    assert_eq!(source.reload().unwrap(), []);
    assert_eq!(services(&source.hub()), [("a".into(), 80)]);

    write(folder.path(), "a.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: a\nspec: [\n");
    let problems = source.reload().unwrap();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].file, Path::new("a.yaml"));
    assert!(problems[0].position.is_some_and(|(line, column)| line >= 3 && column >= 1), "{problems:?}");
    assert_eq!(services(&source.hub()), [("a".into(), 80)]);

    write(folder.path(), "a.yaml", &GOOD.replace("80", "81"));
    assert_eq!(source.reload().unwrap(), []);
    assert_eq!(services(&source.hub()), [("a".into(), 81)]);
}

#[test]
fn an_empty_file_says_nothing_and_a_missing_one_removes() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.yaml", GOOD);
    let mut source = FolderSource::new(folder.path().to_path_buf(), []);
    source.reload().unwrap();
    write(folder.path(), "a.yaml", "");
    source.reload().unwrap();
    assert_eq!(services(&source.hub()).len(), 1);
    std::fs::remove_file(folder.path().join("a.yaml")).unwrap();
    source.reload().unwrap();
    assert!(services(&source.hub()).is_empty());
}

#[test]
fn files_of_a_cluster_are_its_own() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "clusters/east/a.yaml", GOOD);
    let mut source = FolderSource::new(folder.path().to_path_buf(), []);
    source.reload().unwrap();
    assert!(services(&source.hub()).is_empty());
    assert_eq!(services(&source.member("east")).len(), 1);
}

#[test]
fn one_object_in_two_files_and_unknown_kinds_are_told() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.yaml", GOOD);
    write(
        folder.path(),
        "b.yaml",
        &format!("{GOOD}---\napiVersion: x/v1\nkind: Odd\nmetadata: {{name: o}}\n"),
    );
    let mut source = FolderSource::new(folder.path().to_path_buf(), []);
    let problems: Vec<_> = source.reload().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].starts_with("b.yaml:1:1: Service n/a is in another file"), "{problems:?}");
    assert!(problems[1].starts_with("b.yaml:6:1: x/v1 Odd o"), "{problems:?}");
}

#[tokio::test]
async fn a_watch_tells_what_is_there_then_what_changes() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.yaml", GOOD);
    let mut source = FolderSource::new(folder.path().to_path_buf(), []);
    source.reload().unwrap();
    let objects = Objects::Folder(source.hub());
    let mut events = objects.watch::<Service>(Scope::namespace("n"));
    assert!(matches!(events.next().await, Some(ObjectEvent::Upsert(s)) if s.metadata.generation == Some(1)));
    assert!(matches!(events.next().await, Some(ObjectEvent::Listed)));
    write(folder.path(), "a.yaml", &GOOD.replace("80", "81"));
    source.reload().unwrap();
    assert!(matches!(events.next().await, Some(ObjectEvent::Upsert(s)) if s.metadata.generation == Some(2)));
    std::fs::remove_file(folder.path().join("a.yaml")).unwrap();
    source.reload().unwrap();
    assert!(matches!(events.next().await, Some(ObjectEvent::Delete(_))));
}

#[tokio::test]
async fn finalizers_hold_an_object_and_statuses_do_not_raise_its_generation() {
    let objects = Objects::Folder(Store::new());
    let mut service: Service = serde_json::from_value(serde_json::json!({
        "metadata": {"name": "a", "namespace": "n", "finalizers": ["x.dev/hold"]}, "spec": {"ports": [{"port": 80}]},
    }))
    .unwrap();
    objects.apply("test", &service).await.unwrap();
    service.status = serde_json::from_value(serde_json::json!({"conditions": [
        {"type": "A", "status": "True", "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}))
    .unwrap();
    objects.apply_status("test", &service).await.unwrap();
    objects.delete::<Service>("n", "a").await.unwrap();
    let held = objects.get::<Service>("n", "a").await.unwrap().unwrap();
    assert!(held.metadata.deletion_timestamp.is_some());
    assert_eq!(held.metadata.generation, Some(1));
    assert_eq!(held.status.unwrap().conditions.unwrap().len(), 1);
    service.metadata.finalizers = Some(Vec::new());
    objects.apply("test", &service).await.unwrap();
    assert!(objects.get::<Service>("n", "a").await.unwrap().is_none());
}
