// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What routing needs to know about a GatewayFleet: its own gateway, its plugins, and which classes it takes.

mod own_gateway;

pub(crate) use own_gateway::resolve_own_gateway;

use crate::ResolverOptions;
use crate::facts::NamespaceSelector;
use crate::selector::Selector;
use crds::gateway_fleet::{self, FleetListener, FleetPlugin, GatewayFleet};
use operator_ir::{FailurePolicy, GatewayId, ObjectKind, ObjectRef, Origin, Plugin, PluginPhase};

/// The part of a GatewayFleet that routing depends on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FleetFacts {
    pub(crate) object: ObjectRef,
    pub(crate) uid: Option<String>,
    pub(crate) generation: i64,
    /// Namespace of the fleet's own gateway.
    pub(crate) namespace: String,
    pub(crate) listeners: Vec<FleetListener>,
    /// In the order in which they run.
    pub(crate) plugins: Vec<Plugin>,
    /// Names of plugins that are given by reference, which is not served yet.
    pub(crate) plugins_by_reference: Vec<String>,
    pub(crate) gateways: ClassSelection,
    pub(crate) ingresses: ClassSelection,
}

/// Which classes' objects a fleet takes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ClassSelection {
    /// Those that belong to us without being named.
    Ours,
    /// Those of these classes in these namespaces.
    Named(Vec<(String, NamespaceSelector)>),
}

impl ClassSelection {
    /// The namespaces that are taken for `class`; none where the class is not named.
    pub(crate) fn named(&self, class: &str) -> Option<&NamespaceSelector> {
        match self {
            Self::Ours => None,
            Self::Named(classes) => {
                classes.iter().find(|(name, _)| name == class).map(|(_, namespaces)| namespaces)
            }
        }
    }
}

impl FleetFacts {
    /// Whether others who read this fleet find the same, whatever its generation.
    pub(crate) fn reads_like(&self, other: &Self) -> bool {
        let Self {
            object,
            uid: _,
            generation: _,
            namespace,
            listeners,
            plugins,
            plugins_by_reference: _,
            gateways,
            ingresses,
        } = self;
        (object, namespace, listeners, plugins, gateways, ingresses)
            == (
                &other.object,
                &other.namespace,
                &other.listeners,
                &other.plugins,
                &other.gateways,
                &other.ingresses,
            )
    }

    /// The fleet's own gateway, where it has one.
    pub(crate) fn own_gateway(&self) -> Option<GatewayId> {
        (!self.listeners.is_empty()).then(|| GatewayId::for_object(&self.namespace, &self.object.name))
    }

    pub(crate) fn of(fleet: &GatewayFleet, options: &ResolverOptions) -> Self {
        let namespace = fleet.metadata.namespace.clone().unwrap_or_default();
        let name = fleet.metadata.name.clone().unwrap_or_default();
        let object = ObjectRef::new(ObjectKind::GatewayFleet, namespace, name);
        let (gateways, ingresses) = selections(fleet, options);
        let origin = Origin { object: object.clone(), rule: None };
        let mut plugins: Vec<_> =
            fleet.spec.plugins.iter().filter_map(|plugin| embed(plugin, &origin)).collect();
        plugins.sort_by(|a, b| {
            (a.phase, std::cmp::Reverse(a.priority), &a.name).cmp(&(
                b.phase,
                std::cmp::Reverse(b.priority),
                &b.name,
            ))
        });
        let by_reference = fleet.spec.plugins.iter().filter(|plugin| plugin.oci.is_none());
        Self {
            uid: fleet.metadata.uid.clone(),
            generation: fleet.metadata.generation.unwrap_or_default(),
            namespace: fleet.target_namespace().to_owned(),
            listeners: fleet.spec.template.listeners.clone(),
            plugins_by_reference: by_reference.map(|plugin| plugin.name.clone()).collect(),
            object,
            plugins,
            gateways,
            ingresses,
        }
    }
}

fn selections(fleet: &GatewayFleet, options: &ResolverOptions) -> (ClassSelection, ClassSelection) {
    if fleet.spec.config_sources.is_empty() {
        return (ClassSelection::Ours, ClassSelection::Ours);
    }
    let mut gateways = Vec::new();
    let mut ingresses = Vec::new();
    for source in &fleet.spec.config_sources {
        if options.scope.is_some_and(|scope| scope != source.scope) {
            continue;
        }
        if let Some(api) = &source.gateway_api {
            gateways.push((api.gateway_class_name.clone(), api.namespaces.as_ref().map(Selector::of)));
        }
        if let Some(ingress) = &source.ingress {
            ingresses
                .push((ingress.ingress_class_name.clone(), ingress.namespaces.as_ref().map(Selector::of)));
        }
    }
    (ClassSelection::Named(gateways), ClassSelection::Named(ingresses))
}

fn embed(plugin: &FleetPlugin, origin: &Origin) -> Option<Plugin> {
    let oci = plugin.oci.as_ref()?;
    let config = if plugin.config.is_empty() {
        String::new()
    } else {
        serde_json::Value::Object(plugin.config.clone()).to_string()
    };
    Some(Plugin {
        name: plugin.name.clone(),
        image: oci.image.clone(),
        pull_secret: oci.pull_secret.clone(),
        phase: match plugin.phase {
            gateway_fleet::PluginPhase::AuthN => PluginPhase::AuthN,
            gateway_fleet::PluginPhase::AuthZ => PluginPhase::AuthZ,
            gateway_fleet::PluginPhase::Stats => PluginPhase::Stats,
            gateway_fleet::PluginPhase::Default => PluginPhase::Default,
        },
        priority: plugin.priority,
        failure_policy: match plugin.failure_policy {
            gateway_fleet::PluginFailurePolicy::FailClosed => FailurePolicy::FailClosed,
            gateway_fleet::PluginFailurePolicy::FailOpen => FailurePolicy::FailOpen,
        },
        config,
        origin: origin.clone(),
    })
}
