// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Objects from YAML.

use crds::gateway_fleet::GatewayFleet;
use operator_ir::{ObjectKind, ObjectRef};
use operator_resolve::{Change, Object, ResolverOptions, SecretFacts};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::sync::Arc;

/// Options and objects of a case. `kind: Options` may switch `servicesKnown` and `secretsKnown`; `$CERTIFICATE` and
/// `$KEY` stand for a real certificate and its key.
pub(crate) fn read(yaml: &str) -> (ResolverOptions, Vec<Object>) {
    let yaml = yaml
        .replace("$CERTIFICATE", &quoted(include_str!("../data/certificate.pem")))
        .replace("$KEY", &quoted(include_str!("../data/key.pem")));
    let documents: Vec<Value> = serde_saphyr::from_multiple(&yaml).expect("the input is YAML");
    let mut options = ResolverOptions::default();
    let mut objects = Vec::new();
    for document in documents.into_iter().filter(|document| !document.is_null()) {
        if document["kind"] == "Options" {
            options.services_known = document["servicesKnown"].as_bool().unwrap_or(true);
            options.secrets_known = document["secretsKnown"].as_bool().unwrap_or(true);
        } else {
            objects.push(object(document));
        }
    }
    (options, objects)
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\n', "\\n"))
}

/// One object of any kind; generation 1 where none is written.
pub(crate) fn object(mut document: Value) -> Object {
    if document["metadata"]["generation"].is_null() {
        document["metadata"]["generation"] = 1.into();
    }
    let kind = document["kind"].as_str().expect("an object has a kind").to_owned();
    match kind.as_str() {
        "GatewayFleet" => Object::Fleet(typed::<GatewayFleet>(document)),
        "GatewayClass" => Object::GatewayClass(typed(document)),
        "Gateway" => Object::Gateway(typed(document)),
        "HTTPRoute" => Object::HttpRoute(typed(document)),
        "ReferenceGrant" => Object::ReferenceGrant(typed(document)),
        "Ingress" => Object::Ingress(typed(document)),
        "IngressClass" => Object::IngressClass(typed(document)),
        "Namespace" => Object::Namespace(typed(document)),
        "Service" => Object::Service(typed(document)),
        "Secret" => Object::Secret(Arc::new(SecretFacts::of(&typed(document)))),
        other => panic!("kind {other} is not resolved"),
    }
}

fn typed<T: DeserializeOwned>(document: Value) -> Arc<T> {
    let text = document.to_string();
    Arc::new(serde_json::from_value(document).unwrap_or_else(|error| panic!("{error}: {text}")))
}

pub(crate) fn upserts(objects: Vec<Object>) -> impl Iterator<Item = Change> {
    objects.into_iter().map(Change::Upsert)
}

/// Names an object.
pub(crate) fn reference(object: &Object) -> ObjectRef {
    let (kind, meta) = match object {
        Object::Fleet(object) => (ObjectKind::GatewayFleet, &object.metadata),
        Object::GatewayClass(object) => (ObjectKind::GatewayClass, &object.metadata),
        Object::Gateway(object) => (ObjectKind::Gateway, &object.metadata),
        Object::HttpRoute(object) => (ObjectKind::HTTPRoute, &object.metadata),
        Object::ReferenceGrant(object) => (ObjectKind::ReferenceGrant, &object.metadata),
        Object::Ingress(object) => (ObjectKind::Ingress, &object.metadata),
        Object::IngressClass(object) => (ObjectKind::IngressClass, &object.metadata),
        Object::Namespace(object) => (ObjectKind::Namespace, &object.metadata),
        Object::Service(object) => (ObjectKind::Service, &object.metadata),
        Object::Secret(secret) => return secret.object.clone(),
    };
    ObjectRef::new(kind, meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}
