// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Whatever the order of changes, the result is that of a fresh resolver that is given the final objects.

use crate::{input, summary};
use operator_ir::ObjectRef;
use operator_resolve::{Change, Object, Resolver, ResolverOptions};
use proptest::prelude::{Strategy, any, prop, prop_oneof};
use proptest::{prop_assert, prop_assert_eq, proptest};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One step of a random history.
#[derive(Clone, Debug)]
enum Step {
    Upsert(Value),
    Delete(Value),
    Settle,
    Known(bool, bool),
}

/// Few names and few values, so that objects meet.
fn object() -> impl Strategy<Value = Value> {
    let name = || prop::sample::select(vec!["a", "b"]);
    let namespace = || prop::sample::select(vec!["shop", "other"]);
    let host = || prop::sample::select(vec!["", "x.example", "*.example", "y.x.example", "*.x.example"]);
    prop_oneof![
        (name(), any::<bool>(), 0..3_usize, host(), 1..4_u8).prop_map(|(name, source, listeners, host, generation)| {
            let mut fleet = fleet(name, source, listeners, host);
            fleet["metadata"]["generation"] = generation.into();
            fleet
        }),
        (name(), prop::sample::select(vec!["a", "b", "none"])).prop_map(|(name, fleet)| class(name, fleet)),
        (namespace(), name(), name(), prop::collection::vec((host(), 0..5_u8), 0..3)).prop_map(
            |(namespace, name, class, listeners)| gateway(namespace, name, class, &listeners)
        ),
        (namespace(), name(), 0..3_u8, prop::collection::vec(host(), 0..3), namespace(), 0..4_u8)
            .prop_map(|(namespace, name, parent, hosts, target, shape)| {
                route(namespace, name, parent, &hosts, (target, shape))
            }),
        (namespace(), name(), host(), 0..4_u8).prop_map(|(namespace, name, host, shape)| {
            ingress(namespace, name, host, shape)
        }),
        (namespace(), any::<bool>()).prop_map(|(namespace, named)| grant(namespace, named)),
        (namespace(), any::<bool>()).prop_map(|(name, labelled)| {
            let labels = if labelled { json!({"team": "shop"}) } else { json!({}) };
            json!({"kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        }),
        (namespace(), name(), prop::sample::select(vec!["", "kubernetes.io/h2c", "kubernetes.io/wss"])).prop_map(
            |(namespace, name, protocol)| json!({
                "kind": "Service", "metadata": {"namespace": namespace, "name": name},
                "spec": {"ports": [{"name": "http", "port": 80, "appProtocol": protocol}]},
            })
        ),
        (namespace(), any::<bool>()).prop_map(|(namespace, good)| {
            let certificate = if good { include_str!("../data/certificate.pem") } else { "broken" };
            json!({
                "kind": "Secret", "metadata": {"namespace": namespace, "name": "tls"},
                "stringData": {"tls.crt": certificate, "tls.key": include_str!("../data/key.pem")},
            })
        }),
        (name(), any::<bool>(), any::<bool>()).prop_map(|(name, ours, default)| json!({
            "kind": "IngressClass",
            "metadata": {"name": name, "annotations": {"ingressclass.kubernetes.io/is-default-class": default.to_string()}},
            "spec": {"controller": if ours { "gatefleet.dev/ingress-controller" } else { "other" }},
        })),
    ]
}

fn fleet(name: &str, source: bool, listeners: usize, host: &str) -> Value {
    let mut all = vec![
        json!({"name": "http", "port": 80, "protocol": "HTTP"}),
        json!({"name": "https", "port": 443, "protocol": "HTTPS", "tls": {"secret": "tls"}}),
    ];
    all.truncate(listeners);
    if !host.is_empty() {
        all.iter_mut().for_each(|listener| listener["hostname"] = host.into());
    }
    let sources =
        if source { json!([{"name": "s", "ingress": {"ingressClassName": "a"}}]) } else { json!([]) };
    json!({
        "kind": "GatewayFleet", "metadata": {"namespace": "shop", "name": name},
        "spec": {"clusters": {"names": ["one"]}, "template": {"listeners": all}, "configSources": sources},
    })
}

fn class(name: &str, fleet: &str) -> Value {
    let mut spec = json!({"controllerName": "gatefleet.dev/gateway-controller"});
    if fleet != "none" {
        spec["parametersRef"] =
            json!({"group": "gatefleet.dev", "kind": "GatewayFleet", "namespace": "shop", "name": fleet});
    }
    json!({"kind": "GatewayClass", "metadata": {"name": name}, "spec": spec})
}

fn gateway(namespace: &str, name: &str, class: &str, listeners: &[(&str, u8)]) -> Value {
    let listeners: Vec<_> = listeners
        .iter()
        .enumerate()
        .map(|(index, (host, shape))| {
            let mut listener = json!({"name": format!("l{index}"), "port": 80, "protocol": "HTTP"});
            if !host.is_empty() {
                listener["hostname"] = (*host).into();
            }
            match shape {
                0 => {}
                1 => listener["allowedRoutes"] = json!({"namespaces": {"from": "All"}}),
                2 => {
                    let selector = json!({"matchLabels": {"team": "shop"}});
                    listener["allowedRoutes"] =
                        json!({"namespaces": {"from": "Selector", "selector": selector}});
                }
                _ => {
                    listener["port"] = 443.into();
                    listener["protocol"] = "HTTPS".into();
                    let reference =
                        json!({"name": "tls", "namespace": if *shape == 3 { namespace } else { "other" }});
                    listener["tls"] = json!({"certificateRefs": [reference]});
                }
            }
            listener
        })
        .collect();
    json!({
        "kind": "Gateway", "metadata": {"namespace": namespace, "name": name},
        "spec": {"gatewayClassName": class, "listeners": listeners},
    })
}

fn route(namespace: &str, name: &str, parent: u8, hosts: &[&str], (target, shape): (&str, u8)) -> Value {
    let parents = match parent {
        0 => json!([{"name": "a", "namespace": "shop"}]),
        1 => {
            json!([{"name": "a", "namespace": "shop", "sectionName": "l0"}, {"name": "b", "namespace": "shop"}])
        }
        _ => json!([{"group": "gatefleet.dev", "kind": "GatewayFleet", "namespace": "shop", "name": "a"}]),
    };
    let hosts: Vec<_> = hosts.iter().filter(|host| !host.is_empty()).collect();
    let backend = json!({"name": "a", "namespace": target, "port": 80});
    let rule = match shape {
        0 => json!({"backendRefs": [backend]}),
        1 => {
            json!({"matches": [{"path": {"value": "/x"}}, {"method": "GET"}], "backendRefs": [backend, {"name": "b", "port": 80}]})
        }
        2 => json!({"filters": [{"type": "RequestRedirect", "requestRedirect": {"hostname": "z.example"}}]}),
        _ => json!({"matches": [{"path": {"type": "RegularExpression", "value": "("}}]}),
    };
    json!({
        "kind": "HTTPRoute", "metadata": {"namespace": namespace, "name": name},
        "spec": {"parentRefs": parents, "hostnames": hosts, "rules": [rule]},
    })
}

fn ingress(namespace: &str, name: &str, host: &str, shape: u8) -> Value {
    let port = if shape == 1 { json!({"name": "http"}) } else { json!({"number": 80}) };
    let mut rule = json!({"http": {"paths": [
        {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "a", "port": port}}}
    ]}});
    if !host.is_empty() {
        rule["host"] = host.into();
    }
    let mut spec = json!({"rules": [rule]});
    match shape {
        0 => spec["ingressClassName"] = "a".into(),
        1 => spec["ingressClassName"] = "gatefleet".into(),
        2 => spec["tls"] = json!([{"secretName": "tls"}]),
        _ => spec["defaultBackend"] = json!({"service": {"name": "b", "port": {"number": 80}}}),
    }
    json!({"kind": "Ingress", "metadata": {"namespace": namespace, "name": name}, "spec": spec})
}

fn grant(namespace: &str, named: bool) -> Value {
    let name = if named { json!("tls") } else { Value::Null };
    let from = if namespace == "shop" { "other" } else { "shop" };
    json!({
        "kind": "ReferenceGrant", "metadata": {"namespace": namespace, "name": "g"},
        "spec": {
            "from": [
                {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": from},
                {"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": from},
            ],
            "to": [{"group": "", "kind": "Service"}, {"group": "", "kind": "Secret", "name": name}],
        },
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => object().prop_map(Step::Upsert),
        3 => object().prop_map(Step::Delete),
        3 => prop::strategy::Just(Step::Settle),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(services, secrets)| Step::Known(services, secrets)),
    ]
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 400, max_shrink_iters: 4000, ..Default::default() })]

    #[test]
    fn any_history_gives_the_result_of_its_end(steps in prop::collection::vec(step(), 1..60)) {
        let mut resolver = Resolver::new(ResolverOptions::default());
        let mut alive: BTreeMap<ObjectRef, Object> = BTreeMap::new();
        let mut known = (true, true);
        // What a reader who only hears of changes would hold.
        let mut heard = BTreeMap::new();
        for step in steps {
            match step {
                Step::Upsert(document) => {
                    let object = input::object(document);
                    alive.insert(input::reference(&object), object.clone());
                    resolver.apply(Change::Upsert(object));
                }
                Step::Delete(document) => {
                    let object = input::reference(&input::object(document));
                    alive.remove(&object);
                    heard.remove(&object);
                    resolver.apply(Change::Delete(object));
                }
                Step::Known(services, secrets) => {
                    known = (services, secrets);
                    resolver.apply(Change::Known { services, secrets });
                }
                Step::Settle => settle(&mut resolver, &mut heard)?,
            }
        }
        settle(&mut resolver, &mut heard)?;
        let options = ResolverOptions { services_known: known.0, secrets_known: known.1, ..Default::default() };
        let mut fresh = Resolver::new(options);
        input::upserts(alive.into_values().rev().collect()).for_each(|change| fresh.apply(change));
        fresh.settle();
        prop_assert_eq!(summary::model(&resolver), summary::model(&fresh));
        prop_assert_eq!(summary::verdicts(&resolver), summary::verdicts(&fresh));
        let told: BTreeMap<_, _> = resolver.statuses().map(|(object, _, status)| (object.clone(), status.clone())).collect();
        prop_assert_eq!(heard, told);
        let infos: Vec<_> = resolver.gateways().map(|(_, info, _)| info.clone()).collect();
        prop_assert_eq!(infos, fresh.gateways().map(|(_, info, _)| info.clone()).collect::<Vec<_>>());
    }
}

