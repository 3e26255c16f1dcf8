// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What the control plane gave, and what became of it: clusters, listeners, routes, secrets.

use super::section::{Entry, List, Make, Section};
use crate::admin::json::timestamp;
use crate::ledger::{Rejected, Serving, Taken};
use crate::process::Shared;
use bytes::{BufMut, Bytes, BytesMut};
use gateway_xds_api::ResourceType::{self, Cluster, Listener, RouteConfiguration, Secret, VirtualHost};
use gateway_xds_api::pb::envoy::config::listener::v3::{Listener as ListenerMessage, filter};
use gateway_xds_api::pb::envoy::config::route::v3::RouteConfiguration as RouteMessage;
use gateway_xds_api::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_connection_manager::RouteSpecifier,
};
use gateway_xds_api::pb::google::protobuf::Any;
use gateway_xds_api::{Descriptors, unpack};
use prost::Message;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};

/// `RouteConfiguration.virtual_hosts`.
const VIRTUAL_HOSTS_FIELD: u32 = 2;

/// Copies of handles, taken at one moment.
#[derive(Debug)]
pub(super) struct Held {
    accepted: BTreeMap<(ResourceType, String), Bytes>,
    /// Resources by name that are needed and not there.
    missing: Vec<(ResourceType, String)>,
    waiting: HashSet<String>,
    without_endpoints: HashSet<String>,
    versions: HashMap<ResourceType, String>,
    taken: HashMap<(ResourceType, String), Taken>,
    serving: HashMap<String, Serving>,
    rejected: BTreeMap<(ResourceType, String), Rejected>,
}

impl Held {
    pub(super) fn of(shared: &Shared) -> Self {
        let ledger = shared.ledger.lock();
        let store = shared.store.lock();
        let accepted = store.accepted().map(|(kind, name, value)| ((kind, name.to_owned()), value.clone()));
        let accepted: BTreeMap<_, _> = accepted.collect();
        let mut missing = store.wanted();
        missing.retain(|key| !accepted.contains_key(key));
        let waiting: HashSet<_> = store.waiting().into_iter().map(|waiting| waiting.listener).collect();
        let without_endpoints = store.clusters_without_endpoints().into_iter().collect();
        drop(store);
        let taken = accepted.keys().filter_map(|(kind, name)| {
            ledger.taken(*kind, name).map(|taken| ((*kind, name.clone()), taken.clone()))
        });
        let serving = waiting
            .iter()
            .filter_map(|name| ledger.serving(name).map(|serving| (name.clone(), serving.clone())));
        let rejected = ledger.rejections().map(|(kind, name, why)| ((kind, name.to_owned()), why.clone()));
        Self {
            versions: ResourceType::ALL
                .into_iter()
                .map(|kind| (kind, ledger.version(kind).to_owned()))
                .collect(),
            taken: taken.collect(),
            serving: serving.collect(),
            rejected: rejected.collect(),
            accepted,
            missing,
            waiting,
            without_endpoints,
        }
    }

    /// Accepted resources of a type.
    fn accepted(&self, kind: ResourceType) -> impl Iterator<Item = (&str, &Bytes)> {
        let of_type =
            self.accepted.range((kind, String::new())..).take_while(move |((of, _), _)| *of == kind);
        of_type.map(|((_, name), value)| (name.as_str(), value))
    }

    /// Resources of which no version was ever taken, by name.
    fn only_rejected(&self, kind: ResourceType) -> impl Iterator<Item = (&str, &Rejected)> {
        let of_type = self.rejected.iter().filter(move |(key, _)| key.0 == kind);
        let alone = of_type.filter(|(key, _)| !self.accepted.contains_key(*key));
        alone.map(|((_, name), rejected)| (name.as_str(), rejected))
    }

    /// An entry with one packed resource in `field`.
    fn entry(&self, kind: ResourceType, name: &str, field: &'static str, value: Bytes) -> Entry {
        let key = (kind, name.to_owned());
        let (taken, rejected) = (self.taken.get(&key).cloned(), self.rejected.get(&key).cloned());
        let own_name = (kind == Secret).then(|| name.to_owned());
        let make: Make = Box::new(move |descriptors| {
            let mut fields = state(descriptors, kind, field, taken.as_ref(), &value);
            if let Some(name) = &own_name {
                fields.insert("name".to_owned(), name.clone().into());
            }
            if let Some(rejected) = &rejected {
                fields.insert("error_state".to_owned(), failure(descriptors, kind, rejected));
            }
            Value::Object(fields)
        });
        Entry { name: name.to_owned(), make }
    }

    /// Resources of which only a bad version is known: with their name alone and why.
    fn failed(&self, kind: ResourceType, field: &'static str) -> Vec<Entry> {
        self.only_rejected(kind).map(|(name, _)| self.entry(kind, name, field, name_only(name))).collect()
    }

