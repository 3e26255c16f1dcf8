// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The parts that a gateway's configuration is cut into, and their canonical form: one line of JSON each.

use crate::chunk::{Hash, hash};
use operator_ir::{
    Backend, BackendId, GatewayConfig, GatewayId, Listener, Plugin, VirtualHost, VirtualHostId,
};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// Names a part of a gateway. The order of the variants is that of [`parts_of`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) enum PartName<'a> {
    Listener(u16),
    VirtualHost(&'a VirtualHostId),
    Backend(&'a BackendId),
    Plugin(&'a str),
}

impl fmt::Display for PartName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listener(port) => write!(f, "listener {port}"),
            Self::VirtualHost(id) => write!(f, "virtual host {id}"),
            Self::Backend(id) => write!(f, "backend {id}"),
            Self::Plugin(name) => write!(f, "plugin {name}"),
        }
    }
}

/// A part that a reader or a sealer holds on to.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    Listener(u16, Arc<Listener>),
    VirtualHost(VirtualHostId, Arc<VirtualHost>),
    Backend(BackendId, Arc<Backend>),
    Plugin(String, Arc<Plugin>),
}

/// A part as its configuration holds it.
#[derive(Clone, Copy)]
pub(crate) enum PartRef<'a> {
    Listener(u16, &'a Arc<Listener>),
    VirtualHost(&'a VirtualHostId, &'a Arc<VirtualHost>),
    Backend(&'a BackendId, &'a Arc<Backend>),
    Plugin(&'a String, &'a Arc<Plugin>),
}

/// What a line says.
#[derive(Serialize)]
enum LineBody<'a> {
    Listener(u16, &'a Listener),
    VirtualHost(&'a VirtualHostId, &'a VirtualHost),
    Backend(&'a BackendId, &'a Backend),
    Plugin(&'a str, &'a Plugin),
}

#[derive(Deserialize)]
enum ReadBody {
    Listener(u16, Listener),
    VirtualHost(VirtualHostId, VirtualHost),
    Backend(BackendId, Backend),
    Plugin(String, Plugin),
}

impl Part {
    pub(crate) fn name(&self) -> PartName<'_> {
        self.as_ref().name()
    }

    pub(crate) fn as_ref(&self) -> PartRef<'_> {
        match self {
            Self::Listener(port, body) => PartRef::Listener(*port, body),
            Self::VirtualHost(id, body) => PartRef::VirtualHost(id, body),
            Self::Backend(id, body) => PartRef::Backend(id, body),
            Self::Plugin(name, body) => PartRef::Plugin(name, body),
        }
    }

    pub(crate) fn insert_into(&self, config: &mut GatewayConfig) {
        match self {
            Self::Listener(port, body) => drop(config.listeners.insert(*port, body.clone())),
            Self::VirtualHost(id, body) => drop(config.virtual_hosts.insert(id.clone(), body.clone())),
            Self::Backend(id, body) => drop(config.backends.insert(id.clone(), body.clone())),
            Self::Plugin(name, body) => drop(config.plugins.insert(name.clone(), body.clone())),
        }
    }

    pub(crate) fn remove_from(&self, config: &mut GatewayConfig) {
        match self {
            Self::Listener(port, _) => drop(config.listeners.remove(port)),
            Self::VirtualHost(id, _) => drop(config.virtual_hosts.remove(id)),
            Self::Backend(id, _) => drop(config.backends.remove(id)),
            Self::Plugin(name, _) => drop(config.plugins.remove(name)),
        }
    }

    /// Reads a line back.
    pub(crate) fn read(line: &[u8]) -> Option<(GatewayId, Self)> {
        let (gateway, body) = serde_json::from_slice::<(GatewayId, ReadBody)>(line).ok()?;
        let part = match body {
            ReadBody::Listener(port, body) => Self::Listener(port, Arc::new(body)),
            ReadBody::VirtualHost(id, body) => Self::VirtualHost(id, Arc::new(body)),
            ReadBody::Backend(id, body) => Self::Backend(id, Arc::new(body)),
            ReadBody::Plugin(name, body) => Self::Plugin(name, Arc::new(body)),
        };
        Some((gateway, part))
    }
}

impl<'a> PartRef<'a> {
    pub(crate) fn name(self) -> PartName<'a> {
        match self {
            Self::Listener(port, _) => PartName::Listener(port),
            Self::VirtualHost(id, _) => PartName::VirtualHost(id),
            Self::Backend(id, _) => PartName::Backend(id),
            Self::Plugin(name, _) => PartName::Plugin(name),
        }
    }

    /// Whether both are the same allocation.
    pub(crate) fn same(self, other: PartRef<'_>) -> bool {
        match (self, other) {
            (Self::Listener(_, a), PartRef::Listener(_, b)) => Arc::ptr_eq(a, b),
            (Self::VirtualHost(_, a), PartRef::VirtualHost(_, b)) => Arc::ptr_eq(a, b),
            (Self::Backend(_, a), PartRef::Backend(_, b)) => Arc::ptr_eq(a, b),
            (Self::Plugin(_, a), PartRef::Plugin(_, b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }

    /// Whether both say the same.
    pub(crate) fn equal(self, other: PartRef<'_>) -> bool {
        self.same(other)
            || match (self, other) {
                (Self::Listener(_, a), PartRef::Listener(_, b)) => a == b,
                (Self::VirtualHost(_, a), PartRef::VirtualHost(_, b)) => a == b,
                (Self::Backend(_, a), PartRef::Backend(_, b)) => a == b,
                (Self::Plugin(_, a), PartRef::Plugin(_, b)) => a == b,
                _ => false,
            }
    }

    pub(crate) fn to_part(self) -> Part {
        match self {
            Self::Listener(port, body) => Part::Listener(port, body.clone()),
            Self::VirtualHost(id, body) => Part::VirtualHost(id.clone(), body.clone()),
            Self::Backend(id, body) => Part::Backend(id.clone(), body.clone()),
            Self::Plugin(name, body) => Part::Plugin(name.clone(), body.clone()),
        }
    }

    /// Appends the part's line, its end included.
    pub(crate) fn write(self, gateway: &GatewayId, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        let body = match self {
            Self::Listener(port, body) => LineBody::Listener(port, body),
            Self::VirtualHost(id, body) => LineBody::VirtualHost(id, body),
            Self::Backend(id, body) => LineBody::Backend(id, body),
            Self::Plugin(name, body) => LineBody::Plugin(name, body),
        };
        serde_json::to_writer(&mut *out, &(gateway, body))?;
        out.push(b'\n');
        Ok(())
    }
}

/// All parts of a configuration in the order of their names.
pub(crate) fn parts_of(config: &GatewayConfig) -> impl Iterator<Item = PartRef<'_>> {
    let listeners = config.listeners.iter().map(|(port, body)| PartRef::Listener(*port, body));
    let hosts = config.virtual_hosts.iter().map(|(id, body)| PartRef::VirtualHost(id, body));
    let backends = config.backends.iter().map(|(id, body)| PartRef::Backend(id, body));
    let plugins = config.plugins.iter().map(|(name, body)| PartRef::Plugin(name, body));
    listeners.chain(hosts).chain(backends).chain(plugins)
}

/// Where a part's name falls among the buckets; the low bits choose.
pub(crate) fn place(gateway: &GatewayId, name: PartName<'_>) -> Result<u64, serde_json::Error> {
    let hash: Hash = hash(&serde_json::to_vec(&(gateway, name))?);
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    Ok(u64::from_be_bytes(first))
}
