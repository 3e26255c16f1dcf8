// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The objects as YAML. `UPDATE_EXPECT=1` rewrites the files.

use crate::sample::inputs;
use multicluster_manifests::build;
use std::path::PathBuf;

#[test]
fn objects() {
    for (name, input) in inputs() {
        let resources = build(&input).unwrap();
        let mut text = String::from(
            "# SPDX-FileCopyrightText: The Gatefleet Authors\n# SPDX-License-Identifier: Apache-2.0\n",
        );
        for object in resources.objects() {
            text.push_str("---\n");
            if let Some(replicas) = object.initial_replicas {
                text.push_str(&format!("# created with replicas: {replicas}\n"));
            }
            text.push_str(&serde_saphyr::to_string(&object.object).unwrap());
        }
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/{name}.yaml"));
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(expected == text, "{} differs; UPDATE_EXPECT=1 rewrites it", path.display());
    }
}