    pub(super) fn clusters(&self) -> Section {
        let all = self.accepted(Cluster);
        let (warming, active): (Vec<_>, Vec<_>) =
            all.partition(|(name, _)| self.without_endpoints.contains(*name));
        let entry = |(name, value): (&str, &Bytes)| self.entry(Cluster, name, "cluster", value.clone());
        let mut warming: Vec<_> = warming.into_iter().map(entry).collect();
        warming.extend(self.failed(Cluster, "cluster"));
        let list = |field, entries| List {
            field,
            message: "envoy.admin.v3.ClustersConfigDump.DynamicCluster",
            packed: "envoy.config.cluster.v3.Cluster",
            entries,
        };
        Section {
            message: "envoy.admin.v3.ClustersConfigDump",
            single: self.version(Cluster),
            repeated: vec![
                list("dynamic_active_clusters", active.into_iter().map(entry).collect()),
                list("dynamic_warming_clusters", warming),
            ],
        }
    }

    fn version(&self, kind: ResourceType) -> Vec<(&'static str, Make)> {
        let version = self.versions.get(&kind).cloned().unwrap_or_default();
        vec![("version_info", Box::new(move |_| version.clone().into()))]
    }

    pub(super) fn listeners(&self) -> Section {
        let mut entries: Vec<_> =
            self.accepted(Listener).map(|(name, value)| self.listener(name, Some(value))).collect();
        entries.extend(self.only_rejected(Listener).map(|(name, _)| self.listener(name, None)));
        let list = List {
            field: "dynamic_listeners",
            message: "envoy.admin.v3.ListenersConfigDump.DynamicListener",
            packed: "envoy.config.listener.v3.Listener",
            entries,
        };
        Section {
            message: "envoy.admin.v3.ListenersConfigDump",
            single: self.version(Listener),
            repeated: vec![list],
        }
    }

    fn listener(&self, name: &str, value: Option<&Bytes>) -> Entry {
        let key = (Listener, name.to_owned());
        let newest = value.cloned().map(|value| (self.taken.get(&key).cloned(), value));
        let (mut active, mut warming) = (newest, None);
        if self.waiting.contains(name) {
            let serving = self.serving.get(name).cloned();
            warming = active;
            active = serving.map(|serving| (Some(serving.taken), serving.value));
        }
        let rejected = self.rejected.get(&key).cloned();
        let own = name.to_owned();
        let make: Make = Box::new(move |descriptors| {
            let mut fields = Map::from_iter([("name".to_owned(), own.clone().into())]);
            for (field, version) in [("active_state", &active), ("warming_state", &warming)] {
                if let Some((taken, value)) = version {
                    let state = state(descriptors, Listener, "listener", taken.as_ref(), value);
                    fields.insert(field.to_owned(), state.into());
                }
            }
            if let Some(rejected) = &rejected {
                fields.insert("error_state".to_owned(), failure(descriptors, Listener, rejected));
            }
            Value::Object(fields)
        });
        Entry { name: name.to_owned(), make }
    }

    pub(super) fn routes(&self) -> Section {
        let mut hosts: HashMap<&str, Vec<&Bytes>> = HashMap::new();
        for (name, value) in self.accepted(VirtualHost) {
            if let Some((table, _)) = name.rsplit_once('/') {
                hosts.entry(table).or_default().push(value);
            }
        }
        let table = |(name, value): (&str, &Bytes)| {
            let hosts = hosts.get(name).map(Vec::as_slice).unwrap_or_default();
            self.entry(RouteConfiguration, name, "route_config", with_hosts(value, hosts))
        };
        let mut dynamic: Vec<_> = self.accepted(RouteConfiguration).map(table).collect();
        dynamic.extend(self.failed(RouteConfiguration, "route_config"));
        let list = |field, message, entries| List {
            field,
            message,
            packed: "envoy.config.route.v3.RouteConfiguration",
            entries,
        };
        let static_message = "envoy.admin.v3.RoutesConfigDump.StaticRouteConfig";
        let dynamic_message = "envoy.admin.v3.RoutesConfigDump.DynamicRouteConfig";
        Section {
            message: "envoy.admin.v3.RoutesConfigDump",
            single: Vec::new(),
            repeated: vec![
                list("static_route_configs", static_message, self.inline_routes()),
                list("dynamic_route_configs", dynamic_message, dynamic),
            ],
        }
    }

