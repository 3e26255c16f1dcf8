// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Every rule has an object that breaks exactly that rule; the same files go to a real API server in the end-to-end suite.

use crds::definitions;
use crds::validation::Checker;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

fn files(folder: &str) -> BTreeMap<String, String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(folder);
    let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.display().to_string(), std::fs::read_to_string(path).unwrap())).collect()
}

fn checkers() -> BTreeMap<String, Checker> {
    let checker = |definition: definitions::Definition| {
        (definition.resource.spec.names.kind.clone(), Checker::new(&definition.resource))
    };
    definitions::all().into_iter().map(checker).collect()
}

fn parse(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

#[test]
fn each_bad_object_is_refused_by_exactly_its_rule() {
    let checkers = checkers();
    let files = files("refused");
    assert!(files.len() >= 16, "{} files", files.len());
    for (path, text) in files {
        let expected =
            text.lines().find_map(|line| line.strip_prefix("# refused: ")).expect("names its rule");
        let object = parse(&text);
        let found = checkers[object["kind"].as_str().unwrap()].check(&object, None);
        let told: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert!(
            told.len() == 1 && told[0].contains(expected),
            "{path}: expected \"{expected}\", got {told:?}"
        );
    }
}

#[test]
fn good_objects_are_accepted_and_read_back() {
    let checkers = checkers();
    for (path, text) in files("accepted") {
        let object = parse(&text);
        let kind = &object["kind"].as_str().unwrap().to_owned();
        assert_eq!(checkers[kind].check(&object, None), [], "{path}");
        let again = match kind.as_str() {
            "GatewayFleet" => {
                serde_json::to_value(serde_json::from_value::<crds::GatewayFleet>(object).unwrap())
            }
            _ => serde_json::to_value(serde_json::from_value::<crds::FleetCluster>(object).unwrap()),
        };
        assert_eq!(checkers[kind].check(&again.unwrap(), None), [], "{path} with defaults");
    }
}

#[test]
fn immutable_fields() {
    let fleet = |spec: &str| {
        parse(&format!(
            "{{apiVersion: gatefleet.dev/v1alpha1, kind: GatewayFleet, metadata: {{name: edge}}, \
             spec: {{clusters: {{names: [east]}}, {spec}}}}}"
        ))
    };
    let checker = Checker::gateway_fleet();
    let told = |old: &str, new: &str| {
        let found = checker.check(&fleet(new), Some(&fleet(old)));
        found.iter().map(|violation| violation.message.clone()).collect::<Vec<_>>().join(" | ")
    };
    assert_eq!(told("targetNamespace: a", "targetNamespace: a, allowMutableTags: true"), "");
    assert_eq!(
        told("targetNamespace: a", "targetNamespace: b"),
        "targetNamespace is immutable; make a new fleet instead"
    );
    assert_eq!(
        told("trustDomain: a", "trustDomain: a, targetNamespace: b"),
        "targetNamespace cannot be added or removed; make a new fleet instead"
    );
    assert_eq!(
        told("trustDomain: a", "trustDomain: b"),
        "trustDomain is immutable; make a new fleet instead"
    );
    assert_eq!(told("trustDomain: a", "trustDomain: a, rollout: {paused: true}"), "");
}

#[test]
fn a_revision_is_immutable() {
    let revision = |hash: &str| {
        parse(&format!(
            "{{apiVersion: gatefleet.dev/v1alpha1, kind: FleetRevision, metadata: {{name: edge-r1}}, \
             spec: {{fleet: edge, number: 1, hash: {hash}}}}}"
        ))
    };
    let checker = &checkers()["FleetRevision"];
    assert_eq!(checker.check(&revision("a1"), Some(&revision("a1"))), []);
    assert_eq!(checker.check(&revision("b2"), Some(&revision("a1")))[0].message, "a revision is immutable");
}
