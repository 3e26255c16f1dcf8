// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Overrides: which match, how they merge, what they may not do.

use crate::sample::{fleet, input};
use crds::selection::Labels;
use multicluster_manifests::{ManifestError, build, resolve_template};
use serde_json::json;

fn eu() -> Labels {
    Labels::from([("region".to_owned(), "eu".to_owned())])
}

#[test]
fn all_that_match_merge_in_order() {
    let fleet = fleet(
        "clusters: {names: [lab-1]}, \
         template: {drainSeconds: 30, listeners: [{name: http, port: 80, protocol: HTTP}]}, \
         overrides: [\
           {name: eu, selector: {matchLabels: {region: eu}}, template: {autoscaling: {minReplicas: 5, maxReplicas: 20}, drainSeconds: 60}}, \
           {name: us, selector: {matchLabels: {region: us}}, template: {drainSeconds: 90}}, \
           {name: lab, names: [lab-1], template: {autoscaling: {maxReplicas: 6}, service: {type: NodePort}, \
             listeners: [{name: http, port: 8080}, {name: extra, port: 81, protocol: HTTP}]}}]",
    );
    let resolved = resolve_template(&fleet, "lab-1", &eu()).unwrap();
    let template = resolved.template;
    assert_eq!((template.autoscaling.min_replicas, template.autoscaling.max_replicas), (5, 6));
    assert_eq!(template.drain_seconds, 60);
    assert_eq!(
        template.listeners.iter().map(|l| (l.name.as_str(), l.port)).collect::<Vec<_>>(),
        [("http", 8080), ("extra", 81)]
    );
    assert_eq!(resolved.overrides, ["eu", "lab"]);
    let untouched = resolve_template(&fleet, "eu-west-1", &Labels::new()).unwrap();
    assert_eq!(untouched.template, fleet.spec.template);
}

#[test]
fn the_override_that_breaks_a_rule_is_named() {
    for (template, expected) in [
        (
            "autoscaling: {minReplicas: 11}",
            "override bad does not merge to a valid template: spec.template.autoscaling.minReplicas: minReplicas must not exceed maxReplicas",
        ),
        (
            "drainSecond: 1",
            "override bad does not merge to a valid template: spec.template.drainSecond: is not a field of this kind",
        ),
        (
            "metrics: {port: 80}",
            "override bad does not merge to a valid template: spec.template.metrics.port: must be at least 1024",
        ),
    ] {
        let fleet = fleet(&format!(
            "clusters: {{names: [a]}}, overrides: [\
               {{name: fine, names: [a], template: {{drainSeconds: 5}}}}, {{name: bad, names: [a], template: {{{template}}}}}]"
        ));
        let error = resolve_template(&fleet, "a", &Labels::new()).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.override_name()), (expected, Some("bad")));
        assert!(resolve_template(&fleet, "b", &Labels::new()).is_ok(), "other clusters are not concerned");
    }
}

#[test]
fn patches_change_the_gateways_objects() {
    let fleet = fleet(
        "clusters: {names: [a]}, overrides: [{name: metal, names: [a], patches: [\
           {target: Service, op: add, path: /metadata/annotations/metallb.io~1pool, value: edge}, \
           {target: Deployment, op: remove, path: /spec/template/spec/topologySpreadConstraints}]}]",
    );
    let resolved = resolve_template(&fleet, "a", &Labels::new()).unwrap();
    let mut input = input(json!({}));
    input.patches = resolved.patches;
    let resources = build(&input).unwrap();
    let service = resources.find("Service", "gateways", "edge").unwrap();
    assert_eq!(service.metadata.annotations.as_ref().unwrap()["metallb.io/pool"], "edge");
    let metrics = resources.find("Service", "gateways", "edge-metrics").unwrap();
    assert!(!metrics.metadata.annotations.as_ref().unwrap().contains_key("metallb.io/pool"));
    let relay = resources.find("Deployment", "gateways", "edge-relay").unwrap();
    assert!(relay.data.pointer("/spec/template/spec/topologySpreadConstraints").is_some());
    let gateway = resources.find("Deployment", "gateways", "edge").unwrap();
    assert!(gateway.data.pointer("/spec/template/spec/topologySpreadConstraints").is_none());
}

#[test]
fn a_patch_that_does_not_fit_names_its_override() {
    for (patch, expected) in [
        (
            "op: remove, path: /spec/nowhere",
            "override metal: patch of Service at /spec/nowhere does not apply to Service gateways/edge; check the path and the operation",
        ),
        (
            "op: add, path: /spec/a",
            "override metal: patch of Service at /spec/a has no value; add one, or use op: remove",
        ),
    ] {
        let fleet = fleet(&format!(
            "clusters: {{names: [a]}}, overrides: [{{name: metal, names: [a], patches: [{{target: Service, {patch}}}]}}]"
        ));
        let mut input = input(json!({}));
        input.patches = resolve_template(&fleet, "a", &Labels::new()).unwrap().patches;
        let error = build(&input).unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert!(matches!(
            error,
            ManifestError::PatchInvalid { .. } | ManifestError::PatchWithoutValue { .. }
        ));
    }
}