/// Settles; what is said to be unchanged must be the same allocation, what is said to be changed must differ.
fn settle(
    resolver: &mut Resolver,
    heard: &mut BTreeMap<ObjectRef, operator_resolve::StatusValue>,
) -> Result<(), proptest::test_runner::TestCaseError> {
    let before: BTreeMap<_, _> =
        resolver.gateways().map(|(gateway, _, config)| (gateway.clone(), config.clone())).collect();
    let settled = resolver.settle();
    for change in settled.statuses {
        match change.status {
            Some(status) => heard.insert(change.object, status),
            None => heard.remove(&change.object),
        };
    }
    for gateway in &settled.removed {
        prop_assert!(resolver.gateway(gateway).is_none());
        prop_assert!(before.contains_key(gateway));
    }
    for (gateway, old) in &before {
        let Some(new) = resolver.gateway(gateway) else {
            prop_assert!(settled.removed.contains(gateway));
            continue;
        };
        let changed = settled.parts.get(gateway).cloned().unwrap_or_default();
        for (id, host) in &new.virtual_hosts {
            let same = old.virtual_hosts.get(id).is_some_and(|old| Arc::ptr_eq(old, host));
            prop_assert_eq!(same, !changed.virtual_hosts.contains(id), "{} {}", gateway, id);
        }
        for id in old.virtual_hosts.keys().filter(|id| !new.virtual_hosts.contains_key(id)) {
            prop_assert!(changed.virtual_hosts.contains(id));
        }
        for (port, listener) in &new.listeners {
            let same = old.listeners.get(port).is_some_and(|old| Arc::ptr_eq(old, listener));
            prop_assert_eq!(same, !changed.listeners.contains(port));
        }
        for (id, backend) in &new.backends {
            let same = old.backends.get(id).is_some_and(|old| Arc::ptr_eq(old, backend));
            prop_assert_eq!(same, !changed.backends.contains(id));
        }
    }
    for (gateway, ..) in resolver.gateways().filter(|(gateway, ..)| !before.contains_key(gateway)) {
        prop_assert!(settled.changed.contains(gateway));
    }
    Ok(())
}
