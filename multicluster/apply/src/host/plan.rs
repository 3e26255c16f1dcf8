// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Which programs a member of mode Host runs. Pure.

use super::HostOptions;
use crate::HostIdentity;
use multicluster_manifests::{Prepared, Resources};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// A program to keep running. Equal programs need no restart.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) name: String,
    pub(super) command: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
    /// Its own folder.
    pub(super) folder: PathBuf,
    /// Namespace and name of the gateway that it is a replica of.
    pub(super) gateway: Option<(String, String)>,
    /// Files and token of a gateway.
    pub(super) bootstrap: Option<GatewayFiles>,
    /// Time between SIGTERM and SIGKILL.
    pub(super) grace: Duration,
}

/// What a gateway is started with.
#[derive(Clone, Debug)]
pub(super) struct GatewayFiles {
    pub(super) identity: HostIdentity,
    pub(super) relay: String,
    pub(super) issuer: String,
    pub(super) server_name: String,
    pub(super) trust_bundle: String,
    pub(super) drain: Duration,
    pub(super) tokens: crate::HostTokens,
}

impl PartialEq for GatewayFiles {
    fn eq(&self, other: &Self) -> bool {
        self.identity == other.identity
            && self.relay == other.relay
            && self.issuer == other.issuer
            && self.server_name == other.server_name
            && self.trust_bundle == other.trust_bundle
            && self.drain == other.drain
    }
}

impl PartialEq for Program {
    fn eq(&self, other: &Self) -> bool {
        self.command == other.command
            && self.arguments == other.arguments
            && self.environment == other.environment
            && self.folder == other.folder
            && self.gateway == other.gateway
            && self.bootstrap == other.bootstrap
    }
}

/// Extra programs and gateway replicas, by name.
pub(super) fn programs(options: &HostOptions, resources: &Resources<Prepared>) -> BTreeMap<String, Program> {
    let gateways =
        resources.gateways().iter().map(|gateway| (gateway.id.namespace.clone(), gateway.id.name.clone()));
    all_programs(options, gateways)
}

pub(super) fn all_programs(
    options: &HostOptions,
    gateways: impl Iterator<Item = (String, String)>,
) -> BTreeMap<String, Program> {
    let mut programs = BTreeMap::new();
    for process in &options.host.processes {
        let Some((command, arguments)) = process.command.split_first() else { continue };
        let command =
            if command == "gatefleet" { options.own_program.clone() } else { PathBuf::from(command) };
        programs.insert(
            process.name.clone(),
            Program {
                name: process.name.clone(),
                command,
                arguments: arguments.to_vec(),
                environment: process.env.iter().map(|e| (e.name.clone(), e.value.clone())).collect(),
                folder: options.state_dir.join("processes").join(&process.name),
                gateway: None,
                bootstrap: None,
                grace: Duration::from_secs(5),
            },
        );
    }
    for (namespace, name) in gateways {
        for index in 0..options.host.replicas {
            let program = replica(options, &namespace, &name, index);
            programs.insert(format!("{namespace}/{}", program.name), program);
        }
    }
    programs
}

fn replica(options: &HostOptions, namespace: &str, gateway: &str, index: i32) -> Program {
    let pod = format!("{gateway}-{index}");
    let folder = options.state_dir.join("gateways").join(namespace).join(&pod);
    let identity = HostIdentity {
        fleet: (options.member.fleet_namespace.clone(), options.member.fleet.clone()),
        cluster: options.member.cluster.clone(),
        namespace: namespace.to_owned(),
        service_account: gateway.to_owned(),
        pod: pod.clone(),
    };
    Program {
        name: pod.clone(),
        command: options.gateway_program.clone(),
        arguments: vec!["--bootstrap".to_owned(), folder.join("bootstrap.yaml").display().to_string()],
        environment: vec![("POD_NAME".to_owned(), pod)],
        folder,
        gateway: Some((namespace.to_owned(), gateway.to_owned())),
        bootstrap: Some(GatewayFiles {
            identity,
            relay: options.relay.clone(),
            issuer: options.issuer.clone(),
            server_name: options.server_name.clone(),
            trust_bundle: options.trust_bundle.clone(),
            drain: options.drain,
            tokens: options.tokens.clone(),
        }),
        grace: options.drain + Duration::from_secs(5),
    }
}
