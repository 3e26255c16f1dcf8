// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Goldens: `<case>.ir.yaml` to `<case>.xds.txt`, the decoded resources as text. `UPDATE_EXPECT=1` rewrites them.

use crate::support;
use gateway_xds_api::ResourceType;
use operator_translate::{BindOptions, Translator};
use std::fs;
use std::path::Path;

#[test]
fn models_become_resources() {
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut cases = 0;
    for entry in fs::read_dir(&data).unwrap() {
        let path = entry.unwrap().path();
        let Some(case) = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_suffix(".ir.yaml"))
        else {
            continue;
        };
        cases += 1;
        let config = support::config(case);
        let mut translator = Translator::new(BindOptions::default());
        let changes = translator.update(&config, &support::live(&config));
        assert!(changes.removed.is_empty());
        let text = support::render(&translator.resources());
        let golden = data.join(format!("{case}.xds.txt"));
        if update {
            fs::write(&golden, &text).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        assert!(
            text == expected,
            "{case} differs from {}:\n{}",
            golden.display(),
            first_difference(&expected, &text)
        );

        // The same input in other allocations gives the same bytes.
        let again = support::config(case);
        let changes = translator.update(&again, &support::live(&again));
        assert!(changes.is_empty(), "{case}: {changes:?}");
        assert!(changes.encoded > 0);
        let envoy = translator.envoy_resources();
        assert_eq!(envoy.count(ResourceType::VirtualHost), 0);
        assert_eq!(support::inline_hosts(&envoy), translator.resources().count(ResourceType::VirtualHost));
    }
    assert!(cases >= 4, "only {cases} cases were found");
}

fn first_difference(expected: &str, text: &str) -> String {
    let differs = |(_, (a, b)): &(usize, (&str, &str))| a != b;
    match expected.lines().zip(text.lines()).enumerate().find(differs) {
        Some((line, (a, b))) => format!("line {}:\n- {a}\n+ {b}", line + 1),
        None => "one is longer".to_owned(),
    }
}
