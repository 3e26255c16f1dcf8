// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Cases in `tests/data`: `<case>.in.yaml` gives `<case>.ir.yaml` and `<case>.status.yaml`. UPDATE_EXPECT=1 rewrites them.

use crate::{input, summary};
use operator_resolve::Resolver;
use std::path::{Path, PathBuf};

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

fn cases() -> Vec<String> {
    let mut cases: Vec<_> = std::fs::read_dir(data())
        .expect("the folder of cases is there")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(".in.yaml").map(str::to_owned))
        .collect();
    cases.sort();
    cases
}

#[test]
fn cases_resolve_as_expected() {
    let base = std::fs::read_to_string(data().join("base.yaml")).expect("the base is there");
    let mut differing = Vec::new();
    let cases = cases();
    assert!(cases.len() > 20, "cases went missing: {cases:?}");
    for case in cases {
        let text =
            std::fs::read_to_string(data().join(format!("{case}.in.yaml"))).expect("a case can be read");
        let base = if text.contains("# without base") { "" } else { base.as_str() };
        let (options, objects) = input::read(&format!("{base}\n---\n{text}"));
        let mut resolver = Resolver::new(options);
        input::upserts(objects).for_each(|change| resolver.apply(change));
        resolver.settle();
        let model = summary::model(&resolver);
        let yaml = serde_saphyr::to_string(&model).expect("the model is plain data");
        let again: Vec<summary::GatewayEntry> = serde_saphyr::from_str(&yaml).expect("the model reads back");
        assert_eq!(again, model, "{case}: the model survives YAML");
        let statuses =
            serde_saphyr::to_string(&summary::verdicts(&resolver)).expect("verdicts are plain data");
        for (kind, actual) in [("ir", yaml), ("status", statuses)] {
            let header =
                "# SPDX-FileCopyrightText: The Gatefleet Authors\n# SPDX-License-Identifier: Apache-2.0\n";
            let actual = format!("{header}{actual}");
            let path = data().join(format!("{case}.{kind}.yaml"));
            if std::env::var_os("UPDATE_EXPECT").is_some() {
                std::fs::write(&path, actual).expect("an expectation can be written");
            } else if std::fs::read_to_string(&path).unwrap_or_default() != actual {
                differing.push(format!("--- {case}.{kind}.yaml is now:\n{actual}"));
            }
        }
    }
    assert!(differing.is_empty(), "{}\nUPDATE_EXPECT=1 accepts this", differing.join("\n"));
}
