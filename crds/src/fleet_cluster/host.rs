// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Clusters that are sets of local processes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The processes of a cluster of mode Host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostSpec {
    /// IP address that gateways listen on.
    #[serde(default = "default_address")]
    #[schemars(length(min = 2, max = 45))]
    pub address: String,
    /// Added to the ports of listeners.
    #[serde(default)]
    #[schemars(range(min = 0, max = 60000))]
    pub port_offset: i32,
    /// Gateway processes; they share their ports.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 1, max = 64))]
    pub replicas: i32,
    /// Programs to run beside the gateways, such as backends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub processes: Vec<HostProcess>,
}

/// A program to run beside the gateways.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostProcess {
    /// Unique within the cluster.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Program and arguments.
    #[schemars(length(min = 1, max = 256))]
    pub command: Vec<String>,
    /// Environment variables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub env: Vec<EnvironmentVariable>,
}

/// An environment variable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentVariable {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its value.
    #[serde(default)]
    #[schemars(length(max = 32768))]
    pub value: String,
}

impl Default for HostSpec {
    fn default() -> Self {
        Self {
            address: default_address(),
            port_offset: 0,
            replicas: default_replicas(),
            processes: Vec::new(),
        }
    }
}

fn default_address() -> String {
    "127.0.0.2".to_owned()
}

fn default_replicas() -> i32 {
    2
}