    /// Route tables that listeners carry.
    fn inline_routes(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        for (listener, value) in self.accepted(Listener) {
            let when = self.taken.get(&(Listener, listener.to_owned())).map(|taken| taken.when);
            for table in inline_tables(value) {
                let name = table.name.clone();
                let value = Bytes::from(table.encode_to_vec());
                let make: Make = Box::new(move |descriptors| {
                    let mut fields = Map::new();
                    let shown = descriptors.show(&packed(RouteConfiguration, &value));
                    fields.insert("route_config".to_owned(), shown);
                    fields.extend(when.map(|when| ("last_updated".to_owned(), timestamp(when))));
                    Value::Object(fields)
                });
                entries.push(Entry { name, make });
            }
        }
        entries
    }

    pub(super) fn secrets(&self) -> Section {
        let entry = |(name, value): (&str, &Bytes)| self.entry(Secret, name, "secret", value.clone());
        let active: Vec<_> = self.accepted(Secret).map(entry).collect();
        let missing = self.missing.iter().filter(|key| key.0 == Secret && !self.rejected.contains_key(*key));
        let waits = |(_, name): &(ResourceType, String)| {
            let own = name.clone();
            let make: Make = Box::new(move |_| {
                let secret = json!({"@type": Secret.type_url(), "name": own});
                json!({"name": own, "version_info": "uninitialized", "secret": secret})
            });
            Entry { name: name.clone(), make }
        };
        let mut warming: Vec<_> = missing.map(waits).collect();
        warming.extend(self.failed(Secret, "secret"));
        let list = |field, entries| List {
            field,
            message: "envoy.admin.v3.SecretsConfigDump.DynamicSecret",
            packed: "envoy.extensions.transport_sockets.tls.v3.Secret",
            entries,
        };
        Section {
            message: "envoy.admin.v3.SecretsConfigDump",
            single: Vec::new(),
            repeated: vec![list("dynamic_active_secrets", active), list("dynamic_warming_secrets", warming)],
        }
    }
}

/// The fields that all kinds of entries have.
fn state(
    descriptors: &Descriptors,
    kind: ResourceType,
    field: &str,
    taken: Option<&Taken>,
    value: &Bytes,
) -> Map<String, Value> {
    let mut fields = Map::new();
    if let Some(taken) = taken {
        if !taken.version.is_empty() {
            fields.insert("version_info".to_owned(), (*taken.version).into());
        }
        fields.insert("last_updated".to_owned(), timestamp(taken.when));
    }
    fields.insert(field.to_owned(), descriptors.show(&packed(kind, value)));
    fields
}

/// `envoy.admin.v3.UpdateFailureState`.
fn failure(descriptors: &Descriptors, kind: ResourceType, rejected: &Rejected) -> Value {
    let mut fields = Map::new();
    if let Some(value) = &rejected.value {
        fields.insert("failed_configuration".to_owned(), descriptors.show(&packed(kind, value)));
    }
    fields.insert("last_update_attempt".to_owned(), timestamp(rejected.when));
    fields.insert("details".to_owned(), rejected.message.clone().into());
    if !rejected.version.is_empty() {
        fields.insert("version_info".to_owned(), (*rejected.version).into());
    }
    Value::Object(fields)
}

fn packed(kind: ResourceType, value: &Bytes) -> Any {
    Any { type_url: kind.type_url().to_owned(), value: value.to_vec() }
}

/// A message of which only the first field is set: the name, in all of these types.
fn name_only(name: &str) -> Bytes {
    let mut message = BytesMut::new();
    prost::encoding::encode_key(1, prost::encoding::WireType::LengthDelimited, &mut message);
    prost::encoding::encode_varint(name.len() as u64, &mut message);
    message.put_slice(name.as_bytes());
    message.freeze()
}

/// A route table with the virtual hosts that came by themselves: fields of one message may follow each other in any order.
fn with_hosts(table: &Bytes, hosts: &[&Bytes]) -> Bytes {
    if hosts.is_empty() {
        return table.clone();
    }
    let mut message = BytesMut::from(&table[..]);
    for host in hosts {
        let wire = prost::encoding::WireType::LengthDelimited;
        prost::encoding::encode_key(VIRTUAL_HOSTS_FIELD, wire, &mut message);
        prost::encoding::encode_varint(host.len() as u64, &mut message);
        message.put_slice(host);
    }
    message.freeze()
}

fn inline_tables(listener: &Bytes) -> Vec<RouteMessage> {
    let Ok(listener) = ListenerMessage::decode(listener.clone()) else { return Vec::new() };
    let chains = listener.filter_chains.into_iter().chain(listener.default_filter_chain);
    let configs = chains.flat_map(|chain| chain.filters).filter_map(|filter| match filter.config_type {
        Some(filter::ConfigType::TypedConfig(config)) => unpack::<HttpConnectionManager>(&config).ok(),
        _ => None,
    });
    let tables = configs.filter_map(|manager| match manager.route_specifier {
        Some(RouteSpecifier::RouteConfig(table)) => Some(table),
        _ => None,
    });
    tables.collect()
}
