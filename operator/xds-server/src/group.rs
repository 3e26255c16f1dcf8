// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Groups of proxies that get the same resources, and the form they get them in.

use operator_identity::WorkloadIdentity;
use std::fmt;
use std::sync::Arc;

/// Names a group of proxies: the gateway's id as text, `<namespace>/<name>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group(Arc<str>);

impl Group {
    /// Names a group.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which group a proxy belongs to; the caller decides by the certified identity.
pub trait Groups: Send + Sync + 'static {
    /// The group of an identity; none refuses the stream.
    fn group(&self, identity: &WorkloadIdentity) -> Option<Group>;
}

impl<F> Groups for F
where
    F: Fn(&WorkloadIdentity) -> Option<Group> + Send + Sync + 'static,
{
    fn group(&self, identity: &WorkloadIdentity) -> Option<Group> {
        self(identity)
    }
}

/// How route tables travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// To our gateway: each virtual host is a resource (VHDS).
    Gateway,
    /// To a stock Envoy: virtual hosts inside their route configurations.
    Envoy,
}

/// What our gateway says in `node.user_agent_name`.
pub(crate) const GATEWAY_USER_AGENT: &str = "gatefleet-gateway";

impl Form {
    /// The form that a client understands.
    #[must_use]
    pub fn of_user_agent(name: &str) -> Self {
        if name == GATEWAY_USER_AGENT { Self::Gateway } else { Self::Envoy }
    }
}
